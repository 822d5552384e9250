"""Schedules: each fire time becomes one task or one recorded skip, whoever decides about it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from mainspring.core.model import SECOND_US
from mainspring.core.schedules import Standing
from mainspring.core.timing import Timing
from mainspring.ports import FireLine
from mainspring.testing.checks.check import Check
from mainspring.testing.record import Answered, Phase, Restored

LATE_US = 2 * SECOND_US


class _Row(NamedTuple):
    """A schedule as the decisions that were written left it."""

    mark: str
    standing: Standing | None
    quarantine: str | None


class Fires(Check):
    """Walks the decisions from cursor to cursor. Knows only intervals, and counts them by itself."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._rows: dict[str, _Row] = {}
        self._made: set[tuple[str, int]] = set()
        self._leader: tuple[int, int] | None = None
        self._now_us = 0

    def on_answered(self, event: Answered) -> None:
        self._now_us = event.now_us
        call = self.model.call
        if event.verb == "take_term":
            self._leader = event.answer.number, event.now_us + event.answer.expires_in_us
        elif event.verb == "fire" and call is not None:
            lines, term = call.args
            for line, answer in zip(lines, event.answer.answers, strict=True):
                row = self._rows.get(line.schedule)
                if isinstance(answer, int) and (row is None or row.mark != line.mark):
                    self._written(line, row, term, event)

    def _written(self, line: FireLine, row: _Row | None, term: int | None, event: Answered) -> None:
        name = line.schedule
        if term is not None and self._leader is not None:
            number, until_us = self._leader
            if term != number or until_us <= event.now_us:
                self.say("fire-under-term", name, f"term {term} writes, {number} leads", event.at_s)
        if line.quarantine is not None:
            self.say("no-quarantine", name, line.quarantine, event.at_s)
        for fire_us in (made.fire_us for made in line.made):
            if (name, fire_us) in self._made:
                self.say("fire-once", name, f"two decisions make the fire of {fire_us}", event.at_s)
            self._made.add((name, fire_us))
        if row is not None and row.standing is not None and line.standing not in (None, row.standing):
            self._follow(line, row.standing, line.standing, event)
        self._rows[name] = _Row(line.mark, line.standing, line.quarantine)

    def _follow(self, line: FireLine, old: Standing, new: Any, event: Answered) -> None:
        name = line.schedule
        if new.cursor_us < old.cursor_us:
            what = f"the cursor goes back from {old.cursor_us} to {new.cursor_us}"
            self.say("fire-decided", name, what, event.at_s)
        timing = old.rules.timing
        told = [made.fire_us for made in line.made]
        for skip in line.skips:
            skipped = times(timing, skip.first_us - 1, skip.last_us)
            told += skipped
            if len(skipped) != skip.count:
                self.say("fire-decided", name, f"a skip of {skip.count} covers {len(skipped)}", event.at_s)
        due = times(timing, old.cursor_us, new.cursor_us)
        if sorted(told) != due:
            what = f"due are {due}, made or skipped {sorted(told)}"
            self.say("fire-decided", name, what, event.at_s)

    def on_restored(self, event: Restored) -> None:
        """Tasks, cursors and terms were lost together, or not at all."""
        self._leader = None
        self._rows = {
            name: _Row(mark, record.standing, record.quarantine)
            for name, (mark, record) in event.schedules.items()
        }
        self._made = {
            (task.schedule_id, task.fire_at_us)
            for task in event.tasks
            if task.schedule_id is not None and task.fire_at_us is not None
        }

    def on_phase(self, event: Phase) -> None:
        if event.name != "closing" or event.detail:
            return
        for name, row in self._rows.items():
            if row.standing is None or row.standing.rules.paused:
                continue
            left = times(row.standing.rules.timing, row.standing.cursor_us, self._now_us - LATE_US)
            if left:
                self.say("fire-in-time", name, f"nobody decides about {left}", event.at_s)


def times(timing: Timing, after_us: int, until_us: int) -> list[int]:
    """The fire times of an interval in (after, until]."""
    assert timing.every_us is not None
    start_us, end_us = timing.start_us or 0, timing.end_us
    first = after_us + timing.every_us - (after_us - start_us) % timing.every_us
    last_us = until_us if end_us is None else min(until_us, end_us - 1)
    found: Sequence[int] = range(first, last_us + 1, timing.every_us)
    return [fire_us for fire_us in found if fire_us >= start_us]
