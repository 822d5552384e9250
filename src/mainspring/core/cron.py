"""Cron expressions as Debian's cron reads them, on a plain calendar that knows no time zone.

`cronsim` reads the fields. What it reads becomes a `Cron`: the seconds of a day and the days of a
month that match. A `Cron` answers in *wall seconds*, counted from 1970-01-01 00:00 on a clock that
is never put forward or back; `zoned` turns these into instants.

Two dangers decide the shape. Anybody may submit an expression, so reading it costs by the length of
the text, never by the numbers in it. And the next fire may be decades ahead, or a year of outage may
have to be counted, so months are counted, and time is never stepped through.
"""

import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache

from cronsim import CronSim, CronSimError

from mainspring.errors import InvalidInput

LONGEST_TEXT = 256
DAY_S = 86_400
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
ACCEPTED = (
    "[second] minute hour day-of-month month day-of-week, each *, numbers, names (jan, mon), upward "
    "ranges (1-5; Sunday is 0 and 7), steps (*/5, 10-50/5) or lists of these (1,15); or " + " ".join(MACROS)
)

_VALUE = r"(?:[0-9]{1,9}|[A-Za-z]{3})"
_ITEM = re.compile(rf"(?:\*|({_VALUE})(?:-({_VALUE}))?)(?:/([0-9]{{1,9}}))?", re.ASCII)
_BLANKS = re.compile(r"[ \t]+")
_NAMES = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NUMBERS = {name: n for n, name in enumerate(_DAYS)} | {name: n for n, name in enumerate(_MONTHS, start=1)}
_EPOCH = date(1970, 1, 1).toordinal()
_ANY_START = datetime(2000, 1, 1, tzinfo=UTC)  # cronsim wants one; what it reads does not depend on it


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression that fires. Tuples are sorted and not empty."""

    text: str
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: frozenset[int]
    days: dict[tuple[int, int], tuple[int, ...]]
    """The matching days of a month by its shape: (weekday of the first, Monday 0; length)."""
    wildcard: bool
    """Minute or hour begins with `*`: Debian lets it follow the wall clock through its changes."""

    def first(self, begin: int, end: int) -> int | None:
        """The first matching wall second in [begin, end)."""
        day, second = divmod(begin, DAY_S)
        if (rank := self._rank(second)) < self._per_day and self._matches(day):
            found = day * DAY_S + self._time(rank)
            return found if found < end else None
        for eve, days in self._months(range(_month_of(day + 1), _month_of(end // DAY_S) + 1)):
            position = bisect_right(days, day - eve)
            if position < len(days):
                found = (eve + days[position]) * DAY_S + self._time(0)
                return found if found < end else None
        return None

    def last(self, begin: int, end: int) -> int | None:
        """The last matching wall second in [begin, end)."""
        day, second = divmod(end, DAY_S)
        if (rank := self._rank(second)) and self._matches(day):
            found = day * DAY_S + self._time(rank - 1)
            return found if found >= begin else None
        for eve, days in self._months(range(_month_of(day - 1), _month_of(begin // DAY_S) - 1, -1)):
            position = bisect_left(days, day - eve)
            if position:
                found = (eve + days[position - 1]) * DAY_S + self._time(self._per_day - 1)
                return found if found >= begin else None
        return None

    def count(self, begin: int, end: int) -> int:
        """How many wall seconds of [begin, end) match."""
        if begin >= end:
            return 0
        (day, second), (end_day, end_second) = divmod(begin, DAY_S), divmod(end, DAY_S)
        days_before_end = sum(
            bisect_left(days, end_day - eve) - bisect_left(days, day - eve)
            for eve, days in self._months(range(_month_of(day), _month_of(end_day) + 1))
        )
        total = days_before_end * self._per_day
        total -= self._rank(second) if self._matches(day) else 0
        total += self._rank(end_second) if self._matches(end_day) else 0
        return total

    @property
    def _per_day(self) -> int:
        return len(self.hours) * len(self.minutes) * len(self.seconds)

    def _rank(self, second_of_day: int) -> int:
        """How many of a matching day's times lie before this second."""
        hour, rest = divmod(second_of_day, 3600)
        minute, second = divmod(rest, 60)
        rank = bisect_left(self.hours, hour) * len(self.minutes)
        if hour not in self.hours:
            return rank * len(self.seconds)
        rank = (rank + bisect_left(self.minutes, minute)) * len(self.seconds)
        return rank + bisect_left(self.seconds, second) if minute in self.minutes else rank

    def _time(self, rank: int) -> int:
        """The second of the day at which a matching day's fire number `rank` lies."""
        rest, second = divmod(rank, len(self.seconds))
        hour, minute = divmod(rest, len(self.minutes))
        return self.hours[hour] * 3600 + self.minutes[minute] * 60 + self.seconds[second]

    def _matches(self, day: int) -> bool:
        return any(day - eve in days for eve, days in self._months((_month_of(day),)))

    def _months(self, months: Iterable[int]) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Of those months that the expression names: the day before its first, and its matching days."""
        for month in months:
            if month % 12 + 1 in self.months:
                eve, shape = _month(month)
                yield eve, self.days[shape]


def _month_of(day: int) -> int:
    found = date.fromordinal(day + _EPOCH)
    return found.year * 12 + found.month - 1


@lru_cache(4096)
def _month(month: int) -> tuple[int, tuple[int, int]]:
    """The day before its first, counted from 1970-01-01, and its shape."""
    year, index = divmod(month, 12)
    return date(year, index + 1, 1).toordinal() - _EPOCH - 1, monthrange(year, index + 1)


@lru_cache(1024)
def parse_cron(text: str) -> Cron:
    """Read an expression or macro. Blanks are spaces and tabs, names and macros come in any case.

    Raises `InvalidInput` that names `cron`: over 256 characters, not readable, or never firing because
    no month that it names has such a day.
    """
    fields = _fields(text)
    try:
        read = CronSim(" ".join(fields), _ANY_START)
    except CronSimError as error:
        raise _refusal(str(error).removeprefix("Bad "), fields) from None
    return Cron(
        text=" ".join(fields),
        seconds=tuple(sorted(read.seconds)),
        minutes=tuple(sorted(read.minutes)),
        hours=tuple(sorted(read.hours)),
        months=frozenset(read.months),
        days=_days(frozenset(read.days), frozenset(read.weekdays), read.day_and),
        wildcard=fields[-5].startswith("*") or fields[-4].startswith("*"),
    )


def _fields(text: str) -> list[str]:
    """The five or six fields, each made of nothing but items. What is let through costs little to read."""
    if len(text) > LONGEST_TEXT:
        raise InvalidInput("cron", f"{len(text)} characters", f"at most {LONGEST_TEXT}")
    stripped = text.strip(" \t")
    if stripped.startswith("@"):
        if stripped.lower() == "@reboot":
            raise InvalidInput("cron", "@reboot is refused: a cluster has no moment of starting", ACCEPTED)
        if stripped.lower() not in MACROS:
            raise InvalidInput("cron", f"no such macro: {stripped[:40]!r}", ACCEPTED)
        stripped = MACROS[stripped.lower()]
    fields = _BLANKS.split(stripped)
    if len(fields) not in (5, 6):
        raise InvalidInput("cron", f"{len(fields) if stripped else 0} fields, not 5 or 6", ACCEPTED)
    return [_field(name, field) for name, field in zip(_NAMES[-len(fields) :], fields, strict=True)]


def _field(name: str, field: str) -> str:
    items = [_ITEM.fullmatch(item) for item in field.split(",")]
    if not all(items):
        raise InvalidInput("cron", f"bad {name}: {field[:40]!r}", ACCEPTED)
    return ",".join(_item(item) for item in items if item)


def _item(item: re.Match[str]) -> str:
    """Cronsim takes 5-5/10 for 5/10, which runs on to the end of the field. It is 5."""
    first, last, step = item.groups()
    if last and step and int(step) and _number(first) == _number(last):
        return str(first)
    return item[0]


def _number(value: str) -> int | None:
    return int(value) if value.isdigit() else _NUMBERS.get(value.lower())


def _refusal(name: str, fields: list[str]) -> InvalidInput:
    """`name` is the field that cronsim did not like."""
    field = fields[_NAMES.index(name) - len(_NAMES)][:40]
    if name == "day-of-month" and _is_readable(f"0 0 {fields[-3]} 1 *"):
        problem = f"never fires: month {fields[-2][:40]} has no day {field}"
        return InvalidInput("cron", problem, "days that the months have")
    return InvalidInput("cron", f"bad {name}: {field!r}", ACCEPTED)


def _is_readable(text: str) -> bool:
    """Cronsim complains of days that no month has as it does of an unreadable field: January has all days."""
    try:
        CronSim(text, _ANY_START)
    except CronSimError:
        return False
    return True


@lru_cache(1024)
def _days(
    days: frozenset[int], weekdays: frozenset[object], both: bool
) -> dict[tuple[int, int], tuple[int, ...]]:
    """The matching days of each shape of month. Debian asks `both` fields only when one begins with `*`."""
    mondays_0 = {(weekday - 1) % 7 for weekday in weekdays if isinstance(weekday, int)}

    def matches(day: int, weekday: int) -> bool:
        fits = (day in days, weekday in mondays_0)
        return all(fits) if both else any(fits)

    return {
        (first, length): tuple(d for d in range(1, length + 1) if matches(d, (first + d - 1) % 7))
        for first in range(7)
        for length in (28, 29, 30, 31)
    }
