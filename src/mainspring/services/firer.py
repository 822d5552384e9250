"""Fire times of schedules become tasks, or skips with their reason.

The leader's work, so that nodes do not decide side by side; its term goes with every decision and is checked
by the store. Correctness needs no leader: each decision is guarded by the version of the schedule that it
was made of, and each (schedule, fire time) has one task at most.
"""

from collections.abc import Iterable, Iterator, Sequence

from mainspring.core.model import SECOND_US
from mainspring.ports import Clock, Elector, FireLine, Moved, Refused, SeenSchedule, Store
from mainspring.scheduler import Scheduler
from mainspring.scheduler.firing import due_line, quarantined, tell, without_tasks
from mainspring.telemetry import SILENT, Sink

BATCH = 200
TASKS_A_CALL = 1_000
LONGEST_S = 2.5
SHORTEST_S = 0.005


class Firer:
    """Sleeps until the next fire. Word that another node has made a sooner schedule may be lost: then it is
    seen two seconds and a half later.

    Made with no elector it always fires, as a node would that takes itself for the leader.
    """

    name = "firer"

    def __init__(
        self, store: Store, scheduler: Scheduler, elector: Elector | None, clock: Clock, sink: Sink = SILENT
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._elector = elector
        self._new_id = clock.new_id
        self._sink = sink

    async def tick(self) -> float:
        term: int | None = None
        if self._elector is not None:
            if not self._elector.leads() or self._elector.term is None:
                return LONGEST_S
            term = self._elector.term.number
        due = await self._store.due_schedules(BATCH)
        progress, settled = False, True
        # Decided no sooner than it can be written: hundreds that each make up for a thousand fires would
        # hold up the event loop, and be in memory all at once.
        for some in _calls((seen, due_line(seen, due.now_us, self._new_id)) for seen in due.schedules):
            written, is_settled = await self._fire(some, due.now_us, term)
            progress, settled = progress or written, settled and is_settled
        # When those that were written are due next is not known yet: it may be sooner than all others.
        if progress or len(due.schedules) >= BATCH or not settled:
            return 0.0
        if due.next_due_us is None:
            return LONGEST_S
        return min(LONGEST_S, max(SHORTEST_S, due.next_due_us / SECOND_US))

    async def _fire(
        self, decided: Sequence[tuple[SeenSchedule, FireLine]], now_us: int, term: int | None
    ) -> tuple[bool, bool]:
        """Write decisions. Whether any was, and whether none of the schedules has to be looked at again, as
        it is by now."""
        fired = await self._store.fire([line for _, line in decided], term)
        self._scheduler.moved(Moved(len(decided), fired.ready, fired.finished))
        written, settled, again = False, True, list[tuple[SeenSchedule, FireLine]]()
        for (seen, line), answer in zip(decided, fired.answers, strict=True):
            if not isinstance(answer, Refused):
                written = True
                tell(self._sink, seen, line)
            elif answer.code == "backlog_full":
                again.append((seen, without_tasks(line, self._new_id)))
            elif answer.code == "invalid_input":
                again.append((seen, quarantined(seen, now_us, answer.detail, self._new_id)))
            elif answer.code == "version_mismatch":
                settled = False
        if again:
            more, is_settled = await self._fire(again, now_us, term)
            return written or more, settled and is_settled
        return written, settled


def _calls(
    decided: Iterable[tuple[SeenSchedule, FireLine]],
) -> Iterator[list[tuple[SeenSchedule, FireLine]]]:
    """Decisions whose tasks fit into one call. One that has made up for many fires goes alone."""
    some: list[tuple[SeenSchedule, FireLine]] = []
    tasks = 0
    for seen, line in decided:
        if some and tasks + len(line.made) > TASKS_A_CALL:
            yield some
            some, tasks = [], 0
        some.append((seen, line))
        tasks += len(line.made)
    if some:
        yield some
