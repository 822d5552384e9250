"""Lines and answers about schedules: records, what a decision writes, and what became of the fires."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from mainspring.core.model import NewTask
from mainspring.core.order import LaneHead
from mainspring.core.schedules import Schedule, Skip, Standing
from mainspring.core.templates import Template
from mainspring.verbs.tasks import Refused


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


class Seen(msgspec.Struct):
    """A schedule as its next decision has to see it. `unfinished` are the tasks of its earlier fires that
    are not final, oldest first; told only if the overlap policy in force asks for them, and so many of
    them at most as the store is willing to name."""

    record: ScheduleRecord
    unfinished: Sequence[str] = ()


class Due(msgspec.Struct):
    """Schedules to decide about at `now_us`, the longest due first: those with a fire due, and those that
    plain SQL has changed. `next_due_us` is the time until the next one after these, `None` without one."""

    now_us: int
    schedules: Sequence[Seen]
    next_due_us: int | None = None


class Looked(msgspec.Struct):
    """Schedules asked for by id, `None` where there is none."""

    now_us: int
    schedules: Sequence[Seen | None]


class Made(NamedTuple):
    """The task of one fire. `cancels` are asked to stop in the same transaction."""

    fire_us: int
    task: NewTask
    cancels: Sequence[str] = ()


class Decided(msgspec.Struct):
    """One decision about one schedule, written whole or not at all: tasks, skips, standing.

    `version` is that of the record which the decision was made of, 0 for a schedule that is not there yet;
    if it has moved on, nothing is written and the answer is `version_mismatch`. `mark` names the decision:
    the same line again changes nothing and is answered as done. A fire that has its task already (by
    schedule and fire time) makes no second one.

    `change` is new rules and a new template; without it they stay as they are. `quarantine` is the reason
    why the row cannot be obeyed, `None` if it can. `look_us` is when the firer has to look again, at `None`
    never: for a row that nobody has to look at before it changes.
    """

    schedule: str
    version: int
    mark: str
    standing: Standing | None
    look_us: int | None
    made: Sequence[Made] = ()
    skips: Sequence[Skip] = ()
    change: NewSchedule | None = None
    quarantine: str | None = None


class Fired(msgspec.Struct):
    """One answer per line: the schedule's new version, or why nothing of the line was written.

    Codes: `not_found`, `version_mismatch`, `deposed` (the term is not the current leader's), `backlog_full`
    (the queue's cap does not admit the tasks), `invalid_input` (a value cannot be stored). `ready` are lanes
    that gained ready tasks, `finished` tasks that were cancelled before they ran.
    """

    answers: Sequence[int | Refused]
    ready: Sequence[LaneHead] = ()
    finished: Sequence[str] = ()
