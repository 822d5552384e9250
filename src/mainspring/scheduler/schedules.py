"""Schedules by hand: what doors call. Reached as `scheduler.schedules`."""

from collections.abc import Callable
from typing import NoReturn

from mainspring.core.model import PRIORITY_DEFAULT, Lane, NewTask, Task
from mainspring.core.schedules import Decision, Fire, Standing, Start, by_hand_us, skip_next, skip_until
from mainspring.core.templates import task_for
from mainspring.core.timing import next_fires
from mainspring.errors import (
    BacklogFull,
    Conflict,
    Gone,
    InvalidInput,
    MainspringError,
    NotFound,
    VersionMismatch,
    WrongState,
)
from mainspring.ports import (
    Clock,
    Existing,
    FireLine,
    FirePage,
    FireTask,
    Group,
    Idempotency,
    Moved,
    NewSchedule,
    Refused,
    SchedulePage,
    ScheduleRecord,
    SeenSchedule,
    Store,
)
from mainspring.scheduler.firing import check_template, decision_of, due_line, line_of, tell
from mainspring.scheduler.rescheduling import SchedulePatch, patched
from mainspring.telemetry import SILENT, Sink

TRIES = 10
_ERRORS: dict[str, type[MainspringError]] = {
    "not_found": NotFound,
    "version_mismatch": VersionMismatch,
    "id_taken": Conflict,
    "backlog_full": BacklogFull,
}


