"""When a schedule fires: a cron expression, an interval or one instant, as one line of fire times.

Fire times are *nominal*: microseconds since the epoch, the same whoever looks and whenever. Intervals
count from their anchor, never from the last fire, so that a late scheduler does not make them drift.
"""

import re
from dataclasses import dataclass
from datetime import tzinfo
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

import msgspec

from mainspring.core.cron import parse_cron
from mainspring.core.model import SECOND_US
from mainspring.core.zoned import DST_RULES, LAST_S, ZonedCron
from mainspring.errors import InvalidInput

SHORTEST_INTERVAL_US = SECOND_US
LONGEST_INTERVAL_US = 100 * 366 * 86_400 * SECOND_US
LAST_US = LAST_S * SECOND_US
_LONGEST_ZONE = 64
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,3}", re.ASCII)
# Other clocks that a system keeps among its zones: `right` counts leap seconds, `localtime` is the host's.
_NO_ZONE = re.compile(r"right/.*|posix/.*|localtime|posixrules")


class Timing(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of `cron`, `every_us` and `at_us` says when; fires lie in [`start_us`, `end_us`).

    `zone` (an IANA name) and `dst` (one of `DST_RULES`) say how the wall clock of a cron expression is
    read; an interval is elapsed time and an instant is an instant, in any zone. An interval fires at
    `anchor_us` and whole numbers of intervals before and after it. The anchor is `start_us` if not
    given, else 1970-01-01T00:00Z, so that `every 15 minutes` means on the quarter-hours.
    """

    cron: str | None = None
    every_us: int | None = None
    at_us: int | None = None
    anchor_us: int | None = None
    zone: str = "UTC"
    dst: str = "debian"
    start_us: int | None = None
    end_us: int | None = None


def check_timing(timing: Timing) -> None:
    """Raises `InvalidInput` that names `cron`, `every`, `at`, `anchor`, `zone`, `dst`, `start` or `end`."""
    sources = {"cron": timing.cron, "every": timing.every_us, "at": timing.at_us}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        problem = " and ".join(given) + " exclude each other" if given else "no cron, every or at is given"
        raise InvalidInput((given or ["", "cron"])[1], problem, "exactly one of cron, every, at")
    zone_of(timing.zone)
    if timing.dst not in DST_RULES:
        raise InvalidInput("dst", f"no such rule: {timing.dst[:40]!r}", ", ".join(DST_RULES))
    instants = {
        "at": timing.at_us,
        "anchor": timing.anchor_us,
        "start": timing.start_us,
        "end": timing.end_us,
    }
    for name, instant in instants.items():
        if instant is not None and not 0 <= instant < LAST_US:
            raise InvalidInput(name, "out of range", "1970 to 9986")
    if timing.start_us is not None and timing.end_us is not None and timing.end_us <= timing.start_us:
        raise InvalidInput("end", "does not lie after start")
    if timing.anchor_us is not None and timing.every_us is None:
        raise InvalidInput("anchor", "only an interval has an anchor", "every and anchor")
    if timing.every_us is not None and not SHORTEST_INTERVAL_US <= timing.every_us <= LONGEST_INTERVAL_US:
        raise InvalidInput("every", f"out of range: {timing.every_us / SECOND_US:g}s", "1s to 100 years")
    _line(timing)


@lru_cache(1024)
def zone_of(name: str) -> tzinfo:
    """The zone of an IANA name. Raises `InvalidInput` that names `zone`."""
    if len(name) <= _LONGEST_ZONE and _ZONE.fullmatch(name) and not _NO_ZONE.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (KeyError, OSError, ValueError):
            pass  # unknown; a directory such as `Europe`; a file of the database that is no zone
    raise InvalidInput("zone", f"no such time zone: {name[:40]!r}", "an IANA name such as Europe/Berlin")


def next_us(timing: Timing, after_us: int) -> int | None:
    """The first fire strictly after an instant; none if there is none, or none within 50 years."""
    start_us = timing.start_us or 0
    found = _line(timing).next(max(after_us, start_us - 1))
    return found if found is not None and found < _end_us(timing) else None


def next_fires(timing: Timing, after_us: int, limit: int) -> list[int]:
    """The next `limit` fires strictly after an instant, fewer where there are no more."""
    found: list[int] = []
    while len(found) < limit and (fire_us := next_us(timing, after_us)) is not None:
        found.append(fire_us)
        after_us = fire_us
    return found


def last_us(timing: Timing, after_us: int, until_us: int) -> int | None:
    """The last fire in (after, until]."""
    after_us, until_us = _clipped(timing, after_us, until_us)
    return _line(timing).last(after_us, until_us) if after_us < until_us else None


def count_fires(timing: Timing, after_us: int, until_us: int) -> int:
    """How many fires lie in (after, until]. The cost grows with the months between, not with the fires."""
    after_us, until_us = _clipped(timing, after_us, until_us)
    return _line(timing).count(after_us, until_us) if after_us < until_us else 0


def _end_us(timing: Timing) -> int:
    return LAST_US if timing.end_us is None else timing.end_us


def _clipped(timing: Timing, after_us: int, until_us: int) -> tuple[int, int]:
    return max(after_us, (timing.start_us or 0) - 1), min(until_us, _end_us(timing) - 1)


class _Line(Protocol):
    """Fire times, regardless of start and end."""

    def next(self, after_us: int) -> int | None: ...
    def last(self, after_us: int, until_us: int) -> int | None: ...
    def count(self, after_us: int, until_us: int) -> int: ...


@dataclass(frozen=True, slots=True)
class _Clock:
    zoned: ZonedCron

    def next(self, after_us: int) -> int | None:
        found = self.zoned.next(after_us // SECOND_US)
        return None if found is None else found * SECOND_US

    def last(self, after_us: int, until_us: int) -> int | None:
        found = self.zoned.last(after_us // SECOND_US, until_us // SECOND_US)
        return None if found is None else found * SECOND_US

    def count(self, after_us: int, until_us: int) -> int:
        return self.zoned.count(after_us // SECOND_US, until_us // SECOND_US)


@dataclass(frozen=True, slots=True)
class _Interval:
    every_us: int
    anchor_us: int

    def next(self, after_us: int) -> int:
        return after_us + self.every_us - (after_us - self.anchor_us) % self.every_us

    def last(self, after_us: int, until_us: int) -> int | None:
        found = until_us - (until_us - self.anchor_us) % self.every_us
        return found if found > after_us else None

    def count(self, after_us: int, until_us: int) -> int:
        until, after = until_us - self.anchor_us, after_us - self.anchor_us
        return until // self.every_us - after // self.every_us


@dataclass(frozen=True, slots=True)
class _Instant:
    at_us: int

    def next(self, after_us: int) -> int | None:
        return self.at_us if self.at_us > after_us else None

    def last(self, after_us: int, until_us: int) -> int | None:
        return self.at_us if after_us < self.at_us <= until_us else None

    def count(self, after_us: int, until_us: int) -> int:
        return int(after_us < self.at_us <= until_us)


@lru_cache(16_384)
def _line(timing: Timing) -> _Line:
    if timing.every_us is not None:
        anchor_us = timing.anchor_us if timing.anchor_us is not None else timing.start_us
        return _Interval(timing.every_us, anchor_us or 0)
    if timing.at_us is not None:
        return _Instant(timing.at_us)
    return _Clock(ZonedCron(parse_cron(timing.cron or ""), zone_of(timing.zone), timing.dst))
