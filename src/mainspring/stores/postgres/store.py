"""The store's verbs: each is one transaction on one connection of a pool."""

from collections.abc import Sequence

from msgspec.structs import replace

from mainspring.core.limits import LimitRule
from mainspring.core.model import Lease, Task
from mainspring.ports import (
    Answer,
    Append,
    BoardView,
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
    PostgresOptions,
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
from mainspring.ports.options import DEFAULTS
from mainspring.stores.postgres import (
    controls,
    editing,
    firing,
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
from mainspring.stores.postgres.address import parse_address
from mainspring.stores.postgres.auditing import audit, inspect, repair
from mainspring.stores.postgres.connecting import LONG_LIMIT_S, Database
from mainspring.stores.postgres.dead import dead_groups
from mainspring.stores.postgres.explaining import surroundings
from mainspring.stores.postgres.listening import Hints
from mainspring.stores.postgres.plain import Exchanging
from mainspring.stores.postgres.transaction import Transaction
from mainspring.verbs import Retried, WorkflowGraph, WorkflowPage, WorkflowQuery, WorkflowRecord
from mainspring.verbs.audit import Audit, Finding, Mended
from mainspring.verbs.moving import Dumped, Record


class PostgresStore(Store):
    """One schema of one database, shared by any number of nodes. What was answered survives a crash of the
    server.

    Verbs raise `StoreUnavailable` when the server cannot be reached or
    does not answer within half a minute, `StoreFull` when its disk is full.
    """

    def __init__(
        self,
        address: str,
        options: PostgresOptions = DEFAULTS.postgres,
        *,
        history: bool = False,
        migrates: bool = True,
    ) -> None:
        """Raises `InvalidInput` for an address that cannot be one."""
        self.features = Features(
            "postgres",
            durability="A",
            several_processes=True,
            full_history=history,
            flights=2,
            transactional=True,
        )
        self._db = Database(
            parse_address(address), options, self._wrote, keeps_history=history, migrates=migrates
        )
        self._hints = Hints(self._db)

    async def open(self) -> None:
        await self._db.open()
        # A server told not to wait for its disk loses the last fraction of a second with its power.
        self.features = replace(self.features, durability="A" if self._db.is_synchronous else "B")

    async def close(self) -> None:
        await self._hints.close()
        await self._db.close()

    def listen(self, wakeups: Wakeups) -> None:
        """Hears what other nodes tell after they have written, from the first listener on."""
        self._hints.listen(wakeups)

    def _wrote(self, tx: Transaction) -> None:
        self._hints.tell(tx.heads if tx.gained else (), has_ended=bool(tx.finished))

    # --- the hot verbs --------------------------------------------------------------------------

    async def exchange(self, batch: Exchange) -> Exchanged:
        exchanging = Exchanging(batch)
        return await self._db.write(exchanging.in_order, shortcut=exchanging.alone)

    async def renew(self, renewals: Sequence[Renewal]) -> Sequence[Sequence[Answer]]:
        return await self._db.write(lambda tx: holding.renew(tx, renewals)) if renewals else []

    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]:
        return await self._db.write(lambda tx: progress.append(tx, lines))

    async def recall(self, lines: Sequence[Recall]) -> Sequence[Recalled | Refused]:
        return await self._db.read(lambda tx: progress.recall(tx, lines))

    async def logs(self, task: str, after: int, most: int) -> LogPage | None:
        return await self._db.read(lambda tx: progress.logs(tx, task, after, most))

    async def glance(self, tasks: Sequence[str]) -> Sequence[Glance | None]:
        return await self._db.read(lambda tx: progress.glance(tx, tasks))

    # --- by hand --------------------------------------------------------------------------------

    async def amend(self, task: str, version: int, edit: Edit) -> Task | Refused:
        return await self._db.write(lambda tx: editing.amend(tx, task, version, edit))

    async def force(self, lines: Sequence[Force]) -> Sequence[Task | Refused]:
        return await self._db.write(lambda tx: editing.force(tx, lines))

    async def delete(self, tasks: Sequence[str]) -> Sequence[Refused | None]:
        return await self._db.write(lambda tx: editing.delete(tx, tasks))

    # --- services -------------------------------------------------------------------------------

    async def promote(self, limit: int) -> Moved:
        return await self._db.write(lambda tx: tending.promote(tx, limit))

    async def expired(self, limit: int) -> Sequence[Lease]:
        return await self._db.read(lambda tx: holding.expired(tx, limit))

    async def overdue(self, limit: int, grace_us: int) -> Overdue:
        return await self._db.write(lambda tx: tending.overdue(tx, limit, grace_us))

    async def resolve(self, limit: int) -> Moved:
        return await self._db.write(lambda tx: tending.resolve(tx, limit))

    async def prune(self, limit: int, retention: Retention, cursor: str | None) -> Pruned:
        return await self._db.write(lambda tx: tending.prune(tx, limit, retention, cursor))

    async def submissions(self, limit: int, task: str | None = None) -> Sequence[Submission]:
        return await self._db.read(lambda tx: transactions.submissions(tx, limit, task))

    async def take_in(self, lines: Sequence[TakeIn]) -> TakenIn:
        return await self._db.write(lambda tx: transactions.take_in(tx, lines))

    # --- schedules ------------------------------------------------------------------------------

    async def due_schedules(self, limit: int) -> DueSchedules:
        return await self._db.read(lambda tx: schedules.due(tx, limit))

    async def schedules(self, ids: Sequence[str]) -> SeenSchedules:
        return await self._db.read(lambda tx: schedules.look(tx, ids))

    async def find_schedules(self, limit: int, cursor: str | None) -> SchedulePage:
        return await self._db.read(lambda tx: schedules.find(tx, limit, cursor))

    async def fire(self, lines: Sequence[FireLine], term: int | None) -> Fired:
        return await self._db.write(lambda tx: firing.fire(tx, lines, term))

    async def delete_schedule(self, schedule: str, version: int | None) -> Refused | None:
        return await self._db.write(lambda tx: firing.delete(tx, schedule, version))

    async def fires(self, schedule: str, limit: int, cursor: str | None) -> FirePage:
        return await self._db.read(lambda tx: schedules.fires(tx, schedule, limit, cursor))

    # --- workflows ------------------------------------------------------------------------------

    async def get_workflow(self, workflow: str) -> WorkflowRecord | None:
        return await self._db.read(lambda tx: workflows.get(tx, workflow))

    async def workflow_graph(self, workflow: str) -> WorkflowGraph | None:
        return await self._db.read(lambda tx: workflows.graph(tx, workflow))

    async def find_workflows(self, query: WorkflowQuery) -> WorkflowPage:
        return await self._db.read(lambda tx: workflows.find(tx, query))

    async def cancel_workflow(self, workflow: str, callbacks: bool) -> Moved | Refused:
        return await self._db.write(lambda tx: retrying.cancel_workflow(tx, workflow, callbacks))

    async def retry_workflow(self, workflow: str) -> Retried | Refused:
        return await self._db.write(lambda tx: retrying.retry_workflow(tx, workflow))

    # --- reading --------------------------------------------------------------------------------

    async def board(self) -> BoardView:
        return await self._db.read(reading.board)

    async def get(self, tasks: Sequence[str]) -> Sequence[Task | None]:
        return await self._db.read(lambda tx: reading.get(tx, tasks))

    async def leases(self, held: Sequence[Held]) -> Sequence[Lease | None]:
        return await self._db.read(lambda tx: holding.find_leases(tx, held))

    async def find(self, query: Query) -> Page:
        return await self._db.read(lambda tx: reading.find(tx, query))

    async def stats(self) -> Stats:
        return await self._db.read(reading.stats)

    async def history(self, task: str) -> Sequence[Transition]:
        return await self._db.read(lambda tx: reading.history(tx, task))

    async def surroundings(self, task: str, shown: int) -> Surroundings | None:
        return await self._db.read(lambda tx: surroundings(tx, task, shown))

    async def dead_groups(self, limit: int, cursor: str | None) -> DeadGroups:
        return await self._db.read(lambda tx: dead_groups(tx, limit, cursor))

    # --- moving house ---------------------------------------------------------------------------

    async def dump(self, cursor: str | None, limit: int) -> Dumped:
        return await self._db.read(lambda tx: moving.dump(tx, cursor, limit))

    async def begin_load(self, copy: str) -> Refused | None:
        return await self._db.write(lambda tx: loading.begin(tx, copy))

    async def load(self, copy: str, records: Sequence[Record]) -> Sequence[Refused | None]:
        return await self._db.write(lambda tx: loading.load(tx, copy, records))

    async def end_load(self, copy: str) -> None:
        await self._db.write(lambda tx: loading.end(tx, copy))

    async def unfinished_load(self) -> str | None:
        return await self._db.read(loading.unfinished)

    # --- the laws -------------------------------------------------------------------------------

    async def audit(self, cursor: str | None, limit: int) -> Audit:
        return await self._db.read(lambda tx: audit(tx, cursor, limit))

    async def inspect(self) -> Sequence[Finding]:
        return await self._db.read(inspect, LONG_LIMIT_S)

    async def repair(self, findings: Sequence[Finding]) -> Sequence[Mended]:
        return await self._db.write(lambda tx: repair(tx, findings), LONG_LIMIT_S)

    # --- controls, membership, leadership -------------------------------------------------------

    async def set_queue(self, queue: str, paused_by: str | None) -> None:
        await self._db.write(lambda tx: controls.set_queue(tx, queue, paused_by))

    async def set_limit(self, name: str, rule: LimitRule | None, only_new: bool = False) -> bool:
        return await self._db.write(lambda tx: controls.set_limit(tx, name, rule, only_new))

    async def set_weight(self, tenant: str, weight: float) -> None:
        await self._db.write(lambda tx: controls.set_weight(tx, tenant, weight))

    async def beat(self, worker: WorkerInfo) -> None:
        await self._db.write(lambda tx: controls.beat(tx, worker))

    async def leave(self, worker: str, incarnation: str) -> None:
        await self._db.write(lambda tx: controls.leave(tx, worker, incarnation))

    async def workers(self) -> Sequence[WorkerInfo]:
        return await self._db.read(controls.workers)

    async def take_term(self, candidate: str, ttl_us: int) -> Term:
        return await self._db.write(lambda tx: controls.take_term(tx, candidate, ttl_us))

    async def term(self) -> Term | None:
        return await self._db.read(controls.term)

    async def resign(self, candidate: str, number: int) -> None:
        await self._db.write(lambda tx: controls.resign(tx, candidate, number))
