"""The system of record, verb by verb."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from mainspring.core.limits import LimitRule
from mainspring.core.model import Lease, Task
from mainspring.ports.seams import Wakeups
from mainspring.verbs import (
    Accepted,
    Answer,
    Append,
    Ask,
    Audit,
    BoardView,
    Claimed,
    DeadGroups,
    DueSchedules,
    Edit,
    Exchange,
    Exchanged,
    Existing,
    Finding,
    Fired,
    FireLine,
    FirePage,
    Force,
    Glance,
    Group,
    Held,
    LogPage,
    Mended,
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
    Retried,
    SchedulePage,
    SeenSchedules,
    Settlement,
    Stats,
    Submission,
    Surroundings,
    TakeIn,
    TakenIn,
    Term,
    Transition,
    WorkerInfo,
    WorkflowGraph,
    WorkflowPage,
    WorkflowQuery,
    WorkflowRecord,
)
from mainspring.verbs.moving import Dumped, Record


class Features(msgspec.Struct, frozen=True):
    """What a store can do. `durability` is A, B or C as in the documentation, or `none`. `flights` is how
    many exchanges of one node it gains by at a time. `transactional`: users may submit and complete tasks in
    transactions of their own."""

    name: str
    durability: str
    several_processes: bool
    full_history: bool = False
    flights: int = 1
    transactional: bool = False


class Store(ABC):
    """The system of record. A driver exists only if it passes the whole conformance suite."""

    features: Features

    @abstractmethod
    async def open(self) -> None:
        """Connect, and bring the schema up to date.

        Raises `StoreTooNew`, `StoreCorrupt`, `StoreUnavailable`."""

    @abstractmethod
    async def close(self) -> None:
        """Let calls in flight finish, then let go. A closed store raises `StoreUnavailable`."""

    @abstractmethod
    async def exchange(self, batch: Exchange) -> Exchanged:
        """Settle, submit and claim in one transaction and one durable commit."""

    async def submit(self, groups: Sequence[Group]) -> Sequence[Accepted | Existing | Refused]:
        return (await self.exchange(Exchange(submits=groups))).submits

    async def claim(self, asks: Sequence[Ask]) -> Sequence[Claimed]:
        return (await self.exchange(Exchange(claims=asks))).claims

    async def settle(self, lines: Sequence[Settlement]) -> Sequence[Answer]:
        return (await self.exchange(Exchange(settles=lines))).settles

    @abstractmethod
    async def renew(self, renewals: Sequence[Renewal]) -> Sequence[Sequence[Answer]]:
        """Lengthen leases to `lease_us` from now; one answer per line held."""

    # --- what running tasks record on the way ----------------------------------------------------

    @abstractmethod
    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]:
        """Record checkpoints, progress, steps and logs of running tasks; durable on return."""

    @abstractmethod
    async def recall(self, lines: Sequence[Recall]) -> Sequence[Recalled | Refused]:
        """What earlier runs recorded and how parents ended, for the holders of leases: else `lease_lost`.
        `too_large` if the parents' results are more than can be handed on."""

    @abstractmethod
    async def logs(self, task: str, after: int, most: int) -> LogPage | None:
        """The log from byte `after` on, about `most` bytes of it; `None` if there is no such task."""

    @abstractmethod
    async def glance(self, tasks: Sequence[str]) -> Sequence[Glance | None]:
        """Whether these tasks have changed: the cheapest question that watching them can ask."""

    # --- by hand, services, reading ---------------------------------------------------------------

    @abstractmethod
    async def amend(self, task: str, version: int, edit: Edit) -> Task | Refused:
        """Edit a waiting task if its version is still `version`."""

    @abstractmethod
    async def force(self, lines: Sequence[Force]) -> Sequence[Task | Refused]:
        """Cancel, replay or run now, by hand. Whoever held a lease on a row so moved is fenced."""

    @abstractmethod
    async def delete(self, tasks: Sequence[str]) -> Sequence[Refused | None]:
        """Forget final tasks that no unfinished task depends on."""

    @abstractmethod
    async def promote(self, limit: int) -> Moved:
        """Scheduled tasks that are due become ready."""

    @abstractmethod
    async def expired(self, limit: int) -> Sequence[Lease]:
        """Leases that have lapsed, oldest first. Changes nothing: the reaper settles them."""

    @abstractmethod
    async def overdue(self, limit: int, grace_us: int) -> Overdue:
        """Runs past their timeout or deadline by `grace_us`; waiting tasks past their deadline fail."""

    @abstractmethod
    async def resolve(self, limit: int) -> Moved:
        """Apply final parents to their children that settling left over; idempotent, one level a pass."""

    @abstractmethod
    async def prune(self, limit: int, retention: Retention, cursor: str | None) -> Pruned:
        """Look at up to `limit` tasks from `cursor` on, oldest first, and forget those past retention."""

    # --- what users write in transactions of their own (`Features.transactional`) -----------------

    async def submissions(self, limit: int, task: str | None = None) -> Sequence[Submission]:
        """Up to `limit` submissions that wait to be taken in, the oldest first, or that of `task`; fewer if
        they are long. Changes nothing."""
        return ()

    async def take_in(self, lines: Sequence[TakeIn]) -> TakenIn:
        """Let submissions become tasks, in the order of the lines. Whoever takes in, and however many, each
        becomes a task once. A queue's backlog may be over its limit then: a committed transaction cannot be
        refused."""
        return TakenIn([None] * len(lines), Moved(0))

    # --- schedules ------------------------------------------------------------------------------

    @abstractmethod
    async def due_schedules(self, limit: int) -> DueSchedules:
        """Schedules to decide about now, the longest due first. Changes nothing."""

    @abstractmethod
    async def schedules(self, ids: Sequence[str]) -> SeenSchedules:
        """Schedules by id, as a decision about them has to see them."""

    @abstractmethod
    async def find_schedules(self, limit: int, cursor: str | None) -> SchedulePage: ...

    @abstractmethod
    async def fire(self, lines: Sequence[FireLine], term: int | None) -> Fired:
        """Write decisions: each with its tasks, cancels, records and standing, or not at all.

        A line that brings rules and a template creates a schedule or changes it. `term`, if given, must be
        the current leader's, or nothing is written. Whoever fires, and however many, each (schedule, fire
        time) becomes a task once."""

    @abstractmethod
    async def delete_schedule(self, schedule: str, version: int | None) -> Refused | None:
        """Forget the schedule and the records of its fires. Its tasks stay."""

    @abstractmethod
    async def fires(self, schedule: str, limit: int, cursor: str | None) -> FirePage:
        """What became of the schedule's fires, the newest decision first."""

    # --- workflows ------------------------------------------------------------------------------

    @abstractmethod
    async def get_workflow(self, workflow: str) -> WorkflowRecord | None: ...

    @abstractmethod
    async def workflow_graph(self, workflow: str) -> WorkflowGraph | None:
        """The workflow and all its tasks, as of one moment."""

    @abstractmethod
    async def find_workflows(self, query: WorkflowQuery) -> WorkflowPage: ...

    @abstractmethod
    async def cancel_workflow(self, workflow: str, callbacks: bool) -> Moved | Refused:
        """Cancel every unfinished member, and with `callbacks` those too: waiting ones now, running ones are
        asked to stop. Callbacks that are left follow their rules. Safe to repeat."""

    @abstractmethod
    async def retry_workflow(self, workflow: str) -> Retried | Refused:
        """Replay what failed, and let what was cancelled for no other reason wait again, in one step. What
        has run well, callbacks included, does not run again. Safe to repeat."""

    # --- reading, controls, membership ----------------------------------------------------------

    @abstractmethod
    async def board(self) -> BoardView: ...

    @abstractmethod
    async def get(self, tasks: Sequence[str]) -> Sequence[Task | None]: ...

    @abstractmethod
    async def leases(self, held: Sequence[Held]) -> Sequence[Lease | None]:
        """The leases behind `(task, token)`, for a node that did not grant them; `None` if not held."""

    @abstractmethod
    async def find(self, query: Query) -> Page: ...

    @abstractmethod
    async def stats(self) -> Stats: ...

    @abstractmethod
    async def history(self, task: str) -> Sequence[Transition]:
        """Every step of the task; empty unless the store runs with full history."""

    # --- moving house ---------------------------------------------------------------------------

    @abstractmethod
    async def dump(self, cursor: str | None, limit: int) -> Dumped:
        """Up to `limit` records of the store, one kind after another, each as of the page's moment. Changes
        nothing. Running tasks are told as they come over: handed back (`core.moving`)."""

    @abstractmethod
    async def begin_load(self, copy: str) -> Refused | None:
        """The copy of this name begins to fill the store. `not_empty` if there is anything in it, unless an
        earlier copy that has not ended left it behind: that is removed."""

    @abstractmethod
    async def load(self, copy: str, records: Sequence[Record]) -> Sequence[Refused | None]:
        """Write what another store has dumped, in the order of its kinds; one answer per record. Safe to
        repeat. Codes: `not_loading` (another copy fills the store, or none), `invalid_input` (a value cannot
        be stored), `clock_behind` (the record's numbers are ahead of the store's clock, which mints them)."""

    @abstractmethod
    async def end_load(self, copy: str) -> None:
        """All of the copy is here: nodes may use the store."""

    @abstractmethod
    async def unfinished_load(self) -> str | None:
        """The copy that fills the store, or broke off while it did. No node may work on it then."""

    # --- the laws of core.laws ---

    @abstractmethod
    async def audit(self, cursor: str | None, limit: int) -> Audit:
        """Look at up to `limit` rows from `cursor` on, as of one moment; holds nobody up."""

    @abstractmethod
    async def inspect(self) -> Sequence[Finding]:
        """What is too dear for a slice: every number counted anew, the medium itself. Reads everything."""

    @abstractmethod
    async def repair(self, findings: Sequence[Finding]) -> Sequence[Mended]:
        """Mend what is still as it was found; one answer per finding."""

    @abstractmethod
    async def set_queue(self, queue: str, paused_by: str | None) -> None:
        """Pause the queue in somebody's name, or resume it (`None`). Holds until changed."""

    @abstractmethod
    async def set_limit(self, name: str, rule: LimitRule | None, only_new: bool = False) -> bool:
        """Set or remove (`None`) the limit on a name; running tasks are not touched. With `only_new` one that
        there is stays as it is. Answers whether there was one."""

    @abstractmethod
    async def set_weight(self, tenant: str, weight: float) -> None: ...

    @abstractmethod
    async def beat(self, worker: WorkerInfo) -> None:
        """Register the worker, or say that it is alive."""

    @abstractmethod
    async def leave(self, worker: str, incarnation: str) -> None:
        """The worker is gone for good; forget it, unless another incarnation has taken the name."""

    @abstractmethod
    async def workers(self) -> Sequence[WorkerInfo]: ...

    @abstractmethod
    async def take_term(self, candidate: str, ttl_us: int) -> Term:
        """Become or stay leader for `ttl_us`, if nobody else is; the answer says who leads."""

    @abstractmethod
    async def term(self) -> Term | None:
        """The term that runs; `None` while nobody leads. Changes nothing."""

    @abstractmethod
    async def resign(self, candidate: str, number: int) -> None:
        """Give up term `number`, if it is still the candidate's."""

    @abstractmethod
    def listen(self, wakeups: Wakeups) -> None:
        """Tell `wakeups`, in the event loop, when another process may have made tasks ready or final.
        Only a hint: it may come late, twice, or not at all."""

    # --- why a task is not running ----------------------------------------------------------------

    @abstractmethod
    async def surroundings(self, task: str, shown: int) -> Surroundings | None:
        """All that can keep a task from running, as of one moment; `None` if there is no such task. Of
        parents, and of the holders of each limit, up to `shown` are named."""

    # --- dead letters by what killed them ---------------------------------------------------------

    @abstractmethod
    async def dead_groups(self, limit: int, cursor: str | None) -> DeadGroups:
        """Failed tasks, grouped by their fingerprint."""
