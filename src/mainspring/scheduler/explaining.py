"""Why a task is not running: what surrounds it in the store, judged as this node would claim it next."""

from copy import copy

import msgspec

from mainspring.core.explain import NAMED, Crew, Reason, Scene, explain
from mainspring.core.model import Task
from mainspring.core.order import Wanted
from mainspring.errors import NotFound
from mainspring.ports import Store, Surroundings, WorkerInfo
from mainspring.scheduler.claiming import Claiming
from mainspring.scheduler.intake import Intake


class Explanation(msgspec.Struct):
    """`claimable`: none of the reasons is in the task's way, so the next claim takes it. `now_us` is the
    store's time of all that is said."""

    task: Task
    now_us: int
    claimable: bool
    reasons: list[Reason]


class Explaining:
    """A worker counts as live while its last heartbeat is younger than a lease."""

    def __init__(self, store: Store, claiming: Claiming, intake: Intake, lease_us: int) -> None:
        self._store = store
        self._claiming = claiming
        self._intake = intake
        self._lease_us = lease_us

    async def explain(self, task: str) -> Explanation:
        """Every reason why the task is not running, in order. Changes nothing. Raises `NotFound`."""

        async def look() -> Surroundings:
            found = await self._store.surroundings(task, NAMED)
            if found is None:
                raise NotFound(f"no task {task}")
            return found

        found = await self._intake.found(task, look)
        board = copy(self._claiming.board)  # with all that this node has learned
        self._claiming.picture(found.board, board)
        scene = Scene(
            found.board.now_us,
            board,
            found.board.paused,
            [_crew(info) for info in found.workers if info.age_us < self._lease_us],
            found.place,
            found.waiting,
            found.holders,
            found.parents,
        )
        reasons = explain(found.task, scene)
        claimable = not any(reason.blocking for reason in reasons)
        return Explanation(found.task, scene.now_us, claimable, reasons)


def _crew(info: WorkerInfo) -> Crew:
    wanted = Wanted(frozenset(info.kinds), frozenset(info.queues))
    return Crew(info.worker, wanted, info.slots, max(0, info.slots - info.running), info.draining)
