"""The store's verbs: each is one job of the writing or of the reading thread."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from mainspring.core.limits import LimitRule
from mainspring.core.model import Lease, Task
from mainspring.ports import (
    Answer,
    Append,
    BoardView,
    Clock,
    DeadGroups,
    DueSchedules,
    Edit,
    Exchange,
    Exchanged,
    Features,
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
    Submission,
    Surroundings,
    TakeIn,
    TakenIn,
    Term,
    Transition,
    Wakeups,
    WorkerInfo,
)
from mainspring.stores.sqlite import (
    controls,
    editing,
    exchanging,
    firing,
    forking,
    holding,
    loading,
    moving,
    progress,
    reading,
    retrying,
    schedules,
    tending,
    transactions,
    workflows,
)
from mainspring.stores.sqlite.auditing import audit, inspect, repair
from mainspring.stores.sqlite.dead import dead_groups
from mainspring.stores.sqlite.explaining import surroundings
from mainspring.stores.sqlite.listening import QUIET_S, Listener
from mainspring.stores.sqlite.moves import release_children
from mainspring.stores.sqlite.reading import Reader
from mainspring.stores.sqlite.rows import tasks_by_id
from mainspring.stores.sqlite.thread import DatabaseThread
from mainspring.stores.sqlite.transaction import Transaction, Writer
from mainspring.stores.sqlite.wakes import Ear, Teller
from mainspring.verbs import Retried, WorkflowGraph, WorkflowPage, WorkflowQuery, WorkflowRecord
from mainspring.verbs.audit import Audit, Finding, Mended
from mainspring.verbs.moving import Dumped, Record

ResultT = TypeVar("ResultT")


class SqliteStore(Store):
    """One file, shared by the processes of one machine. What was answered survives a crash of the machine.

    Verbs raise `StoreUnavailable` when the store is closed, or when another process keeps the file locked
    for half a minute; `StoreFull` when the disk is full; `StoreCorrupt` when the file is damaged.
    """

    def __init__(self, path: str, clock: Clock, *, history: bool = False, migrates: bool = True) -> None:
        self._path = path
        self._open = contextlib.AsyncExitStack()
        self.features = Features(
            "sqlite", durability="A", several_processes=True, full_history=history, transactional=True
        )
        self._clock = clock
        self._ears: set[str] = set()
        self._teller = Teller(path, self._ears)
        make_writer = partial(
            Writer, path, clock, self._teller, self._others_wrote, keeps_history=history, migrates=migrates
        )
        self._writer = DatabaseThread("sqlite-writer", make_writer)
        self._reader = DatabaseThread("sqlite-reader", partial(Reader, path, clock))
        self._listeners: list[Listener] = []

    async def _write(self, work: Callable[[Transaction], ResultT]) -> ResultT:
        return await self._writer.call(lambda writer: writer.write(work))

    async def _read(self, work: Callable[[Reader], ResultT]) -> ResultT:
        return await self._reader.call(lambda reader: reader.read(work))

    async def open(self) -> None:
        async with contextlib.AsyncExitStack() as opening:
            forking.opened(self._path)
            opening.callback(forking.closed, self._path)
            opening.callback(self._teller.close)
            await self._writer.start()
            opening.push_async_callback(self._writer.stop)
            await self._reader.start()
            opening.push_async_callback(self._reader.stop)
            opening.callback(self._hush)
            self._open = opening.pop_all()

    async def close(self) -> None:
        await self._open.aclose()

    # --- the hot verbs --------------------------------------------------------------------------

    async def exchange(self, batch: Exchange) -> Exchanged:
        return await self._write(lambda tx: exchanging.exchange(tx, batch))

    async def renew(self, renewals: Sequence[Renewal]) -> Sequence[Sequence[Answer]]:
        def work(tx: Transaction) -> list[list[Answer]]:
            answers = [holding.renew(tx, renewal) for renewal in renewals]
            release_children(tx)
            return answers

        return await self._write(work)

    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]:
        return await self._write(lambda tx: [progress.append(tx, line) for line in lines])

    async def recall(self, lines: Sequence[Recall]) -> Sequence[Recalled | Refused]:
        return await self._read(lambda reader: progress.recall(reader, lines))

    async def logs(self, task: str, after: int, most: int) -> LogPage | None:
        return await self._read(lambda reader: progress.logs(reader, task, after, most))

    async def glance(self, tasks: Sequence[str]) -> Sequence[Glance | None]:
        return await self._read(lambda reader: progress.glance(reader, tasks))

    # --- by hand --------------------------------------------------------------------------------

    async def amend(self, task: str, version: int, edit: Edit) -> Task | Refused:
        return await self._write(lambda tx: editing.amend(tx, task, version, edit))

    async def force(self, lines: Sequence[Force]) -> Sequence[Task | Refused]:
        def work(tx: Transaction) -> list[Task | Refused]:
            answers = [editing.force(tx, line) for line in lines]
            release_children(tx)
            return answers

        return await self._write(work)

    async def delete(self, tasks: Sequence[str]) -> Sequence[Refused | None]:
        return await self._write(lambda tx: [editing.delete(tx, task) for task in tasks])

    # --- services -------------------------------------------------------------------------------

    async def promote(self, limit: int) -> Moved:
        return await self._write(lambda tx: tending.promote(tx, limit))

    async def expired(self, limit: int) -> Sequence[Lease]:
        return await self._read(lambda reader: holding.expired(reader.db, reader.lanes, reader.now_us, limit))

    async def overdue(self, limit: int, grace_us: int) -> Overdue:
        def work(tx: Transaction) -> Overdue:
            leases = holding.overrun(tx.db, tx.lanes, tx.now_us, limit, grace_us)
            return Overdue(leases, tending.expire(tx, limit))

        return await self._write(work)

    async def resolve(self, limit: int) -> Moved:
        return await self._write(lambda tx: tending.resolve(tx, limit))

    async def prune(self, limit: int, retention: Retention, cursor: str | None) -> Pruned:
        return await self._write(lambda tx: tending.prune(tx, limit, retention, cursor))

    async def submissions(self, limit: int, task: str | None = None) -> Sequence[Submission]:
        return await self._read(lambda reader: transactions.submissions(reader, limit, task))

    async def take_in(self, lines: Sequence[TakeIn]) -> TakenIn:
        return await self._write(lambda tx: transactions.take_in(tx, lines))

    # --- schedules ------------------------------------------------------------------------------

    async def due_schedules(self, limit: int) -> DueSchedules:
        return await self._read(lambda reader: schedules.due(reader, limit))

    async def schedules(self, ids: Sequence[str]) -> SeenSchedules:
        return await self._read(lambda reader: schedules.look(reader, ids))

    async def find_schedules(self, limit: int, cursor: str | None) -> SchedulePage:
        return await self._read(lambda reader: schedules.find(reader, limit, cursor))

    async def fire(self, lines: Sequence[FireLine], term: int | None) -> Fired:
        return await self._write(lambda tx: firing.fire(tx, lines, term))

    async def delete_schedule(self, schedule: str, version: int | None) -> Refused | None:
        return await self._write(lambda tx: firing.delete(tx, schedule, version))

    async def fires(self, schedule: str, limit: int, cursor: str | None) -> FirePage:
        return await self._read(lambda reader: schedules.fires(reader, schedule, limit, cursor))

    # --- workflows ------------------------------------------------------------------------------

    async def get_workflow(self, workflow: str) -> WorkflowRecord | None:
        return await self._read(lambda reader: workflows.get(reader, workflow))

    async def workflow_graph(self, workflow: str) -> WorkflowGraph | None:
        return await self._read(lambda reader: workflows.graph(reader, workflow))

    async def find_workflows(self, query: WorkflowQuery) -> WorkflowPage:
        return await self._read(lambda reader: workflows.find(reader, query))

    async def cancel_workflow(self, workflow: str, callbacks: bool) -> Moved | Refused:
        return await self._write(lambda tx: retrying.cancel_workflow(tx, workflow, callbacks))

    async def retry_workflow(self, workflow: str) -> Retried | Refused:
        return await self._write(lambda tx: retrying.retry_workflow(tx, workflow))

    # --- reading --------------------------------------------------------------------------------

    async def board(self) -> BoardView:
        return await self._read(reading.board)

    async def get(self, tasks: Sequence[str]) -> Sequence[Task | None]:
        found = await self._read(lambda reader: tasks_by_id(reader.db, reader.lanes, tasks))
        return [found.get(task) for task in tasks]

    async def leases(self, held: Sequence[Held]) -> Sequence[Lease | None]:
        return await self._read(lambda reader: holding.leases(reader.db, reader.lanes, held))

    async def find(self, query: Query) -> Page:
        return await self._read(lambda reader: reading.find(reader, query))

    async def surroundings(self, task: str, shown: int) -> Surroundings | None:
        return await self._read(lambda reader: surroundings(reader, task, shown))

    async def dead_groups(self, limit: int, cursor: str | None) -> DeadGroups:
        return await self._read(lambda reader: dead_groups(reader, limit, cursor))

    async def stats(self) -> Stats:
        return await self._read(reading.stats)

    async def history(self, task: str) -> Sequence[Transition]:
        return await self._read(lambda reader: reading.history(reader, task))

    # --- moving house ---------------------------------------------------------------------------

    async def dump(self, cursor: str | None, limit: int) -> Dumped:
        return await self._read(lambda reader: moving.dump(reader, cursor, limit))

    async def begin_load(self, copy: str) -> Refused | None:
        return await self._write(lambda tx: loading.begin(tx, copy))

    async def load(self, copy: str, records: Sequence[Record]) -> Sequence[Refused | None]:
        return await self._write(lambda tx: loading.load(tx, copy, records))

    async def end_load(self, copy: str) -> None:
        await self._write(lambda tx: loading.end(tx, copy))

    async def unfinished_load(self) -> str | None:
        return await self._read(lambda reader: loading.unfinished(reader.db))

    # --- the laws -------------------------------------------------------------------------------

    async def audit(self, cursor: str | None, limit: int) -> Audit:
        return await self._read(lambda reader: audit(reader, cursor, limit))

    async def inspect(self) -> Sequence[Finding]:
        return await self._read(inspect)

    async def repair(self, findings: Sequence[Finding]) -> Sequence[Mended]:
        return await self._write(lambda tx: repair(tx, findings))

    # --- controls, membership, leadership -------------------------------------------------------

    async def set_queue(self, queue: str, paused_by: str | None) -> None:
        await self._write(lambda tx: controls.set_queue(tx, queue, paused_by))

    async def set_limit(self, name: str, rule: LimitRule | None, only_new: bool = False) -> bool:
        return await self._write(lambda tx: controls.set_limit(tx, name, rule, only_new))

    async def set_weight(self, tenant: str, weight: float) -> None:
        await self._write(lambda tx: controls.set_weight(tx, tenant, weight))

    async def beat(self, worker: WorkerInfo) -> None:
        await self._write(lambda tx: controls.beat(tx, worker))

    async def leave(self, worker: str, incarnation: str) -> None:
        await self._write(lambda tx: controls.leave(tx, worker, incarnation))

    async def workers(self) -> Sequence[WorkerInfo]:
        return await self._read(reading.workers)

    async def take_term(self, candidate: str, ttl_us: int) -> Term:
        return await self._write(lambda tx: controls.take_term(tx, candidate, ttl_us))

    async def term(self) -> Term | None:
        return await self._read(reading.term)

    async def resign(self, candidate: str, number: int) -> None:
        await self._write(lambda tx: controls.resign(tx, candidate, number))

    def listen(self, wakeups: Wakeups) -> None:
        """Hear what other processes tell, and look every 20 ms whether one has written, from the first
        listener on."""
        ear: Ear | None = None
        with contextlib.suppress(OSError):  # then the looks must do
            ear = Ear(self._path, self._clock)
            self._ears.add(ear.name)
        self._listeners.append(Listener(asyncio.get_running_loop(), wakeups, ear))
        if len(self._listeners) == 1:
            self._writer.watch(QUIET_S, Writer.look_for_others)

    def _others_wrote(self, span: tuple[int, int] | None) -> None:
        for listener in self._listeners:
            listener.hint(span)

    def _hush(self) -> None:
        for listener in self._listeners:
            listener.close()
