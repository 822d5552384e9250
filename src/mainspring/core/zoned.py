"""When a cron expression fires in a time zone whose clock is put forward and back.

UTC is cut into spans of one offset. In a span the wall clock is a plain calendar, which `cron`
answers for; only where spans meet does a rule decide:

    forward   02:00 ──► 03:00     wall times 02:00-02:59 do not exist: lost, or made up for at 03:00
    back      03:00 ──► 02:00     wall times 02:00-02:59 come twice: one fire or two

    rule                            a time that does not exist      a time that comes twice
    debian, minute or hour is `*`   lost                            fires both times
    debian, any other expression    fires at the first moment after fires the first time
    skip                            lost                            fires the first time
    both                            lost                            fires both times

As in Debian's cron, `debian` takes a shift of more than three hours (or three hours forward) for a
correction of the clock: nothing is made up for, and nothing is held back.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from mainspring.core.cron import DAY_S, Cron

DST_RULES = ("debian", "skip", "both")
HORIZON_S = 50 * 366 * DAY_S
"""How far a search looks. The rarest expression, 29 February on one weekday, waits 40 years over 2100."""
LAST_S = 253_000_000_000
"""No fire after this instant (in the year 9987): a wall clock beyond the year 9999 cannot be written."""
_CORRECTION_S = 3 * 3600
_BLOCK_S = 32 * DAY_S
_CHUNK_S = 28 * DAY_S


class Change(NamedTuple):
    """At the instant `at` the zone's offset from UTC changes."""

    at: int
    before: int
    after: int


class _Span(NamedTuple):
    """Wall seconds [begin, end) of one offset; `made_up` is an instant at which missing times fire."""

    begin: int
    end: int
    offset: int
    made_up: int | None


@dataclass(frozen=True, slots=True)
class ZonedCron:
    """A cron expression in a zone under a rule of `DST_RULES`. Instants are seconds since the epoch, UTC."""

    cron: Cron
    zone: tzinfo
    dst: str = "debian"

    def next(self, after: int) -> int | None:
        """The first fire strictly after an instant; none if there is none within `HORIZON_S`."""
        low, horizon = after + 1, min(after + HORIZON_S, LAST_S)
        while low < horizon:
            wall = self.cron.first(low - DAY_S, horizon + DAY_S)
            if wall is None:
                return None
            low = max(low, wall - DAY_S)
            high = min(low + _CHUNK_S, horizon)
            for span in self._spans(low, high):
                if span.made_up is not None:
                    return span.made_up
                wall = self.cron.first(span.begin, span.end)
                if wall is not None:
                    return wall - span.offset
            low = high
        return None

    def last(self, after: int, until: int) -> int | None:
        """The last fire in (after, until]."""
        low, high = after + 1, until + 1
        while low < high:
            wall = self.cron.last(low - DAY_S, high + DAY_S)
            if wall is None:
                return None
            high = min(high, wall + DAY_S)
            begin = max(low, high - _CHUNK_S)
            for span in reversed(list(self._spans(begin, high))):
                wall = self.cron.last(span.begin, span.end)
                if wall is not None:
                    return wall - span.offset
                if span.made_up is not None:
                    return span.made_up
            high = begin
        return None

    def count(self, after: int, until: int) -> int:
        """How many fires lie in (after, until]."""
        total = 0
        for span in self._spans(after + 1, until + 1):
            total += self.cron.count(span.begin, span.end)
            total += span.made_up is not None and self.cron.first(span.begin, span.begin + 1) is None
        return total

    def _spans(self, low: int, high: int) -> Iterator[_Span]:
        """What of [low, high) each offset covers, in order of time."""
        if low >= high:
            return
        # A day back: a change shortly before `low` still says which times have already come once.
        changes = [*changes_between(self.zone, low - DAY_S, high)]
        first = changes[0].before if changes else _offset(self.zone, low)
        starts = [Change(low - DAY_S, first, first), *changes]
        for change, end in zip(starts, [*(c.at for c in changes), high], strict=True):
            if end <= low:
                continue
            shift = change.after - change.before
            repeated = -shift if shift < 0 and self._fires_once(shift) else 0
            begin = max(change.at + change.after + repeated, low + change.after)
            made_up = change.at if change.at >= low and self._makes_up(change) else None
            yield _Span(begin, end + change.after, change.after, made_up)

    def _fires_once(self, shift: int) -> bool:
        if self.dst == "debian":
            return not self.cron.wildcard and -shift <= _CORRECTION_S
        return self.dst == "skip"

    def _makes_up(self, change: Change) -> bool:
        if self.dst != "debian" or self.cron.wildcard or change.after - change.before >= _CORRECTION_S:
            return False
        return self.cron.first(change.at + change.before, change.at + change.after) is not None


def changes_between(zone: tzinfo, low: int, high: int) -> Iterator[Change]:
    """The zone's changes of offset at instants in [low, high)."""
    for block in range((low - 1) // _BLOCK_S, (high - 1) // _BLOCK_S + 1):
        for change in _changes(zone, block):
            if low <= change.at < high:
                yield change


@lru_cache(8192)
def _changes(zone: tzinfo, block: int) -> tuple[Change, ...]:
    """The changes after the start of the block, up to the next. No zone changes twice in one day."""
    probes = range(block * _BLOCK_S, (block + 1) * _BLOCK_S + 1, DAY_S)
    found = []
    for (low, before), (high, after) in pairwise((probe, _offset(zone, probe)) for probe in probes):
        if before == after:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
        found.append(Change(high, before, after))
    return tuple(found)


def _offset(zone: tzinfo, instant: int) -> int:
    shift = datetime.fromtimestamp(instant, zone).utcoffset()
    return int(shift.total_seconds()) if shift is not None else 0
