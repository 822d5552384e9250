"""A submitted task, as its submitter holds it."""

import asyncio
from collections.abc import Callable, Generator
from datetime import datetime
from math import inf
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from mainspring.core.durations import parse_duration_s
from mainspring.core.model import State, Task
from mainspring.errors import TaskCancelled, TaskFailed, Unsuccessful, WrongState
from mainspring.ports import Backend
from mainspring.sdk.blocking import Home, Housed, blocking
from mainspring.sdk.options import Parent
from mainspring.wire.views import encode, task_view

R_co = TypeVar("R_co", covariant=True)
WAIT_S = 30.0
ANSWER_S = 0.5  # for an answer that is on its way when the time is up


class Connected(Housed, Protocol):
    """The client behind a handle."""

    async def backend(self) -> Backend:
        """What answers. To be called in the home."""
        ...


class TaskAttempt(msgspec.Struct, frozen=True):
    """One run that did not end the task well."""

    attempt: int
    outcome: str
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    error: Any


class TaskRecord(msgspec.Struct, frozen=True):
    """A task as it was when it was read. Times are aware, in UTC; `state` is blocked, scheduled, ready,
    running, succeeded, failed or cancelled."""

    id: str
    kind: str
    state: str
    queue: str
    priority: int
    tenant: str
    key: str | None
    name: str | None
    payload: Any
    labels: dict[str, str]
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    deadline: datetime | None
    depends_on: tuple[str, ...]
    attempt: int
    retries: int
    losses: int
    snoozes: int
    worker: str | None
    progress: Any
    result: Any
    error: Any
    attempts: list[TaskAttempt]
    version: int


_record = msgspec.json.Decoder(TaskRecord)
_plain = msgspec.json.Decoder().decode


def record_of(task: Task) -> TaskRecord:
    return _record.decode(encode(task_view(task)))


class TaskHandle(Parent, Generic[R_co]):
    """Every method asks anew: the handle itself remembers only the task's id. `await handle` is
    `await handle.result.aio()`."""

    __slots__ = ("_client", "_decode", "id")

    def __init__(self, client: Connected, task: str, decode: Callable[[bytes], R_co]) -> None:
        self.id = task
        self._client = client
        self._decode = decode

    @property
    def home(self) -> Home:
        return self._client.home

    def __repr__(self) -> str:
        return f"<task {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @blocking
    async def result(self, timeout: float | str | None = None) -> R_co:
        """What the task's function returned, once it has; waits up to `timeout` (seconds, or text such as
        `1m`), or without end.

        Raises `TaskFailed` or `TaskCancelled` with the recorded error, `TimeoutError`, and `NotFound` if the
        task has been deleted.
        """
        ended = await self._ended(None if timeout is None else parse_duration_s(timeout, "timeout"))
        if ended.state is not State.SUCCEEDED:
            raise _unsuccessful(ended)
        return self._decode(ended.result if ended.result is not None else b"null")

    @blocking
    async def status(self) -> str:
        """The task's state now. Raises `NotFound` if it has been deleted."""
        return (await self._read()).state.label

    @blocking
    async def refresh(self) -> TaskRecord:
        """The whole record as it is now. Raises `NotFound` if it has been deleted."""
        return record_of(await self._read())

    @blocking
    async def cancel(self, *, kill: bool = False) -> bool:
        """Cancel the task; a running one is asked to stop, or fenced at once with `kill`. Whether it is
        cancelled, or was told to stop: `False` if it has ended otherwise. May be repeated."""
        backend = await self._client.backend()
        try:
            await backend.cancel(self.id, kill=kill)
        except WrongState:
            return (await backend.get(self.id)).state is State.CANCELLED
        return True

    def __await__(self) -> Generator[Any, None, R_co]:
        return self.result.aio().__await__()

    async def _read(self) -> Task:
        return await (await self._client.backend()).get(self.id)

    async def _ended(self, timeout_s: float | None) -> Task:
        limit_s = None if timeout_s is None else timeout_s + ANSWER_S
        try:
            async with asyncio.timeout(limit_s):
                return await self._wait(timeout_s)
        except TimeoutError as error:
            if timeout_s is None:
                raise
            told = str(error) or f"task {self.id} has not ended within {timeout_s:g} s"
            raise TimeoutError(told) from None

    async def _wait(self, timeout_s: float | None) -> Task:
        backend, clock = await self._client.backend(), asyncio.get_running_loop()
        until_s = inf if timeout_s is None else clock.time() + timeout_s
        while True:
            record = await backend.wait(self.id, min(WAIT_S, max(0.0, until_s - clock.time())))
            if record.state.is_final:
                return record
            if clock.time() >= until_s:
                raise TimeoutError


def _unsuccessful(ended: Task) -> Unsuccessful:
    error = _plain(ended.error) if ended.error is not None else {}
    if not isinstance(error, dict):
        error = {"message": error}  # a worker in another language may record what it likes
    kind = TaskFailed if ended.state is State.FAILED else TaskCancelled
    told = ": ".join(str(error[part]) for part in ("type", "message") if error.get(part))
    return kind(f"task {ended.id} {ended.state.label}" + (f": {told}" if told else ""), ended.id, error)
