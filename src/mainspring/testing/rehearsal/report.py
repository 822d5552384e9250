"""What a rehearsal showed, in numbers, and how it is counted."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime

import msgspec

from mainspring.core import schedules as rules
from mainspring.wire.fields import moment, seconds

REASONS = (
    rules.PAUSED,
    rules.BY_HAND,
    rules.MISSED,
    rules.COALESCED,
    rules.OVER_LIMIT,
    rules.OVERLAP,
    rules.QUEUE_FULL,
    rules.SUPERSEDED,
)
COLLISIONS_TOLD = 10
TOTALS = (
    "fires",
    "skips",
    "collisions",
    "max_collision",
    "max_running",
    "max_waiting",
    "longest_wait",
    "failed",
    "unfinished",
)
PARTS = ("fires", "skips", "max_running", "longest_wait", "failed", "unfinished")
TIMES = ("longest_wait",)
Number = int | float


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fire, from `run_at` on; or `count` fires in a row, up to `until`, that were skipped for `reason`."""

    schedule: str
    fire_at: datetime
    run_at: datetime | None = None
    reason: str | None = None
    until: datetime | None = None
    count: int = 1


class Collision(msgspec.Struct, frozen=True):
    """Schedules whose tasks may run from the very same instant on."""

    at: datetime
    schedules: tuple[str, ...]


class Part(msgspec.Struct):
    """What one schedule did. `longest_wait` is the most seconds that a task of it had to wait for its start,
    for a slot or for earlier tasks."""

    id: str
    fires: int = 0
    skips: int = 0
    skipped: dict[str, int] = {}
    max_running: int = 0
    longest_wait: Number = 0
    failed: int = 0
    unfinished: int = 0


class Report(msgspec.Struct, kw_only=True):
    """What all schedules did from `from` on until before `to`.

    `collisions` is the number of instants from which tasks of several schedules may run, `max_collision` the
    most schedules at one of them, `worst` the largest. `max_running` tasks ran at once, first at
    `max_running_at`; `max_waiting` were due and had not started. `failed` counts tasks that failed for good,
    `unfinished` those that had not ended at the end.
    """

    start: datetime = msgspec.field(name="from")
    to: datetime
    slots: int | None
    fires: int
    skips: int
    skipped: dict[str, int]
    collisions: int
    max_collision: int
    max_running: int
    max_running_at: datetime | None
    max_waiting: int
    longest_wait: Number
    failed: int
    unfinished: int
    worst: list[Collision]
    schedules: list[Part]
    events: list[Event] | None = None

    def numbers(self) -> dict[str, float]:
        """Every number by the name under which an expectation knows it."""
        found: dict[str, float] = {name: getattr(self, name) for name in TOTALS}
        found |= {f"skips.{reason}": self.skipped.get(reason, 0) for reason in REASONS}
        for part in self.schedules:
            found |= {f"{part.id}.{name}": getattr(part, name) for name in PARTS}
            found |= {f"{part.id}.skips.{reason}": part.skipped.get(reason, 0) for reason in REASONS}
        return found


def names(schedules: Sequence[str]) -> set[str]:
    """The names of all numbers in a report about these schedules."""
    each = (*PARTS, *(f"skips.{reason}" for reason in REASONS))
    return {*TOTALS, *each[len(PARTS) :], *(f"{schedule}.{name}" for schedule in schedules for name in each)}


class Tally:
    """Counts what happens, as it happens."""

    def __init__(self, schedules: Sequence[str], *, with_events: bool = False) -> None:
        self._events: list[Event] | None = [] if with_events else None
        self._parts = {schedule: Part(schedule) for schedule in schedules}
        self._instants: dict[int, list[str]] = defaultdict(list)
        self._running: Counter[str] = Counter()
        self._open: Counter[str] = Counter()
        self._max_running = 0
        self._max_running_us: int | None = None
        self._max_waiting = 0

    def fired(self, schedule: str, fire_us: int, run_us: int) -> None:
        self._parts[schedule].fires += 1
        self._open[schedule] += 1
        self._instants[run_us].append(schedule)
        if self._events is not None:
            self._events.append(Event(schedule, moment(fire_us), moment(run_us)))

    def skipped(self, schedule: str, skip: rules.Skip) -> None:
        part = self._parts[schedule]
        part.skips += skip.count
        part.skipped[skip.reason] = part.skipped.get(skip.reason, 0) + skip.count
        if self._events is not None:
            first_at, last_at = moment(skip.first_us), moment(skip.last_us)
            self._events.append(Event(schedule, first_at, None, skip.reason, last_at, skip.count))

    def started(self, schedule: str, waited_us: int) -> None:
        part = self._parts[schedule]
        self._running[schedule] += 1
        part.max_running = max(part.max_running, self._running[schedule])
        part.longest_wait = max(part.longest_wait, seconds(waited_us))

    def stopped(self, schedule: str) -> None:
        self._running[schedule] -= 1

    def ended(self, schedule: str, *, failed: bool) -> None:
        self._open[schedule] -= 1
        self._parts[schedule].failed += failed

    def look(self, now_us: int, running: int, waiting: int) -> None:
        """All that belongs to one instant has happened."""
        self._max_waiting = max(self._max_waiting, waiting)
        if running > self._max_running:
            self._max_running, self._max_running_us = running, now_us

    def report(self, from_us: int, to_us: int, slots: int | None) -> Report:
        parts = list(self._parts.values())
        for part in parts:
            part.unfinished = self._open[part.id]
        collisions = {at_us: found for at_us, found in self._instants.items() if len(found) > 1}
        worst = sorted(collisions.items(), key=lambda entry: (-len(entry[1]), entry[0]))[:COLLISIONS_TOLD]
        skipped = sum((Counter(part.skipped) for part in parts), Counter[str]())
        return Report(
            start=moment(from_us),
            to=moment(to_us),
            slots=slots,
            fires=sum(part.fires for part in parts),
            skips=sum(part.skips for part in parts),
            skipped=dict(sorted(skipped.items())),
            collisions=len(collisions),
            max_collision=max(map(len, collisions.values()), default=0),
            max_running=self._max_running,
            max_running_at=None if self._max_running_us is None else moment(self._max_running_us),
            max_waiting=self._max_waiting,
            longest_wait=max((part.longest_wait for part in parts), default=0),
            failed=sum(part.failed for part in parts),
            unfinished=sum(part.unfinished for part in parts),
            worst=[Collision(moment(at_us), tuple(sorted(found))) for at_us, found in worst],
            schedules=parts,
            events=None
            if self._events is None
            else sorted(self._events, key=lambda event: (event.fire_at, event.schedule)),
        )
