"""The one service that every door calls. It holds no state that a crash could lose."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn

import msgspec

from mainspring import __version__
from mainspring.batching import Batcher, Submitted
from mainspring.core.lifecycle import Report
from mainspring.core.limits import LimitRule
from mainspring.core.model import SECOND_US, Lease, State, Task
from mainspring.errors import Conflict, MainspringError, NotFound, VersionMismatch, WrongState
from mainspring.ports import (
    Accepted,
    Action,
    Answer,
    Append,
    BoardView,
    ClaimRequest,
    Clock,
    DeadGroups,
    Elector,
    Force,
    Group,
    Moved,
    Page,
    Query,
    Recall,
    Recalled,
    Refused,
    Renewal,
    Stats,
    Store,
    Transition,
    WorkerInfo,
)
from mainspring.scheduler.bulk import Bulk
from mainspring.scheduler.claiming import Claiming
from mainspring.scheduler.editing import Patch, edited
from mainspring.scheduler.elsewhere import Elsewhere
from mainspring.scheduler.explaining import Explaining
from mainspring.scheduler.finals import Finals
from mainspring.scheduler.intake import Intake
from mainspring.scheduler.progress import Progress
from mainspring.scheduler.schedules import Schedules
from mainspring.scheduler.settling import Settling
from mainspring.scheduler.workflows import Workflows
from mainspring.telemetry import SILENT, Sink

EDIT_TRIES = 10
KEEP_ON_AFTER_S = 1.0
_ERRORS: dict[str, type[MainspringError]] = {
    "not_found": NotFound,
    "version_mismatch": VersionMismatch,
    "wrong_state": WrongState,
}


class SchedulerSettings(msgspec.Struct, frozen=True):
    node_id: str = "node-1"
    lease_s: float = 15.0
    result_bytes: int = 1024 * 1024


class ClusterInfo(msgspec.Struct):
    """This node, and who leads as far as it knows. `leader` is empty while nobody has been elected."""

    node_id: str
    version: str
    store: str
    durability: str
    leader: str
    term: int
    is_leader: bool


class Scheduler:
    """Submitting, claiming, settling, querying and controlling, over one store.

    It is a `ports.TaskSource` too: a worker in the same process claims from it directly.
    Raises what the store raises (`StoreError`), and `Overloaded` when too much is in flight.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: SchedulerSettings,
        elector: Elector | None = None,
        sink: Sink = SILENT,
    ) -> None:
        self.store = store
        self.elector = elector
        self.clock = clock
        self.settings = settings
        self._lease_us = int(settings.lease_s * SECOND_US)
        self._claiming = Claiming(store, clock, self._lease_us)
        self._batcher = Batcher(store, self._claiming, clock, sink)
        self._finals = Finals(store)
        self._settling = Settling(
            store, self._batcher, self._claiming, self._finals, clock, settings.result_bytes, sink
        )
        self._settling.on_trouble = lambda: self.on_hint()
        self._claiming.on_granted = self._granted
        self._claiming.on_unwanted = self._release
        self._claiming.call_flight = self._batcher.call
        self.schedules = Schedules(
            store, clock, self.moved, self._claiming.store_now_us, lambda: self.on_hint(), sink
        )
        self.intake = Intake(store, self.moved, sink)
        self.progress = Progress(store, self.intake)
        self.bulk = Bulk(store, self._finals, self._after_move)
        self.explaining = Explaining(store, self._claiming, self.intake, self._lease_us)
        self.workflows = Workflows(store, self._finals, clock, self.moved, lambda: self.on_hint())
        self._background: set[asyncio.Task[None]] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self.on_hint: Callable[[], None] = lambda: None

    async def start(self) -> None:
        self._batcher.start()
        self.store.listen(Elsewhere(self._claiming, self._finals, self.progress, lambda: self.on_hint()))
        for keeper in (self._claiming.keep_board, self._finals.keep, self.progress.keep):
            self._keepers.append(asyncio.create_task(_keep(keeper), name=keeper.__qualname__))

    async def close(self) -> None:
        """Let what is in flight land. The store stays open: it belongs to whoever opened it."""
        await self.progress.close()
        while self._background:
            await asyncio.gather(*self._background, return_exceptions=True)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await self._batcher.close()

    # --- submitting -----------------------------------------------------------------------------

    async def submit(self, groups: Sequence[Group]) -> list[Submitted]:
        """Store each group whole or not at all; durable on return. One answer per group."""
        answers = await self._batcher.submit(groups)
        for group, answer in zip(groups, answers, strict=True):
            if isinstance(answer, Accepted) and _is_tended(group, answer):
                self.on_hint()
                break
        return answers

    # --- the workers' side: ports.TaskSource ----------------------------------------------------

    @property
    def flights(self) -> int:
        return self.store.features.flights

    async def claim(self, request: ClaimRequest) -> list[Lease]:
        return await self._claiming.claim(request)

    async def settle(self, reports: Sequence[Report]) -> Sequence[Answer]:
        answers = await self._settling.settle(reports)
        if self.progress.watched:
            self.progress.touched(report.task for report in reports)
        return answers

    async def renew(self, renewal: Renewal) -> Sequence[Answer]:
        """The server says how long a lease lasts, whatever the worker wished for."""
        renewal.lease_us = self._lease_us
        (answers,) = await self.store.renew([renewal])
        self._claiming.accounts.seen(renewal.held)
        return answers

    async def hold(self, renewal: Renewal) -> Sequence[Answer]:
        """As `renew`, for a claimer that will never renew: its leases last `renewal.lease_us` from now."""
        (answers,) = await self.store.renew([renewal])
        return answers

    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]:
        return await self.progress.append(lines)

    async def recall(self, lines: Sequence[Recall]) -> Sequence[Recalled | Refused]:
        return await self.progress.recall(lines)

    async def beat(self, worker: WorkerInfo) -> None:
        await self.store.beat(worker)

    async def leave(self, worker: str, incarnation: str) -> None:
        await self.store.leave(worker, incarnation)

    def _granted(self, leases: Sequence[Lease]) -> None:
        self._settling.granted(leases)
        if self.progress.watched:
            self.progress.touched(lease.task for lease in leases)

    def _release(self, leases: Sequence[Lease]) -> None:
        """Hand back leases whose claimer has left. If this fails too, they lapse."""
        task = asyncio.get_running_loop().create_task(self._try_release(leases))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _try_release(self, leases: Sequence[Lease]) -> None:
        with contextlib.suppress(MainspringError):
            await self._settling.release(leases)

    # --- reading --------------------------------------------------------------------------------

    async def get(self, task: str) -> Task:
        """Raises `NotFound`."""

        async def look() -> Task:
            (record,) = await self.store.get([task])
            if record is None:
                raise NotFound(f"no task {task}")
            return record

        return await self.intake.found(task, look)

    async def find(self, query: Query) -> Page:
        return await self.store.find(query)

    async def wait(self, task: str, timeout_s: float) -> Task:
        """The record as soon as it is final, else as it is after `timeout_s`. Raises `NotFound`."""
        return await self.intake.found(task, lambda: self._finals.wait(task, timeout_s))

    async def dead_groups(self, limit: int, cursor: str | None) -> DeadGroups:
        return await self.store.dead_groups(limit, cursor)

    async def stats(self) -> Stats:
        return await self.store.stats()

    async def board(self) -> BoardView:
        return await self.store.board()

    async def workers(self) -> Sequence[WorkerInfo]:
        return await self.store.workers()

    def cluster(self) -> ClusterInfo:
        term = self.elector.term if self.elector is not None else None
        return ClusterInfo(
            node_id=self.settings.node_id,
            version=__version__,
            store=self.store.features.name,
            durability=self.store.features.durability,
            leader=term.holder if term is not None else "",
            term=term.number if term is not None else 0,
            is_leader=self.elector is not None and self.elector.leads(),
        )

    async def history(self, task: str) -> Sequence[Transition]:
        return await self.store.history(task)

    # --- by hand --------------------------------------------------------------------------------

    async def cancel(self, task: str, *, kill: bool = False, version: int | None = None) -> Task:
        """Waiting: cancelled now. Running: the worker is asked to stop, or fenced at once with `kill`."""
        return await self._force(Force(task, Action.KILL if kill else Action.CANCEL, version))

    async def replay(self, task: str, version: int | None = None) -> Task:
        """A failed or cancelled task runs again, with fresh counters. Raises `WrongState` otherwise."""
        return await self._force(Force(task, Action.REPLAY, version))

    async def run_now(self, task: str, version: int | None = None) -> Task:
        """A scheduled task is ready at once. Raises `WrongState` otherwise."""
        return await self._force(Force(task, Action.RUN_NOW, version))

    async def edit(self, task: str, patch: Patch, version: int | None = None) -> Task:
        """Change a waiting task. Raises `WrongState`, `VersionMismatch` or `NotFound`."""
        for _ in range(EDIT_TRIES):
            record = await self.get(task)
            if version is not None and record.version != version:
                raise VersionMismatch(f"task {task} is at version {record.version}, not {version}")
            edit = edited(record, patch, self._claiming.store_now_us())
            answer = await self.store.amend(task, record.version, edit)
            if isinstance(answer, Task):
                await self._after_move()
                return answer
            if answer.code != "version_mismatch" or version is not None:
                _refuse(answer)
        raise Conflict(f"task {task} changes faster than it can be edited; try again")

    async def delete(self, task: str, version: int | None = None) -> Task:
        """Waiting: cancelled and removed. Final: removed. Running: the worker is asked to stop, and the
        record stays. Returns the record as it was last.
        Raises `WrongState`, having changed nothing, while unfinished tasks depend on it."""
        record = await self.get(task)
        if version is not None and record.version != version:
            raise VersionMismatch(f"task {task} is at version {record.version}, not {version}")
        if not record.state.is_final:
            record = await self._force(Force(task, Action.DISCARD, version))
        if record.state.is_final:
            (refused,) = await self.store.delete([task])
            if refused is not None:
                _refuse(refused)
            self.progress.touched((task,))
        return record

    async def _force(self, line: Force) -> Task:

        async def forced() -> Task:
            (answer,) = await self.store.force([line])
            return _refuse(answer) if isinstance(answer, Refused) else answer

        answer = await self.intake.found(line.task, forced)
        if answer.state.is_final:
            self._finals.finished((answer.id,))
        await self._after_move()
        return answer

    async def _after_move(self) -> None:
        """By-hand verbs are rare: reading the board anew is simpler than their telling what changed."""
        await self._claiming.read_board()
        self.progress.mark_stale()
        self.on_hint()

    # --- controls -------------------------------------------------------------------------------

    async def pause(self, queue: str, by: str) -> None:
        """No task of the queue is claimed any more, here and everywhere, until `resume`."""
        await self.store.set_queue(queue, by)
        await self._after_move()

    async def resume(self, queue: str) -> None:
        await self.store.set_queue(queue, None)
        await self._after_move()

    async def set_limit(self, name: str, rule: LimitRule | None, *, only_new: bool = False) -> bool:
        """Whether there was a limit on the name before; with `only_new` that one stays."""
        was_there = await self.store.set_limit(name, rule, only_new)
        await self._after_move()
        return was_there

    async def set_weight(self, tenant: str, weight: float) -> None:
        await self.store.set_weight(tenant, weight)
        await self._after_move()

    # --- for the services of this node ----------------------------------------------------------

    def moved(self, moved: Moved) -> None:
        """A service moved tasks: claims and waiters here need not wait for a hint."""
        self._claiming.gained(moved.ready)
        self._finals.finished(moved.finished)
        self.progress.mark_stale()

    async def lost(self, leases: Sequence[Lease]) -> None:
        """Settle lapsed leases, by the same rules as a reported failure."""
        await self._settling.settle_lapsed(leases)
        self.progress.touched(lease.task for lease in leases)

    async def overran(self, leases: Sequence[Lease]) -> None:
        """Settle runs that went past their time limit."""
        await self._settling.settle_overdue(leases)
        self.progress.touched(lease.task for lease in leases)

    def ended(self, tasks: Sequence[str]) -> None:
        self._finals.finished(tasks)
        self.progress.touched(tasks)


def _refuse(refused: Refused) -> NoReturn:
    raise _ERRORS.get(refused.code, Conflict)(refused.detail)


def _is_tended(group: Group, answer: Accepted) -> bool:
    """Whether services have to look at new tasks: the promoter may sleep longer than until one is due; a
    parent that is not new itself may have failed long ago, and then only the resolver ends the child."""
    if State.SCHEDULED in answer.states:
        return True
    if State.BLOCKED not in answer.states:
        return False
    own = {task.id for task in group.tasks}
    return any(parent not in own for task in group.tasks for parent in task.depends_on)


async def _keep(keeper: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A store that fails now may answer in a second: the keeper goes on. So it does after a bug, which is
    told: a board that is never read again would stop all claims, and nobody would know why."""
    while True:
        try:
            await keeper()
        except MainspringError:
            await asyncio.sleep(KEEP_ON_AFTER_S)
        except Exception as error:
            failure = {"message": f"{keeper.__qualname__} failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(failure)
            await asyncio.sleep(KEEP_ON_AFTER_S)
