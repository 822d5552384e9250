"""Submitting, and the handles of what was submitted: what clients can do, whatever is behind them."""

import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Concatenate, TypeVar, Unpack

import msgspec

from mainspring.clock import SystemClock
from mainspring.core.model import SECOND_US
from mainspring.errors import InvalidInput
from mainspring.ports import Backend, Group, Idempotency
from mainspring.sdk.blocking import Home, blocking
from mainspring.sdk.calls import TaskCall, entry_of, many_tasks, one_task
from mainspring.sdk.handlers import Registry
from mainspring.sdk.handles import TaskHandle
from mainspring.sdk.life import Connect, Life
from mainspring.sdk.options import Plan, TaskOptions, checked_key
from mainspring.sdk.schedules import ScheduleHandle, When, new_schedule
from mainspring.sdk.transactions import Entry, Within, library_of
from mainspring.wire.outgoing import digest
from mainspring.wire.payloads import encode_payload

R = TypeVar("R")
KEY_TTL_US = 86_400 * SECOND_US
_ROW = re.compile(r"tasks\[(\d+)\]")
_plain = msgspec.json.Decoder().decode


class Submitter:
    """Tasks, and one way to a scheduler. `connect` opens that way; nothing is opened before it is needed."""

    def __init__(self, connect: Connect) -> None:
        self.registry = Registry()
        self._life = Life(self, connect)

    @property
    def home(self) -> Home:
        return self._life.opening().home

    async def backend(self) -> Backend:
        """What answers this client. To be called in its home."""
        return await self._life.present().backend()

    def bind(self, kind: str, payload: Any = None, **options: Unpack[TaskOptions]) -> TaskCall[Any]:
        """A task of any kind as a value, to be submitted with others. Raises `InvalidInput`."""
        return TaskCall(kind, encode_payload(payload), Plan(options), _plain)

    @blocking
    def submit(
        self, kind: str, payload: Any = None, **options: Unpack[TaskOptions]
    ) -> Coroutine[Any, Any, TaskHandle[Any]]:
        """Submit a task of any kind, also of one that has no function here. Durable on return.

        Raises `InvalidInput`; `BacklogFull` if the queue is; `KeyReused`; and `StoreUnavailable` if nothing
        answers in time, when the task may or may not be stored.
        """
        return self.submit_call(self.bind(kind, payload, **options))

    @property
    def submit_in(self) -> Within[Concatenate[str, ...], TaskHandle[Any]]:
        """As `submit`, on a connection of the caller's and in its transaction: `app.submit_in(connection,
        "send", {"to": "ada"})`. See `TaskFunction.submit_in`."""
        return Within(self._submit_in, self.check_connection)

    def _submit_in(
        self, kind: str, payload: Any = None, **options: Unpack[TaskOptions]
    ) -> tuple[Entry, TaskHandle[Any]]:
        return self.entry(self.bind(kind, payload, **options))

    def entry(self, call: TaskCall[R]) -> tuple[Entry, TaskHandle[R]]:
        """The row by which a call is submitted in a transaction of the caller's, and its task's handle."""
        # A clock of its own: this opens nothing, and a forked child must not mint the ids of its parent.
        task, document = entry_of(call, SystemClock().new_id)
        entry = Entry("submissions", {"id": task, "task": document.decode()}, "task")
        return entry, TaskHandle(self, task, call.decode)

    def check_connection(self, connection: Any) -> None:
        """Raises `InvalidInput` for a connection that cannot lead to the application's store."""
        library_of(connection)

    @blocking
    def submit_many(
        self, calls: Iterable[TaskCall[R]], *, idempotency_key: str | None = None
    ) -> Coroutine[Any, Any, list[TaskHandle[R]]]:
        """Submit calls made by `bind`, all or nothing, as one. They may depend on each other.
        Raises as `submit` does, naming the task."""
        return self.submit_calls(list(calls), idempotency_key)

    def handle(self, task: str) -> TaskHandle[Any]:
        """The handle of a task by its id. Whether there is one shows when it is asked."""
        return TaskHandle(self, task, _plain)

    @blocking
    async def schedule(self, id: str, when: When, call: TaskCall[R], /) -> ScheduleHandle[R]:
        """Make this the schedule `id`: a new one, or the present one with other rules and another task. To
        say the same again changes nothing. Raises `InvalidInput`, also if it would never fire."""
        return await self.put_schedule(id, when, call)

    def schedule_handle(self, id: str) -> ScheduleHandle[Any]:
        """The handle of a schedule by its id. Whether there is one shows when it is asked."""
        return ScheduleHandle(self, id, _plain)

    async def put_schedule(self, id: str, when: When, call: TaskCall[R]) -> ScheduleHandle[R]:
        """As `schedule`, in the client's home."""
        backend = await self.backend()
        await backend.put_schedule(id, new_schedule(when, call))
        return ScheduleHandle(self, id, call.decode)

    async def submit_call(self, call: TaskCall[R]) -> TaskHandle[R]:
        """As `submit`, in the client's home."""
        opening = self._life.present()
        group = Group([one_task(call, opening.clock.new_id)])
        if call.plan.idempotency_key is not None:
            group.idempotency = _idempotency(call.plan.idempotency_key, group)
        (task,) = await (await opening.backend()).submit(group)
        return TaskHandle(self, task, call.decode)

    async def submit_calls(
        self, calls: Sequence[TaskCall[R]], idempotency_key: str | None
    ) -> list[TaskHandle[R]]:
        """As `submit_many`, in the client's home."""
        if not calls:
            return []
        key = checked_key(idempotency_key)
        opening = self._life.present()
        batch = many_tasks(calls, opening.clock.new_id)
        group = Group(batch.tasks)
        if key is not None:
            group.idempotency = _idempotency(key, group)
        try:
            tasks = await (await opening.backend()).submit(group)
        except InvalidInput as error:
            raise _placed(error, batch.caller_place) from None
        return [
            TaskHandle(self, tasks[row], call.decode) for row, call in zip(batch.order, calls, strict=True)
        ]


def _idempotency(key: str, group: Group) -> Idempotency:
    return Idempotency("sdk", key, digest(group), KEY_TTL_US)


def _placed(error: InvalidInput, caller_place: Callable[[int], int]) -> InvalidInput:
    """Tasks are stored parents first: a complaint about one names its place there."""
    found = _ROW.match(error.field)
    if found is None:
        return error
    field = f"tasks[{caller_place(int(found[1]))}]{error.field[found.end() :]}"
    return type(error)(field, error.problem, error.accepted)
