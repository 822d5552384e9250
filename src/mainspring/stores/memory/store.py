"""The store's verbs. Each is one step of the event loop, and so one transaction."""

import copy
from collections.abc import Sequence

from mainspring.core.limits import LimitRule, refit, rule_for
from mainspring.core.model import Lease, Task
from mainspring.core.order import Share
from mainspring.errors import StoreUnavailable
from mainspring.ports import (
    Answer,
    Append,
    BoardView,
    Charge,
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
    Surroundings,
    Term,
    Transition,
    Wakeups,
    WorkerInfo,
)
from mainspring.stores.memory import (
    claiming,
    editing,
    loading,
    moving,
    progress,
    reading,
    schedules,
    settling,
    submitting,
    tending,
    workflows,
)
from mainspring.stores.memory.auditing import audit, inspect
from mainspring.stores.memory.dead import dead_groups
from mainspring.stores.memory.explaining import surroundings
from mainspring.stores.memory.mending import repair
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.tables import StoreClock, Tables, TermRow
from mainspring.verbs import Retried, WorkflowGraph, WorkflowPage, WorkflowQuery, WorkflowRecord
from mainspring.verbs.audit import Audit, Finding, Mended
from mainspring.verbs.moving import Dumped, Record


class MemoryStore(Store):
    """Holds everything in this process. `close` and `open` again find it as it was, as a file would be.

    `snapshot` and `restore` are for simulations: what was written between them is lost, as after a
    crash of a store that flushes late. Numbers minted later still rise over those that were lost.
    """

    features = Features("memory", durability="none", several_processes=False, full_history=True)

    def __init__(self, clock: Clock) -> None:
        self._clock = StoreClock(clock)
        self._tables = Tables()
        self._is_open = False

    def snapshot(self) -> Tables:
        return self._tables.copy()

    def restore(self, snapshot: Tables) -> None:
        """Go back to the snapshot, which stays as it is and may be restored again."""
        self._tables = snapshot.copy()

    def _call(self) -> Call:
        if not self._is_open:
            raise StoreUnavailable("the store is closed")
        return Call(self._tables, self._clock)

    async def open(self) -> None:
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    # --- the hot verbs --------------------------------------------------------------------------

    async def exchange(self, batch: Exchange) -> Exchanged:
        call = self._call()
        settles = [settling.settle(call, line) for line in batch.settles]
        submits = [submitting.submit(call, group) for group in batch.submits]
        claims = [claiming.claim(call, ask) for ask in batch.claims]
        for charge in batch.charges:
            self._charge(charge)
        return Exchanged(call.now_us, submits, settles, claims, call.gained(), call.limited_usage())

    def _charge(self, charge: Charge) -> None:
        share = self._tables.shares.setdefault(charge.tenant, Share())
        share.virtual_us = max(share.virtual_us, charge.floor_us) + charge.cost_us / share.weight

    async def renew(self, renewals: Sequence[Renewal]) -> Sequence[Sequence[Answer]]:
        call = self._call()
        return [settling.renew(call, renewal) for renewal in renewals]

    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]:
        call = self._call()
        return [settling.append(call, line) for line in lines]

    async def recall(self, lines: Sequence[Recall]) -> Sequence[Recalled | Refused]:
        call = self._call()
        return [settling.recall(call, line) for line in lines]

    async def logs(self, task: str, after: int, most: int) -> LogPage | None:
        return progress.logs(self._call(), task, after, most)

    async def glance(self, tasks: Sequence[str]) -> Sequence[Glance | None]:
        return progress.glance(self._call(), tasks)

    # --- by hand --------------------------------------------------------------------------------

    async def amend(self, task: str, version: int, edit: Edit) -> Task | Refused:
        return editing.amend(self._call(), task, version, edit)

    async def force(self, lines: Sequence[Force]) -> Sequence[Task | Refused]:
        call = self._call()
        return [editing.force(call, line) for line in lines]

    async def delete(self, tasks: Sequence[str]) -> Sequence[Refused | None]:
        call = self._call()
        return [editing.delete(call, task) for task in tasks]

    # --- services -------------------------------------------------------------------------------

    async def promote(self, limit: int) -> Moved:
        return tending.promote(self._call(), limit)

    async def expired(self, limit: int) -> Sequence[Lease]:
        return settling.expired(self._call(), limit)

    async def overdue(self, limit: int, grace_us: int) -> Overdue:
        call = self._call()
        return Overdue(settling.overrun(call, limit, grace_us), tending.expire(call, limit))

    async def resolve(self, limit: int) -> Moved:
        return tending.resolve(self._call(), limit)

    async def prune(self, limit: int, retention: Retention, cursor: str | None) -> Pruned:
        return tending.prune(self._call(), limit, retention, cursor)

    # --- schedules ------------------------------------------------------------------------------

    async def due_schedules(self, limit: int) -> DueSchedules:
        return schedules.due(self._call(), limit)

    async def schedules(self, ids: Sequence[str]) -> SeenSchedules:
        return schedules.look(self._call(), ids)

    async def find_schedules(self, limit: int, cursor: str | None) -> SchedulePage:
        return schedules.find(self._call(), limit, cursor)

    async def fire(self, lines: Sequence[FireLine], term: int | None) -> Fired:
        return schedules.fire(self._call(), lines, term)

    async def delete_schedule(self, schedule: str, version: int | None) -> Refused | None:
        return schedules.delete(self._call(), schedule, version)

    async def fires(self, schedule: str, limit: int, cursor: str | None) -> FirePage:
        return schedules.fires(self._call(), schedule, limit, cursor)

    # --- workflows ------------------------------------------------------------------------------

    async def get_workflow(self, workflow: str) -> WorkflowRecord | None:
        return workflows.get(self._call(), workflow)

    async def workflow_graph(self, workflow: str) -> WorkflowGraph | None:
        return workflows.graph(self._call(), workflow)

    async def find_workflows(self, query: WorkflowQuery) -> WorkflowPage:
        return workflows.find(self._call(), query)

    async def cancel_workflow(self, workflow: str, callbacks: bool) -> Moved | Refused:
        return workflows.cancel_workflow(self._call(), workflow, callbacks)

    async def retry_workflow(self, workflow: str) -> Retried | Refused:
        return workflows.retry_workflow(self._call(), workflow)

    # --- reading --------------------------------------------------------------------------------

    async def board(self) -> BoardView:
        return reading.board(self._call())

    async def get(self, tasks: Sequence[str]) -> Sequence[Task | None]:
        rows = self._call().tables.rows
        return [reading.view(rows[task]) if task in rows else None for task in tasks]

    async def leases(self, held: Sequence[Held]) -> Sequence[Lease | None]:
        return settling.leases(self._call(), held)

    async def find(self, query: Query) -> Page:
        return reading.find(self._call(), query)

    async def surroundings(self, task: str, shown: int) -> Surroundings | None:
        return surroundings(self._call(), task, shown, await self.workers())

    async def dead_groups(self, limit: int, cursor: str | None) -> DeadGroups:
        return dead_groups(self._call(), limit, cursor)

    async def stats(self) -> Stats:
        call = self._call()
        return Stats(call.now_us, dict(call.tables.counts))

    async def history(self, task: str) -> Sequence[Transition]:
        return tuple(self._call().tables.history.get(task, ()))

    # --- the laws -------------------------------------------------------------------------------

    async def audit(self, cursor: str | None, limit: int) -> Audit:
        return audit(self._call(), self._clock.highest(), cursor, limit)

    async def inspect(self) -> Sequence[Finding]:
        return inspect(self._call())

    async def repair(self, findings: Sequence[Finding]) -> Sequence[Mended]:
        return repair(self._call(), self._clock.highest(), findings)

    # --- moving house ---------------------------------------------------------------------------

    async def dump(self, cursor: str | None, limit: int) -> Dumped:
        return moving.dump(self._call().tables, cursor, limit)

    async def begin_load(self, copy: str) -> Refused | None:
        call = self._call()
        tables = call.tables
        if tables.loading == copy:
            return None
        if tables.loading is None and (there := loading.what_is_there(call)) is not None:
            return there
        self._tables = loading.emptied(tables)
        self._tables.loading = copy
        return None

    async def load(self, copy: str, records: Sequence[Record]) -> Sequence[Refused | None]:
        return loading.load(self._call(), self._clock, copy, records)

    async def end_load(self, copy: str) -> None:
        tables = self._call().tables
        if tables.loading == copy:
            tables.loading = None

    async def unfinished_load(self) -> str | None:
        return self._call().tables.loading

    # --- controls -------------------------------------------------------------------------------

    async def set_queue(self, queue: str, paused_by: str | None) -> None:
        paused = self._call().tables.paused
        if paused_by is None:
            paused.pop(queue, None)
        else:
            paused[queue] = paused_by

    async def set_limit(self, name: str, rule: LimitRule | None, only_new: bool = False) -> bool:
        call = self._call()
        rules = call.tables.rules
        was_there = name in rules
        if was_there and only_new:
            return True
        if rule is None:
            rules.pop(name, None)
        else:
            rules[name] = rule
        for limited, usage in call.tables.usage.items():
            refit(rule_for(limited, rules), usage, call.now_us)
        return was_there

    async def set_weight(self, tenant: str, weight: float) -> None:
        self._call().tables.shares.setdefault(tenant, Share()).weight = weight

    # --- membership and leadership --------------------------------------------------------------

    async def beat(self, worker: WorkerInfo) -> None:
        call = self._call()
        call.tables.workers[worker.worker] = (copy.copy(worker), call.now_us)

    async def leave(self, worker: str, incarnation: str) -> None:
        tables = self._call().tables
        known = tables.workers.get(worker)
        if known is not None and known[0].incarnation == incarnation:
            del tables.workers[worker]

    async def workers(self) -> Sequence[WorkerInfo]:
        call = self._call()
        found = []
        for info, beaten_us in call.tables.workers.values():
            found.append(copy.copy(info))
            found[-1].age_us = call.now_us - beaten_us
        return found

    async def take_term(self, candidate: str, ttl_us: int) -> Term:
        call = self._call()
        term = call.tables.term
        if term is None or term.expires_us <= call.now_us:
            # A term that ran out is over even for its holder: what it did not renew in time, it lost.
            number = max((term.number if term else 0) + 1, call.mint())
            term = TermRow(candidate, number, call.now_us + ttl_us)
        elif term.holder == candidate:
            term = term._replace(expires_us=call.now_us + ttl_us)
        call.tables.term = term
        return Term(term.holder, term.number, term.expires_us - call.now_us)

    async def term(self) -> Term | None:
        call = self._call()
        term = call.tables.term
        if term is None or term.expires_us <= call.now_us:
            return None
        return Term(term.holder, term.number, term.expires_us - call.now_us)

    async def resign(self, candidate: str, number: int) -> None:
        call = self._call()
        term = call.tables.term
        if term is not None and (term.holder, term.number) == (candidate, number):
            call.tables.term = term._replace(expires_us=call.now_us)

    def listen(self, wakeups: Wakeups) -> None:
        """No other process can write here, so there is nothing to hint at."""
