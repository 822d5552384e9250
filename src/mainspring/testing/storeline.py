"""A server's line to the store. It may be slow, break before or after the commit, lose the answer, or send
a call twice; the store itself does each call whole, as one transaction."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mainspring.core.limits import LimitRule
from mainspring.core.model import Lease, Task
from mainspring.errors import StoreUnavailable
from mainspring.ports import (
    Answer,
    Append,
    BoardView,
    DeadGroups,
    DueSchedules,
    Edit,
    Exchange,
    Exchanged,
    Fired,
    FireLine,
    FirePage,
    Force,
    Glance,
    Held,
    LogPage,
    Moved,
    Overdue,
    Page,
    Pruned,
    Query,
    Recall,
    Recalled,
    Refused,
    Renewal,
    Retention,
    SchedulePage,
    SeenSchedules,
    Stats,
    Store,
    Surroundings,
    Term,
    Transition,
    Wakeups,
    WorkerInfo,
)
from mainspring.testing.instant import finish
from mainspring.testing.loop import OUTSIDE, Host, VirtualLoop
from mainspring.testing.watched import WatchedStore
from mainspring.testing.weather import Weather
from mainspring.verbs import Retried, WorkflowGraph, WorkflowPage, WorkflowQuery, WorkflowRecord
from mainspring.verbs.audit import Audit, Finding, Mended
from mainspring.verbs.moving import Dumped, Record

DRIVER_TIMEOUT_S = 3.0
_HINTED = frozenset({"exchange", "force", "amend", "fire", "set_queue", "set_limit"})


class StoreLine(Store):
    """The store as one host reaches it."""

    def __init__(
        self,
        store: WatchedStore,
        host: Host,
        loop: VirtualLoop,
        weather: Weather,
        neighbours: Sequence["StoreLine"] = (),
        flights: int = 1,
    ) -> None:
        self.features = msgspec.structs.replace(store.features, flights=flights)
        self._store = store
        self._host = host
        self._loop = loop
        self._weather = weather
        self._neighbours = neighbours
        self._wake: Callable[[], None] = lambda: None

    def hint(self) -> None:
        """Another server wrote something."""
        if self._host.alive:
            self._loop.call_soon(self._wake, context=self._host.context())

    async def _via(self, verb: str, *args: Any) -> Any:
        weather = self._weather
        reply: asyncio.Future[Any] = self._loop.create_future()
        delay_s = weather.delay_s("store.slow", verb)
        if weather.is_cut(self._host.name, "store"):
            self._later(DRIVER_TIMEOUT_S, _fail, reply, f"{verb}: no answer")
        elif weather.strikes("store.error_before", verb):
            self._later(delay_s, _fail, reply, f"{verb}: the connection broke on the way there")
        else:
            self._later(delay_s, self._arrive, verb, args, reply)
        return await reply

    def _later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> None:
        # Outside of all hosts: what has been sent arrives, whatever becomes of its sender.
        self._loop.call_later(delay_s, callback, *args, context=OUTSIDE)

    def _arrive(self, verb: str, args: tuple[Any, ...], reply: asyncio.Future[Any]) -> None:
        weather = self._weather
        if weather.store_is_down:
            _fail(reply, "the store is down")
            return
        try:
            answer = finish(getattr(self._store, verb)(*args))
            if weather.strikes("store.repeated", verb):
                answer = finish(getattr(self._store, verb)(*args))
        except Exception as error:
            self._later(weather.delay_s("store.slow", verb), _raise, reply, error)
            return
        if verb in _HINTED:
            self._hint_neighbours()
        late_s = weather.late_answers_s.pop(self._host.name, 0.0) if verb == "take_term" else 0.0
        if late_s:
            # It was sent before the line was cut, and arrives all the same.
            self._later(late_s, _resolve, reply, answer)
            weather.cut(self._host.name, "store")
        elif weather.strikes("store.error_after", verb):
            delay_s = weather.delay_s("store.slow", verb)
            self._later(delay_s, _fail, reply, f"{verb}: the connection broke on the way back")
        elif weather.strikes("store.reply_lost", verb):
            self._later(DRIVER_TIMEOUT_S, _fail, reply, f"{verb}: no answer")
        else:
            self._later(weather.delay_s("store.slow", verb), _resolve, reply, answer)

    def _hint_neighbours(self) -> None:
        """A hint may come late, twice, or not at all."""
        for line in self._neighbours:
            if line is not self and self._weather.random.random() < 0.5:
                self._later(0.02 * self._weather.random.random(), line.hint)

    # --- the verbs ------------------------------------------------------------------------------

    async def open(self) -> None:
        """The store is open already."""

    async def close(self) -> None:
        """The store stays open: other servers use it."""

    def listen(self, wakeups: Wakeups) -> None:
        self._wake = wakeups.anything

    async def exchange(self, batch: Exchange) -> Exchanged:
        return await self._via("exchange", batch)  # type: ignore[no-any-return]

    async def renew(self, renewals: Sequence[Renewal]) -> Sequence[Sequence[Answer]]:
        return await self._via("renew", renewals)  # type: ignore[no-any-return]

    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]:
        return await self._via("append", lines)  # type: ignore[no-any-return]

    async def recall(self, lines: Sequence[Recall]) -> Sequence[Recalled | Refused]:
        return await self._via("recall", lines)  # type: ignore[no-any-return]

    async def logs(self, task: str, after: int, most: int) -> LogPage | None:
        return await self._via("logs", task, after, most)  # type: ignore[no-any-return]

    async def glance(self, tasks: Sequence[str]) -> Sequence[Glance | None]:
        return await self._via("glance", tasks)  # type: ignore[no-any-return]

    async def amend(self, task: str, version: int, edit: Edit) -> Task | Refused:
        return await self._via("amend", task, version, edit)  # type: ignore[no-any-return]

    async def force(self, lines: Sequence[Force]) -> Sequence[Task | Refused]:
        return await self._via("force", lines)  # type: ignore[no-any-return]

    async def delete(self, tasks: Sequence[str]) -> Sequence[Refused | None]:
        return await self._via("delete", tasks)  # type: ignore[no-any-return]

    async def promote(self, limit: int) -> Moved:
        return await self._via("promote", limit)  # type: ignore[no-any-return]

    async def expired(self, limit: int) -> Sequence[Lease]:
        return await self._via("expired", limit)  # type: ignore[no-any-return]

    async def overdue(self, limit: int, grace_us: int) -> Overdue:
        return await self._via("overdue", limit, grace_us)  # type: ignore[no-any-return]

    async def resolve(self, limit: int) -> Moved:
        return await self._via("resolve", limit)  # type: ignore[no-any-return]

    async def prune(self, limit: int, retention: Retention, cursor: str | None) -> Pruned:
        return await self._via("prune", limit, retention, cursor)  # type: ignore[no-any-return]

    async def due_schedules(self, limit: int) -> DueSchedules:
        return await self._via("due_schedules", limit)  # type: ignore[no-any-return]

    async def schedules(self, ids: Sequence[str]) -> SeenSchedules:
        return await self._via("schedules", ids)  # type: ignore[no-any-return]

    async def find_schedules(self, limit: int, cursor: str | None) -> SchedulePage:
        return await self._via("find_schedules", limit, cursor)  # type: ignore[no-any-return]

    async def fire(self, lines: Sequence[FireLine], term: int | None) -> Fired:
        return await self._via("fire", lines, term)  # type: ignore[no-any-return]

    async def delete_schedule(self, schedule: str, version: int | None) -> Refused | None:
        return await self._via("delete_schedule", schedule, version)  # type: ignore[no-any-return]

    async def fires(self, schedule: str, limit: int, cursor: str | None) -> FirePage:
        return await self._via("fires", schedule, limit, cursor)  # type: ignore[no-any-return]

    async def get_workflow(self, workflow: str) -> WorkflowRecord | None:
        return await self._via("get_workflow", workflow)  # type: ignore[no-any-return]

    async def workflow_graph(self, workflow: str) -> WorkflowGraph | None:
        return await self._via("workflow_graph", workflow)  # type: ignore[no-any-return]

    async def find_workflows(self, query: WorkflowQuery) -> WorkflowPage:
        return await self._via("find_workflows", query)  # type: ignore[no-any-return]

    async def cancel_workflow(self, workflow: str, callbacks: bool) -> Moved | Refused:
        return await self._via("cancel_workflow", workflow, callbacks)  # type: ignore[no-any-return]

    async def retry_workflow(self, workflow: str) -> Retried | Refused:
        return await self._via("retry_workflow", workflow)  # type: ignore[no-any-return]

    async def dump(self, cursor: str | None, limit: int) -> Dumped:
        return await self._via("dump", cursor, limit)  # type: ignore[no-any-return]

    async def begin_load(self, copy: str) -> Refused | None:
        return await self._via("begin_load", copy)  # type: ignore[no-any-return]

    async def load(self, copy: str, records: Sequence[Record]) -> Sequence[Refused | None]:
        return await self._via("load", copy, records)  # type: ignore[no-any-return]

    async def end_load(self, copy: str) -> None:
        await self._via("end_load", copy)

    async def unfinished_load(self) -> str | None:
        return await self._via("unfinished_load")  # type: ignore[no-any-return]

    async def audit(self, cursor: str | None, limit: int) -> Audit:
        return await self._via("audit", cursor, limit)  # type: ignore[no-any-return]

    async def inspect(self) -> Sequence[Finding]:
        return await self._via("inspect")  # type: ignore[no-any-return]

    async def repair(self, findings: Sequence[Finding]) -> Sequence[Mended]:
        return await self._via("repair", findings)  # type: ignore[no-any-return]

    async def board(self) -> BoardView:
        return await self._via("board")  # type: ignore[no-any-return]

    async def get(self, tasks: Sequence[str]) -> Sequence[Task | None]:
        return await self._via("get", tasks)  # type: ignore[no-any-return]

    async def leases(self, held: Sequence[Held]) -> Sequence[Lease | None]:
        return await self._via("leases", held)  # type: ignore[no-any-return]

    async def find(self, query: Query) -> Page:
        return await self._via("find", query)  # type: ignore[no-any-return]

    async def surroundings(self, task: str, shown: int) -> Surroundings | None:
        return await self._via("surroundings", task, shown)  # type: ignore[no-any-return]

    async def dead_groups(self, limit: int, cursor: str | None) -> DeadGroups:
        return await self._via("dead_groups", limit, cursor)  # type: ignore[no-any-return]

    async def stats(self) -> Stats:
        return await self._via("stats")  # type: ignore[no-any-return]

    async def history(self, task: str) -> Sequence[Transition]:
        return await self._via("history", task)  # type: ignore[no-any-return]

    async def set_queue(self, queue: str, paused_by: str | None) -> None:
        await self._via("set_queue", queue, paused_by)

    async def set_limit(self, name: str, rule: LimitRule | None, only_new: bool = False) -> bool:
        return await self._via("set_limit", name, rule, only_new)  # type: ignore[no-any-return]

    async def set_weight(self, tenant: str, weight: float) -> None:
        await self._via("set_weight", tenant, weight)

    async def beat(self, worker: WorkerInfo) -> None:
        await self._via("beat", worker)

    async def leave(self, worker: str, incarnation: str) -> None:
        await self._via("leave", worker, incarnation)

    async def workers(self) -> Sequence[WorkerInfo]:
        return await self._via("workers")  # type: ignore[no-any-return]

    async def take_term(self, candidate: str, ttl_us: int) -> Term:
        return await self._via("take_term", candidate, ttl_us)  # type: ignore[no-any-return]

    async def term(self) -> Term | None:
        return await self._via("term")  # type: ignore[no-any-return]

    async def resign(self, candidate: str, number: int) -> None:
        await self._via("resign", candidate, number)


def _resolve(reply: asyncio.Future[Any], answer: object) -> None:
    if not reply.done():
        reply.set_result(answer)


def _raise(reply: asyncio.Future[Any], error: Exception) -> None:
    if not reply.done():
        reply.set_exception(error)


def _fail(reply: asyncio.Future[Any], detail: str) -> None:
    _raise(reply, StoreUnavailable(detail))
