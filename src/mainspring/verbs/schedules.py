"""Lines and answers about schedules: records, what a decision writes, and what became of the fires."""

from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

import msgspec

from mainspring.core.model import NewTask
from mainspring.core.order import LaneHead
from mainspring.core.schedules import Schedule, Skip, Standing
from mainspring.core.templates import Template
from mainspring.verbs.tasks import Existing, Idempotency, Refused

UNFINISHED_NAMED = 1_000
"""So many unfinished tasks of a schedule are enough for every overlap policy."""
FIRES_KEPT = 1_000
"""A store keeps at least so many records of a schedule's fires, and at most twice as many."""


class NewSchedule(msgspec.Struct, frozen=True):
    """What a caller says of a schedule: when it fires and what becomes of a fire, and the task to make."""

    rules: Schedule
    template: Template


class ScheduleRecord(msgspec.Struct):
    """A schedule as it is stored.

    `rules` and `template` are what its owner wants; the rules in force stand in `standing`, which is `None`
    until the firer has seen a row that plain SQL has written. `next_us` is the next fire time (one that is
    to be skipped included), `None` if there is none: paused, over, or in quarantine.

    `quarantine` says why the row cannot be obeyed (`zone: no such time zone: 'Mars'`); such a schedule makes
    nothing until it is mended. What of it cannot even be read is absent from `rules` and `template`.

    `created_at_us` and `updated_at_us` are `None` for a row of plain SQL that nobody has seen yet.
    """

    id: str
    rules: Schedule
    template: Template
    version: int
    standing: Standing | None = None
    next_us: int | None = None
    quarantine: str | None = None
    created_at_us: int | None = None
    updated_at_us: int | None = None
    last_fire_us: int | None = None
    last_task: str | None = None


class FireRecord(msgspec.Struct, frozen=True):
    """What became of fire times: of one (`first_us` = `last_us`), which is `task`; or of `count` in a row,
    which were skipped for `reason`. Exactly one of `task` and `reason` is given."""

    decided_at_us: int
    first_us: int
    last_us: int
    count: int = 1
    task: str | None = None
    reason: str | None = None


class SchedulePage(msgspec.Struct):
    """By id. `cursor` is `None` after the last one."""

    schedules: list[ScheduleRecord]
    cursor: str | None = None


class FirePage(msgspec.Struct):
    """Newest decision first. `cursor` is `None` after the last one."""

    fires: list[FireRecord]
    cursor: str | None = None


# --- deciding ---------------------------------------------------------------------------------------


class SeenSchedule(msgspec.Struct):
    """A schedule as its next decision has to see it.

    `unfinished` are the tasks of its earlier fires that are not final, oldest first, `UNFINISHED_NAMED` at
    most; told only if the overlap policy in force asks for them. `unreadable` says what is wrong with a row
    that plain SQL has written and of which a part means nothing.
    """

    record: ScheduleRecord
    unfinished: Sequence[str] = ()
    unreadable: str | None = None

    @property
    def is_news(self) -> bool:
        """Plain SQL has written the row since a decision was last made of it."""
        return self.record.updated_at_us is None


class DueSchedules(msgspec.Struct):
    """Schedules to decide about at `now_us`, the longest due first: those with a fire due, and those that
    plain SQL has changed. `next_due_us` is the time until the next one after these, `None` without one."""

    now_us: int
    schedules: Sequence[SeenSchedule]
    next_due_us: int | None = None


class SeenSchedules(msgspec.Struct):
    """Schedules asked for by id, `None` where there is none."""

    now_us: int
    schedules: Sequence[SeenSchedule | None]


class FireTask(NamedTuple):
    """The task of one fire. `cancels` are asked to stop in the same transaction."""

    fire_us: int
    task: NewTask
    cancels: Sequence[str] = ()


class FireLine(msgspec.Struct):
    """One decision about one schedule, written whole or not at all: tasks, skips, standing.

    `version` is that of the record which the decision was made of, 0 for a schedule that is not there yet;
    if it has moved on, nothing is written and the answer is `version_mismatch`. `mark` names the decision:
    the same line again changes nothing and is answered as done. A fire that has its task already (by
    schedule and fire time) makes no second one.

    `change` is new rules and a new template; without it they stay as they are. `key`, for a line without
    them: if it was used before, nothing is written and the answer is `Existing`. `quarantine` is the reason
    why the row cannot be obeyed, `None` if it can. `look_us` is when the firer has to look again, at `None`
    never: for a row that nobody has to look at before it changes.
    """

    schedule: str
    version: int
    mark: str
    standing: Standing | None
    look_us: int | None
    made: Sequence[FireTask] = ()
    skips: Sequence[Skip] = ()
    change: NewSchedule | None = None
    quarantine: str | None = None
    key: Idempotency | None = None


class Fired(msgspec.Struct):
    """One answer per line: the schedule's new version; or why nothing of the line was written, or what an
    earlier line under its key has made.

    Codes: `not_found`, `version_mismatch`, `deposed` (the term is not the current leader's), `backlog_full`
    (the queue's cap does not admit the tasks), `invalid_input` (a value cannot be stored). `ready` are lanes
    that gained ready tasks, `finished` tasks that were cancelled before they ran.
    """

    answers: Sequence[int | Refused | Existing]
    ready: Sequence[LaneHead] = ()
    finished: Sequence[str] = ()


def fire_records(line: FireLine, tasks: Mapping[int, str], now_us: int) -> list[FireRecord]:
    """What is recorded of a decision, in the order of the fire times. `tasks` are those of its fires."""
    fires = [FireRecord(now_us, fire_us, fire_us, task=task) for fire_us, task in tasks.items()]
    skips = [FireRecord(now_us, s.first_us, s.last_us, s.count, reason=s.reason) for s in line.skips]
    return sorted(fires + skips, key=lambda record: record.last_us)


def fire_guard(line: FireLine, stored: tuple[int, str] | None) -> int | Refused | None:
    """Whether a decision may be written over a stored schedule, of which this takes the version and the mark
    of the last decision (`None`: there is none). `None` if it may; the version if it was written before."""
    if stored is None:
        return no_schedule(line.schedule) if line.version or line.change is None else None
    version, mark = stored
    if mark == line.mark:
        return version
    if version == line.version:
        return None
    if not line.version:
        return Refused("id_taken", f"there is a schedule {line.schedule} already")
    return schedule_moved(line.schedule, version, line.version)


def with_parents_among(stored: Container[str], tasks: Sequence[NewTask]) -> list[NewTask]:
    """The tasks of fires, without those parents that have ended and been forgotten since the decision."""
    together = {task.id for task in tasks}
    return [
        msgspec.structs.replace(
            task, depends_on=tuple(p for p in task.depends_on if p in together or p in stored)
        )
        if task.depends_on
        else task
        for task in tasks
    ]


def no_schedule(schedule: str) -> Refused:
    return Refused("not_found", f"no schedule {schedule}")


def schedule_moved(schedule: str, found: int, wanted: int) -> Refused:
    return Refused("version_mismatch", f"schedule {schedule} is at version {found}, not {wanted}")


def deposed(term: int) -> Refused:
    return Refused("deposed", f"term {term} is over")
