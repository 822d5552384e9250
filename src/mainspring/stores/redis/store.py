"""The store's verbs: each is one script, and so one transaction."""

from collections.abc import Sequence

import msgspec

from mainspring.core.limits import LimitRule
from mainspring.core.model import Lease, Task
from mainspring.core.order import LaneHead
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
    RedisOptions,
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
from mainspring.stores.redis import (
    auditing,
    controls,
    dead,
    editing,
    exchanging,
    firing,
    holding,
    loading,
    moving,
    progress,
    reading,
    retrying,
    schedules,
    tending,
    workflows,
)
from mainspring.stores.redis.address import parse_address
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.explaining import surroundings
from mainspring.stores.redis.listening import Hints
from mainspring.verbs import (
    Audit,
    Finding,
    Mended,
    Retried,
    WorkflowGraph,
    WorkflowPage,
    WorkflowQuery,
    WorkflowRecord,
)
from mainspring.verbs.moving import Dumped, Record

DEFAULTS = RedisOptions()


class RedisStore(Store):
    """One namespace of one server, shared by any number of nodes.

    What was answered survives a crash of the server as its settings promise: `features.durability` says A
    with `appendfsync always`, B with `everysec`, else C. Verbs raise `StoreUnavailable` when the server
    cannot be reached or does not answer within half a minute, `StoreFull` when it takes no more data.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        options: RedisOptions = DEFAULTS,
        *,
        history: bool = False,
        server_clock: str | None = None,
    ) -> None:
        """A test may hand in a script of the server's clock. Raises `InvalidInput` for a URL that is no
        address."""
        # What it is in truth is known once the server has told its settings.
        self.features = Features(
            "redis", durability="C", several_processes=True, full_history=history, flights=2
        )
        self._db = Database(
            parse_address(url), options, clock, self._wrote, keeps_history=history, server_clock=server_clock
        )
        self._hints = Hints(self._db)

    async def open(self) -> None:
        server = await self._db.open()
        self.features = msgspec.structs.replace(self.features, durability=server.durability)

    async def close(self) -> None:
        await self._hints.close()
        await self._db.close()

    def listen(self, wakeups: Wakeups) -> None:
        """Hears what other nodes tell after they have written, from the first listener on."""
        self._hints.listen(wakeups)

    def _wrote(self, heads: Sequence[LaneHead] | None, has_ended: bool) -> None:
        self._hints.tell(heads, has_ended=has_ended)

    # --- the hot verbs --------------------------------------------------------------------------

    async def exchange(self, batch: Exchange) -> Exchanged:
        return await exchanging.exchange(self._db, batch)

    async def renew(self, renewals: Sequence[Renewal]) -> Sequence[Sequence[Answer]]:
        return await holding.renew(self._db, renewals)

    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]:
        return await progress.append(self._db, lines)

    async def recall(self, lines: Sequence[Recall]) -> Sequence[Recalled | Refused]:
        return await progress.recall(self._db, lines)

    async def logs(self, task: str, after: int, most: int) -> LogPage | None:
        return await progress.logs(self._db, task, after, most)

    async def glance(self, tasks: Sequence[str]) -> Sequence[Glance | None]:
        return await progress.glance(self._db, tasks)

    # --- by hand --------------------------------------------------------------------------------

    async def amend(self, task: str, version: int, edit: Edit) -> Task | Refused:
        return await editing.amend(self._db, task, version, edit)

    async def force(self, lines: Sequence[Force]) -> Sequence[Task | Refused]:
        return await editing.force(self._db, lines)

    async def delete(self, tasks: Sequence[str]) -> Sequence[Refused | None]:
        return await editing.delete(self._db, tasks)

    # --- services -------------------------------------------------------------------------------

    async def promote(self, limit: int) -> Moved:
        return await tending.promote(self._db, limit)

    async def expired(self, limit: int) -> Sequence[Lease]:
        return await holding.expired(self._db, limit)

    async def overdue(self, limit: int, grace_us: int) -> Overdue:
        return await tending.overdue(self._db, limit, grace_us)

    async def resolve(self, limit: int) -> Moved:
        return await tending.resolve(self._db, limit)

    async def prune(self, limit: int, retention: Retention, cursor: str | None) -> Pruned:
        return await tending.prune(self._db, limit, retention, cursor)

    # --- schedules ------------------------------------------------------------------------------

    async def due_schedules(self, limit: int) -> DueSchedules:
        return await schedules.due(self._db, limit)

    async def schedules(self, ids: Sequence[str]) -> SeenSchedules:
        return await schedules.look(self._db, ids)

    async def find_schedules(self, limit: int, cursor: str | None) -> SchedulePage:
        return await schedules.find(self._db, limit, cursor)

    async def fire(self, lines: Sequence[FireLine], term: int | None) -> Fired:
        return await firing.fire(self._db, lines, term)

    async def delete_schedule(self, schedule: str, version: int | None) -> Refused | None:
        return await firing.delete(self._db, schedule, version)

    async def fires(self, schedule: str, limit: int, cursor: str | None) -> FirePage:
        return await schedules.fires(self._db, schedule, limit, cursor)

    # --- workflows ------------------------------------------------------------------------------

    async def get_workflow(self, workflow: str) -> WorkflowRecord | None:
        return await workflows.get(self._db, workflow)

    async def workflow_graph(self, workflow: str) -> WorkflowGraph | None:
        return await workflows.graph(self._db, workflow)

    async def find_workflows(self, query: WorkflowQuery) -> WorkflowPage:
        return await workflows.find(self._db, query)

    async def cancel_workflow(self, workflow: str, callbacks: bool) -> Moved | Refused:
        return await retrying.cancel_workflow(self._db, workflow, callbacks)

    async def retry_workflow(self, workflow: str) -> Retried | Refused:
        return await retrying.retry_workflow(self._db, workflow)

    # --- reading --------------------------------------------------------------------------------

    async def board(self) -> BoardView:
        return await reading.board(self._db)

    async def get(self, tasks: Sequence[str]) -> Sequence[Task | None]:
        return await reading.get(self._db, tasks)

    async def leases(self, held: Sequence[Held]) -> Sequence[Lease | None]:
        return await holding.find_leases(self._db, held)

    async def find(self, query: Query) -> Page:
        return await reading.find(self._db, query)

    async def history(self, task: str) -> Sequence[Transition]:
        return await reading.history(self._db, task)

    async def surroundings(self, task: str, shown: int) -> Surroundings | None:
        return await surroundings(self._db, task, shown)

    async def stats(self) -> Stats:
        return await reading.stats(self._db)

    # --- dead letters ---------------------------------------------------------------------------

    async def dead_groups(self, limit: int, cursor: str | None) -> DeadGroups:
        return await dead.dead_groups(self._db, limit, cursor)

    # --- moving house ---------------------------------------------------------------------------

    async def dump(self, cursor: str | None, limit: int) -> Dumped:
        return await moving.dump(self._db, cursor, limit)

    async def begin_load(self, copy: str) -> Refused | None:
        return await loading.begin(self._db, copy)

    async def load(self, copy: str, records: Sequence[Record]) -> Sequence[Refused | None]:
        return await loading.load(self._db, copy, records)

    async def end_load(self, copy: str) -> None:
        await loading.end(self._db, copy)

    async def unfinished_load(self) -> str | None:
        return await loading.unfinished(self._db)

    # --- the laws -------------------------------------------------------------------------------

    async def audit(self, cursor: str | None, limit: int) -> Audit:
        return await auditing.audit(self._db, cursor, limit)

    async def inspect(self) -> Sequence[Finding]:
        return await auditing.inspect(self._db)

    async def repair(self, findings: Sequence[Finding]) -> Sequence[Mended]:
        return await auditing.repair(self._db, findings)

    # --- controls, membership, leadership -------------------------------------------------------

    async def set_queue(self, queue: str, paused_by: str | None) -> None:
        await controls.set_queue(self._db, queue, paused_by)

    async def set_limit(self, name: str, rule: LimitRule | None, only_new: bool = False) -> bool:
        return await controls.set_limit(self._db, name, rule, only_new)

    async def set_weight(self, tenant: str, weight: float) -> None:
        await controls.set_weight(self._db, tenant, weight)

    async def beat(self, worker: WorkerInfo) -> None:
        await controls.beat(self._db, worker)

    async def leave(self, worker: str, incarnation: str) -> None:
        await controls.leave(self._db, worker, incarnation)

    async def workers(self) -> Sequence[WorkerInfo]:
        return await controls.workers(self._db)

    async def take_term(self, candidate: str, ttl_us: int) -> Term:
        return await controls.take_term(self._db, candidate, ttl_us)

    async def term(self) -> Term | None:
        return await controls.term(self._db)

    async def resign(self, candidate: str, number: int) -> None:
        await controls.resign(self._db, candidate, number)
