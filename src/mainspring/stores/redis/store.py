"""The store's verbs: each is one script, and so one transaction."""

from collections.abc import Sequence

from mainspring.core.limits import LimitRule
from mainspring.core.model import Task
from mainspring.ports import (
    Answer,
    BoardView,
    DeadGroups,
    DueSchedules,
    Exchange,
    Exchanged,
    Features,
    Fired,
    FireLine,
    FirePage,
    Force,
    Moved,
    Refused,
    Renewal,
    SchedulePage,
    SeenSchedules,
    Stats,
)
from mainspring.stores.redis import (
    controls,
    dead,
    editing,
    exchanging,
    firing,
    holding,
    reading,
    retrying,
    schedules,
    tending,
    workflows,
)
from mainspring.stores.redis.connecting import Database
from mainspring.verbs import Retried, WorkflowGraph, WorkflowPage, WorkflowQuery, WorkflowRecord


class RedisStore:
    """One namespace of one server, shared by any number of nodes.

    Promises durability A when the server runs with `appendfsync always`, B with `everysec`. A call whose
    answer is lost is never repeated by the library: `StoreUnavailable` says that its outcome is unknown.
    """

    def __init__(
        self, url: str, namespace: str = "mainspring", *, history: bool = False, clock: str | None = None
    ) -> None:
        self.features = Features("redis", durability="A", several_processes=True, full_history=history)
        self._db = Database(url, namespace, clock, keeps_history=history)

    async def open(self) -> None:
        await self._db.open()

    async def close(self) -> None:
        await self._db.close()

    # --- the hot verbs --------------------------------------------------------------------------

    async def exchange(self, batch: Exchange) -> Exchanged:
        return await exchanging.exchange(self._db, batch)

    async def renew(self, renewals: Sequence[Renewal]) -> Sequence[Sequence[Answer]]:
        return await holding.renew(self._db, renewals)

    # --- by hand --------------------------------------------------------------------------------

    async def force(self, lines: Sequence[Force]) -> Sequence[Task | Refused]:
        return await editing.force(self._db, lines)

    # --- services -------------------------------------------------------------------------------

    async def promote(self, limit: int) -> Moved:
        return await tending.promote(self._db, limit)

    async def resolve(self, limit: int) -> Moved:
        return await tending.resolve(self._db, limit)

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

    async def stats(self) -> Stats:
        return await reading.stats(self._db)

    # --- dead letters ---------------------------------------------------------------------------

    async def dead_groups(self, limit: int, cursor: str | None) -> DeadGroups:
        return await dead.dead_groups(self._db, limit, cursor)

    # --- the laws -------------------------------------------------------------------------------

    # --- controls, membership, leadership -------------------------------------------------------

    async def set_queue(self, queue: str, paused_by: str | None) -> None:
        await controls.set_queue(self._db, queue, paused_by)

    async def set_limit(self, name: str, rule: LimitRule | None, only_new: bool = False) -> bool:
        return await controls.set_limit(self._db, name, rule, only_new)

    async def set_weight(self, tenant: str, weight: float) -> None:
        await controls.set_weight(self._db, tenant, weight)