class Schedules:
    """Creating, changing and reading schedules over one store.

    Every change first lets the rules in force decide up to the present, in the transaction that writes it:
    no fire is lost at a change, and none is made twice, whoever else fires at the same time.

    Raises what the store raises (`StoreError`); such a call may have happened, and may be repeated. A change
    that makes up for fires of the rules before it raises `BacklogFull` if their queue takes no more tasks.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        moved: Callable[[Moved], None],
        store_now_us: Callable[[], int],
        hint: Callable[[], None] = lambda: None,
        sink: Sink = SILENT,
    ) -> None:
        self._store = store
        self._new_id = clock.new_id
        self._moved = moved
        self._store_now_us = store_now_us
        self._hint = hint
        self._sink = sink

    # --- by hand --------------------------------------------------------------------------------

    async def create(self, new: NewSchedule, id: str | None = None) -> ScheduleRecord:
        """Store a new schedule under `id`, or under an id of our making. Nothing of the past is made up
        for, but an instant (`at`) that has passed is due at once.

        Raises `Conflict` if the id is taken, and `InvalidInput` that names the field, also if the schedule
        would never fire.
        """
        schedule = self._new_id() if id is None else id
        found = await self._store.schedules([schedule])
        if found.schedules[0] is not None:
            raise Conflict(f"there is a schedule {schedule} already")
        check_template(schedule, new.template)
        seen = SeenSchedule(ScheduleRecord(schedule, new.rules, new.template, 0))
        decision = decision_of(seen.record, new.rules, found.now_us)
        answer = await self._write(seen, line_of(seen, decision, self._new_id, new))
        if isinstance(answer, Refused):
            _refuse(answer)
        return await self.get(schedule)

    async def put(self, id: str, new: NewSchedule, version: int | None = None) -> ScheduleRecord:
        """Create the schedule, or give it these rules and this template. With `version`: only if that is
        the stored version. Raises `VersionMismatch`, `InvalidInput`; `NotFound` if a version is given and
        there is no such schedule."""
        try:
            return await self._change(id, lambda record: new, version)
        except NotFound:
            if version is not None:
                raise
        try:
            return await self.create(new, id)
        except Conflict:
            # Somebody else was faster.
            return await self._change(id, lambda record: new, version)

    async def update(self, id: str, patch: SchedulePatch, version: int | None = None) -> ScheduleRecord:
        """Change some fields. A patch that changes nothing writes nothing.

        Raises `NotFound`, `VersionMismatch`, `InvalidInput`."""
        return await self._change(id, lambda record: patched(record, patch), version)

    async def pause(self, id: str) -> ScheduleRecord:
        """No fires from now on, until `resume`; those due before are made. Raises `NotFound`."""
        return await self.update(id, SchedulePatch(paused=True))

    async def resume(self, id: str) -> ScheduleRecord:
        """Fires from now on. Those of the pause are skipped as `paused`. Raises `NotFound`."""
        return await self.update(id, SchedulePatch(paused=False))

    async def skip_next(self, id: str, version: int | None = None) -> ScheduleRecord:
        """Let the next fire become no task. Asked again before that fire it changes nothing.

        Raises `NotFound`, `VersionMismatch`; `WrongState` if there is no next fire, or the schedule is in
        quarantine."""
        return await self._skip(id, skip_next, version)

    async def skip_until(self, id: str, until_us: int, version: int | None = None) -> ScheduleRecord:
        """Let every fire from now up to and including `until_us` become no task. This replaces an earlier
        skip; a time that is not after now takes it back.

        Raises `NotFound`, `VersionMismatch`; `WrongState` if the schedule is in quarantine."""
        return await self._skip(
            id, lambda standing, schedule, now_us: skip_until(standing, schedule, until_us, now_us), version
        )

    async def trigger(self, id: str, version: int | None = None) -> Task:
        """Make a task now, whatever the rules, the pause and the overlap policy say. Its nominal time is
        the present, and the schedule's own fires come as they would have come.

        Raises `NotFound`, `VersionMismatch`; `WrongState` if the schedule is in quarantine; `BacklogFull`."""
        task, _ = await self._trigger(id, version, None)
        return task

    async def trigger_once(self, id: str, key: Idempotency, version: int | None = None) -> tuple[Task, bool]:
        """As `trigger`, but under a key that was used before no second task is made: the task that the key
        has made, and whether that was now. Raises `Gone`, too, if that task has been deleted."""
        return await self._trigger(id, version, key)

    async def triggered(self, key: Idempotency) -> Task | None:
        """The task that the key has made, if any, whatever became of its schedule since. Raises `Gone` if it
        has been deleted."""
        # Asked by a group that no store takes under a key that has made nothing: its parent is nowhere.
        lane, id = Lane("default", "echo", "default", PRIORITY_DEFAULT), self._new_id()
        asking = NewTask(id, lane, b"null", depends_on=(self._new_id(),))
        (answer,) = await self._store.submit([Group([asking], key)])
        return _only_task(answer) if isinstance(answer, Existing) else None

    async def _trigger(self, id: str, version: int | None, key: Idempotency | None) -> tuple[Task, bool]:
        task_id = self._new_id()

        def fire_now(seen: SeenSchedule, now_us: int) -> FireLine:
            record = seen.record
            fire_us = by_hand_us(record.rules, record.last_fire_us, now_us)
            task = task_for(record.template, Start(Fire(fire_us, now_us), task_id))
            made = [FireTask(fire_us, task)]
            mark = self._new_id()
            return FireLine(id, record.version, mark, record.standing, record.next_us, made, key=key)

        answer = await self._decide(id, fire_now, version)
        if isinstance(answer, Existing):
            return _only_task(answer), False
        (task,) = await self._store.get([task_id])
        if task is None:
            raise NotFound(f"no task {task_id}")
        return task, True

    async def delete(self, id: str, version: int | None = None) -> ScheduleRecord:
        """Forget the schedule and the records of its fires; its tasks stay. Returns the record as it was.

        Raises `NotFound`, `VersionMismatch`."""
        record = await self.get(id)
        refused = await self._store.delete_schedule(id, version)
        if refused is not None:
            _refuse(refused)
        return record

    # --- reading --------------------------------------------------------------------------------

    async def get(self, id: str) -> ScheduleRecord:
        """Raises `NotFound`."""
        seen, _ = await self._see(id)
        return seen.record

    async def find(self, limit: int = 100, cursor: str | None = None) -> SchedulePage:
        """Schedules by id; `cursor` is that of the page before."""
        return await self._store.find_schedules(limit, cursor)

    async def fires(self, id: str, limit: int = 100, cursor: str | None = None) -> FirePage:
        """What became of the fires, the newest decision first: tasks, and skips with their reason. The
        latest thousand or so records of a schedule are kept.

        Raises `NotFound`, and `InvalidInput` for a cursor that this store has not given out."""
        await self._see(id)
        return await self._store.fires(id, limit, cursor)

    def preview(self, record: ScheduleRecord, count: int) -> list[int]:
        """The next `count` fire times from now on, fewer where there are no more. Fires that are to be
        skipped are left out; a paused schedule shows what it would do if it were resumed now; one in
        quarantine shows none."""
        if record.quarantine is not None:
            return []
        after_us = self._store_now_us()
        if record.standing is not None:
            after_us = max(after_us, record.standing.cursor_us, record.standing.skip_through_us)
        return next_fires(record.rules.timing, after_us, count)

    # --- deciding -------------------------------------------------------------------------------

    async def _see(self, id: str) -> tuple[SeenSchedule, int]:
        """The schedule, and the store's time. Raises `NotFound`."""
        found = await self._store.schedules([id])
        (seen,) = found.schedules
        if seen is None:
            raise NotFound(f"no schedule {id}")
        return seen, found.now_us

    async def _change(
        self, id: str, wanted: Callable[[ScheduleRecord], NewSchedule], version: int | None
    ) -> ScheduleRecord:
        for _ in range(TRIES):
            seen, now_us = await self._see(id)
            record = seen.record
            if version is not None and record.version != version:
                raise VersionMismatch(f"schedule {id} is at version {record.version}, not {version}")
            new = wanted(record)
            is_change = (new.rules, new.template) != (record.rules, record.template)
            if not is_change and not seen.is_news and record.quarantine is None:
                return record
            check_template(id, new.template)
            decision = decision_of(record, new.rules, now_us)
            if await self._written(seen, line_of(seen, decision, self._new_id, new)) is not None:
                return await self.get(id)
        raise Conflict(f"schedule {id} changes faster than it can be edited; try again")

    async def _skip(
        self, id: str, rule: Callable[[Standing, str, int], Decision], version: int | None
    ) -> ScheduleRecord:
        def decided(seen: SeenSchedule, now_us: int) -> FireLine:
            standing = seen.record.standing
            if standing is None:
                raise WrongState(f"schedule {id} has no rules in force")
            return line_of(seen, rule(standing, id, now_us), self._new_id)

        await self._decide(id, decided, version)
        return await self.get(id)

    async def _decide(
        self, id: str, line: Callable[[SeenSchedule, int], FireLine], version: int | None
    ) -> int | Existing:
        """Decide about the schedule as its rules stand now, whatever others decide at the same time; or, with
        a `version`, only if nobody has. The new version, or what the line's key has made before."""
        for _ in range(TRIES):
            seen, now_us = await self._see(id)
            if version not in (None, seen.record.version):
                raise VersionMismatch(f"schedule {id} is at version {seen.record.version}")
            if seen.is_news:
                await self._written(seen, due_line(seen, now_us, self._new_id))
                continue
            if seen.record.quarantine is not None:
                raise WrongState(f"schedule {id} is in quarantine: {seen.record.quarantine}")
            if (answer := await self._written(seen, line(seen, now_us))) is not None:
                return answer
        raise Conflict(f"schedule {id} changes faster than it can be decided about; try again")

    async def _written(self, seen: SeenSchedule, line: FireLine) -> int | Existing | None:
        """The new version, or what the line's key has made before; `None` if somebody else has decided
        first."""
        answer = await self._write(seen, line)
        if not isinstance(answer, Refused):
            return answer
        if answer.code != "version_mismatch":
            _refuse(answer)
        return None

    async def _write(self, seen: SeenSchedule, line: FireLine) -> int | Refused | Existing:
        fired = await self._store.fire([line], None)
        self._moved(Moved(1, fired.ready, fired.finished))
        (answer,) = fired.answers
        if isinstance(answer, int):
            tell(self._sink, seen, line)
            self._hint()
        return answer


def _only_task(made: Existing) -> Task:
    """Of what a key has made."""
    if not made.tasks:
        raise Gone("the task made under this idempotency key has been deleted")
    return made.tasks[0]


def _refuse(refused: Refused) -> NoReturn:
    if refused.code == "invalid_input":
        raise InvalidInput("schedule", refused.detail)
    raise _ERRORS.get(refused.code, Conflict)(refused.detail)
