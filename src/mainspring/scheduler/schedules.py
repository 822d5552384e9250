"""Schedules by hand: what doors call. Reached as `scheduler.schedules`."""

from collections.abc import Callable

from mainspring.core.model import Task
from mainspring.ports import Clock, FirePage, Moved, NewSchedule, SchedulePage, ScheduleRecord, Store
from mainspring.scheduler.rescheduling import SchedulePatch


class Schedules:
    """Creating, changing and reading schedules over one store.

    Every change first lets the rules in force decide up to the present, in the transaction that writes it:
    no fire is lost at a change, and none is made twice, whoever else fires at the same time.

    Raises what the store raises (`StoreError`); such a call may have happened, and may be repeated.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        moved: Callable[[Moved], None],
        store_now_us: Callable[[], int],
    ) -> None:
        self._store = store
        self._clock = clock
        self._moved = moved
        self._store_now_us = store_now_us

    # --- by hand --------------------------------------------------------------------------------

    async def create(self, new: NewSchedule, id: str | None = None) -> ScheduleRecord:
        """Store a new schedule under `id`, or under an id of our making. Nothing of the past is made up
        for, but an instant (`at`) that has passed is due at once.

        Raises `Conflict` if the id is taken, and `InvalidInput` that names the field, also if the schedule
        would never fire.
        """
        raise NotImplementedError

    async def put(self, id: str, new: NewSchedule, version: int | None = None) -> ScheduleRecord:
        """Create the schedule, or give it these rules and this template. With `version`: only if that is
        the stored version. Raises `VersionMismatch`, `InvalidInput`; `NotFound` if a version is given and
        there is no such schedule."""
        raise NotImplementedError

    async def update(self, id: str, patch: SchedulePatch, version: int | None = None) -> ScheduleRecord:
        """Change some fields. A patch that changes nothing writes nothing.

        Raises `NotFound`, `VersionMismatch`, `InvalidInput`."""
        raise NotImplementedError

    async def pause(self, id: str) -> ScheduleRecord:
        """No fires from now on, until `resume`; those due before are made. Raises `NotFound`."""
        raise NotImplementedError

    async def resume(self, id: str) -> ScheduleRecord:
        """Fires from now on. Those of the pause are skipped as `paused`. Raises `NotFound`."""
        raise NotImplementedError

    async def skip_next(self, id: str) -> ScheduleRecord:
        """Let the next fire become no task. Asked again before that fire it changes nothing.

        Raises `NotFound`; `WrongState` if there is no next fire."""
        raise NotImplementedError

    async def skip_until(self, id: str, until_us: int) -> ScheduleRecord:
        """Let every fire from now up to and including `until_us` become no task. This replaces an earlier
        skip; a time that is not after now takes it back. Raises `NotFound`."""
        raise NotImplementedError

    async def trigger(self, id: str) -> Task:
        """Make a task now, whatever the rules, the pause and the overlap policy say. Its nominal time is
        the present, and the schedule's own fires come as they would have come.

        Raises `NotFound`; `WrongState` if the schedule is in quarantine."""
        raise NotImplementedError

    async def delete(self, id: str, version: int | None = None) -> ScheduleRecord:
        """Forget the schedule and the records of its fires; its tasks stay. Returns the record as it was.

        Raises `NotFound`, `VersionMismatch`."""
        raise NotImplementedError

    # --- reading --------------------------------------------------------------------------------

    async def get(self, id: str) -> ScheduleRecord:
        """Raises `NotFound`."""
        raise NotImplementedError

    async def find(self, limit: int = 100, cursor: str | None = None) -> SchedulePage:
        """Schedules by id. Raises `InvalidInput` for a cursor that this store has not given out."""
        raise NotImplementedError

    async def fires(self, id: str, limit: int = 100, cursor: str | None = None) -> FirePage:
        """What became of the fires, the newest decision first: tasks, and skips with their reason. The
        latest thousand or so records of a schedule are kept. Raises `NotFound`, `InvalidInput`."""
        raise NotImplementedError

    def preview(self, record: ScheduleRecord, count: int) -> list[int]:
        """The next `count` fire times from now on, fewer where there are no more. Fires that are to be
        skipped are left out; a paused schedule shows what it would do if it were resumed now; one in
        quarantine shows none."""
        raise NotImplementedError
