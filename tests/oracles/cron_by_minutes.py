"""When cron fires, found by looking at every minute: slow, dull, and written from the rule's text alone.

    A job whose minute or hour field begins with `*` follows the wall clock. Any other job is a
    fixed-time job. When the clock is put forward by less than three hours, fixed-time jobs of the
    missing time run once, at the first moment after it. When it is put back by up to three hours,
    fixed-time jobs do not run again in the repeated time. Larger shifts are corrections: jobs follow.

`skip` runs every job at the first of equal wall times and never makes up; `both` follows the wall clock.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NAMES = {name: number for number, name in enumerate(WEEKDAYS)}
NAMES |= {name: number for number, name in enumerate(MONTHS, start=1)}
LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def values(field: str, low: int, high: int) -> set[int]:
    found = set()
    for item in field.lower().split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        begin = low if first == "*" else NAMES.get(first) if first in NAMES else int(first)
        if last:
            end = NAMES[last] if last in NAMES else int(last)
        else:
            end = high if first == "*" or step else begin
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


class Job:
    """One expression of five fields."""

    def __init__(self, expression: str) -> None:
        fields = expression.split()
        minutes, hours, days, months, weekdays = (
            values(field, *limits) for field, limits in zip(fields, LIMITS, strict=True)
        )
        self.minutes, self.hours, self.days, self.months = minutes, hours, days, months
        self.weekdays = {weekday % 7 for weekday in weekdays}
        self.both_days = fields[2].startswith("*") or fields[4].startswith("*")
        self.fixed = not (fields[0].startswith("*") or fields[1].startswith("*"))

    def matches(self, wall: datetime) -> bool:
        if wall.minute not in self.minutes or wall.hour not in self.hours or wall.month not in self.months:
            return False
        day, weekday = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        return (day and weekday) if self.both_days else (day or weekday)


def walk(zone: ZoneInfo, begin: datetime, end: datetime) -> list[tuple[int, datetime]]:
    """Every minute of [begin, end) as its instant, and what the wall clock shows."""
    minutes = []
    while begin < end:
        minutes.append((int(begin.timestamp()), begin.astimezone(zone).replace(tzinfo=None)))
        begin += MINUTE
    return minutes


def fires(job: Job, minutes: list[tuple[int, datetime]], rule: str = "debian") -> list[int]:
    """The instants at which the job runs. The first minute only says where the clock stands."""
    return list(_fires(job, minutes, rule))


def _fires(job: Job, minutes: list[tuple[int, datetime]], rule: str) -> Iterator[int]:
    follows = rule == "both" or (rule == "debian" and not job.fixed)
    shown = latest = minutes[0][1]  # what the clock showed a minute ago; the latest it ever showed
    for instant, wall in minutes[1:]:
        shift = wall - shown - MINUTE
        if shift < timedelta(hours=-3) and rule == "debian":
            latest = wall - MINUTE
        runs = (follows or wall > latest) and job.matches(wall)
        if rule == "debian" and job.fixed and timedelta() < shift < timedelta(hours=3):
            runs = runs or any(
                job.matches(wall - number * MINUTE) for number in range(1, shift // MINUTE + 1)
            )
        if runs:
            yield instant
        shown, latest = wall, max(latest, wall)


def changes(zone: ZoneInfo, first_year: int, last_year: int) -> list[datetime]:
    """The minutes, in UTC, at which the zone's clock is put forward or back."""
    found = []
    step = timedelta(hours=6)
    moment, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(last_year + 1, 1, 1, tzinfo=UTC)
    while moment < end:
        if _offset(zone, moment) != _offset(zone, moment + step):
            minute = moment
            while _offset(zone, minute) == _offset(zone, moment):
                minute += MINUTE
            found.append(minute)
        moment += step
    return found


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()
