"""A server as a client's backend: the native interface over HTTP."""

from collections.abc import Callable, Sequence
from typing import Self, TypeVar
from urllib.parse import quote

import msgspec

from mainspring import __version__
from mainspring.core.model import Task
from mainspring.errors import Gone, InvalidInput, NotFound, StoreUnavailable
from mainspring.ports import Clock, Group, NewSchedule, ScheduleRecord
from mainspring.sdk.connections import Connections
from mainspring.sdk.patience import insist
from mainspring.wire.incoming import id_decoder, read_schedule, read_task, stored_decoder
from mainspring.wire.outgoing import write_schedule, write_submit
from mainspring.wire.problems import IdTaken, error_of

T = TypeVar("T")
API = "/api/v1"
ANSWER_S = 15.0
WAIT_S = 30.0
_OK = range(200, 300)


class HttpBackend:
    """A `ports.Backend` at `api_url`. `token` is shown as a bearer token.

    A call that gets no answer, or a server that has too much to do, is asked again for up to `patience_s`.
    """

    def __init__(self, api_url: str, token: str, clock: Clock, patience_s: float) -> None:
        head = {"User-Agent": f"mainspring-sdk/{__version__}"}
        if token:
            head["Authorization"] = f"Bearer {token}"
        self.api_url = api_url
        self.token = token
        self._connections = Connections(api_url, head)
        self._clock = clock
        self._patience_s = patience_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.close()

    async def submit(self, group: Group) -> Sequence[str]:
        """A submit may be repeated: the server knows the tasks by their ids, or by the idempotency key. One
        under a unique rule is given a key, for what the rule finds may have changed by the repetition."""
        tasks, body = group.tasks, write_submit(group)
        fields = _key_field(group)
        try:
            if len(tasks) == 1:
                reply = await self._insist("POST", "/tasks", body, fields=fields)
                return [self._read(id_decoder.decode, reply).id]
            reply = await self._insist("POST", "/tasks/batch", body, fields=fields)
        except IdTaken:
            # An earlier try has stored them, and its answer was lost.
            await self._check_ours(group)
            return [task.id for task in tasks]
        stored = [view.id for view in self._read(stored_decoder.decode, reply).tasks]
        if len(stored) < len(tasks):
            raise Gone("of the tasks made under this idempotency key some have been deleted")
        return stored

    async def get(self, task: str) -> Task:
        return self._read(read_task, await self._insist("GET", _path(task)))

    async def wait(self, task: str, timeout_s: float) -> Task:
        wait_s = min(timeout_s, WAIT_S)
        path = f"{_path(task)}?wait={wait_s:.3f}" if wait_s > 0 else _path(task)
        return self._read(read_task, await self._insist("GET", path, wait_s=wait_s))

    async def cancel(self, task: str, *, kill: bool = False) -> Task:
        body = b'{"kill":true}' if kill else None
        return self._read(read_task, await self._insist("POST", f"{_path(task)}/cancel", body))

    async def put_schedule(self, id: str, new: NewSchedule) -> None:
        await self._insist("PUT", _path(id, "schedules"), write_schedule(id, new))

    async def get_schedule(self, id: str) -> ScheduleRecord:
        return self._read(read_schedule, await self._insist("GET", _path(id, "schedules")))

    async def pause_schedule(self, id: str, paused: bool) -> None:
        await self._insist("POST", f"{_path(id, 'schedules')}/{'pause' if paused else 'resume'}")

    async def trigger_schedule(self, id: str) -> Task:
        path, fields = f"{_path(id, 'schedules')}/trigger", f'Idempotency-Key: "{self._clock.new_id()}"\r\n'
        return self._read(read_task, await self._insist("POST", path, fields=fields))

    async def delete_schedule(self, id: str) -> None:
        await self._insist("DELETE", _path(id, "schedules"))

    async def _check_ours(self, group: Group) -> None:
        """Ids are random, and yet: whoever has lost the dice game of all times shall hear of it."""
        task = group.tasks[0]
        try:
            found = await self.get(task.id)
        except NotFound:
            raise Gone(f"task {task.id} was stored, and has been deleted") from None
        if (found.lane, found.payload) != (task.lane, task.payload):
            raise IdTaken(f"there is another task {task.id}")

    async def _insist(
        self, method: str, path: str, body: bytes | None = None, *, wait_s: float = 0.0, fields: str = ""
    ) -> bytes:
        return await insist(
            lambda: self._ask(method, path, body, wait_s, fields), self._clock, wait_s + self._patience_s
        )

    async def _ask(self, method: str, path: str, body: bytes | None, wait_s: float, fields: str) -> bytes:
        answer_s = wait_s + min(ANSWER_S, self._patience_s)
        reply = await self._connections.call(method, API + path, body, answer_s, fields)
        if reply.status in _OK:
            return reply.body
        error = error_of(reply.body, reply.status)
        if isinstance(error, InvalidInput | NotFound) and b'"code"' not in reply.body:
            # Somebody between here and the server, or another server altogether.
            raise self._nonsense(error)
        raise error

    def _read(self, read: Callable[[bytes], T], body: bytes) -> T:
        try:
            return read(body)
        except (msgspec.MsgspecError, KeyError) as error:
            raise self._nonsense(error) from None

    def _nonsense(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"{self._connections.url} answers, but not as a Mainspring server: {error}")


def _path(id: str, kind: str = "tasks") -> str:
    return f"/{kind}/{quote(id, safe='')}"


def _key_field(group: Group) -> str:
    if group.idempotency is not None:
        key = group.idempotency.key
    elif any(task.unique is not None for task in group.tasks):
        key = group.tasks[0].id
    else:
        return ""
    quoted = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'Idempotency-Key: "{quoted}"\r\n'
