"""One decision about a schedule, made anew from what its maker was told."""

from collections.abc import Sequence
from typing import NamedTuple

from mainspring.core.model import SECOND_US
from mainspring.core.schedules import Standing
from mainspring.ports import FireLine, FireRecord, NewSchedule
from mainspring.testing.checks.calendar import become, fires, overlapping
from mainspring.testing.record import Timetable


class Seen(NamedTuple):
    """A schedule as somebody was told of it."""

    at_s: float
    now_us: int
    unfinished: tuple[str, ...]


class Book:
    """A schedule as the decisions tell it, each of which is looked at when it is written."""

    def __init__(self, id_: str, wanted: NewSchedule, born_s: float) -> None:
        self.id = id_
        self.wanted = wanted
        self.born_s = born_s
        self.version = 0
        self.mark = ""
        self.standing: Standing | None = None
        self.quarantine: str | None = None
        self.records: list[FireRecord] = []

    @classmethod
    def of(cls, table: Timetable, born_s: float, records: Sequence[FireRecord]) -> "Book":
        """A schedule as the store has it again, with the records that it had at that version."""
        record = table.record
        book = cls(record.id, NewSchedule(record.rules, record.template), born_s)
        book.version, book.mark, book.standing = record.version, table.mark, record.standing
        book.quarantine, book.records = record.quarantine, list(records)
        return book


class Judge:
    """One decision, made anew for each time at which its maker may have looked."""

    def __init__(self, book: Book, line: FireLine, wanted: NewSchedule) -> None:
        self._book = book
        self._line = line
        self._wanted = wanted
        assert line.standing is not None
        self._after = line.standing
        at_us = wanted.rules.timing.at_us
        self._at_us = at_us
        before = book.standing
        self.is_by_hand = (
            before is not None
            and bool(line.made)
            and not line.skips
            and line.standing == before
            and line.change is None
        )

    def complaint(self, seen: Seen) -> str:
        """What is wrong with the decision if it was made of this; empty if nothing is."""
        if self.is_by_hand:
            return self._about_trigger(seen)
        before = self._book.standing or self._beginning(seen.now_us)
        survivors, skipped = become(before.rules, before.cursor_us, before.skip_through_us, seen.now_us)
        made, stopped = overlapping(before.rules.overlap, survivors, bool(seen.unfinished))
        found = _reasons(self._line, before)
        if all(found.get(fire_us) == "backlog_full" for fire_us in made) and not self._line.made:
            made, stopped = [], stopped | dict.fromkeys(made, "backlog_full")
        if [one.fire_us for one in self._line.made] != made:
            return f"should have fired {[fire_us / SECOND_US for fire_us in made]}"
        if found != skipped | stopped:
            return f"skips {found}, should skip {skipped | stopped}"
        cursor_us = self._cursor_us(before, seen.now_us, [*survivors, *skipped])
        if self._after.cursor_us != cursor_us:
            return f"the cursor is at {self._after.cursor_us}, should be at {cursor_us}"
        return self._about_rules(before, seen) or self._about_parents(before, seen)

    def _beginning(self, now_us: int) -> Standing:
        """Nothing is made up for, but an instant that has passed."""
        cursor_us = now_us if self._at_us is None else min(now_us, self._at_us - 1)
        return Standing(self._wanted.rules, cursor_us)

    def _cursor_us(self, before: Standing, now_us: int, due: Sequence[int]) -> int:
        if self._after.rules == before.rules:
            return max(due, default=before.cursor_us)
        cursor_us = max(before.cursor_us, now_us)
        if self._at_us is not None and self._after.rules.timing != before.rules.timing:
            cursor_us = min(cursor_us, self._at_us - 1)
        return cursor_us

    def _about_rules(self, before: Standing, seen: Seen) -> str:
        if self._after.rules != self._wanted.rules:
            return "other rules are in force than its owner wants"
        skip_us = self._after.skip_through_us
        if skip_us == before.skip_through_us or skip_us in fires(before.rules.timing, seen.now_us, skip_us):
            return ""
        return "it skips what is no fire of it to come"

    def _about_parents(self, before: Standing, seen: Seen) -> str:
        """Under `queue` and `cancel` a task waits for all unfinished ones, and for those made just before."""
        earlier = set(seen.unfinished)
        for made in self._line.made:
            expected = earlier if before.rules.overlap in ("queue", "cancel") else set()
            if set(made.task.depends_on) != expected:
                return f"{made.task.id} waits for {made.task.depends_on}, and should for {sorted(expected)}"
            earlier = earlier | {made.task.id}
        return ""

    def _about_trigger(self, seen: Seen) -> str:
        (made,) = self._line.made
        if fires(self._wanted.rules.timing, made.fire_us - 1, made.fire_us):
            return "a task made by hand has the time of a fire"
        return "" if 0 <= made.fire_us - seen.now_us < SECOND_US else "made by hand, at another time"


def _reasons(line: FireLine, before: Standing) -> dict[int, str]:
    """The fire times that are skipped, one by one, and why. A record that counts wrongly is told as one."""
    found: dict[int, str] = {}
    for skip in line.skips:
        times = fires(before.rules.timing, skip.first_us - 1, skip.last_us)
        if len(times) == skip.count and (times[0], times[-1]) == (skip.first_us, skip.last_us):
            found |= dict.fromkeys(times, skip.reason)
        else:
            found[skip.first_us] = f"{skip.reason}, miscounted"
    return found
