"""A second opinion on schedules: fire times counted out second by second, and what becomes of them.

It shares nothing with the scheduler but the shape of the rules. Times are few here, so each is looked at.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

from mainspring.core.model import SECOND_US
from mainspring.core.schedules import Schedule
from mainspring.core.timing import Timing

# No schedule of a simulation is quieter than this.
HORIZON_US = 130 * SECOND_US


def fires(timing: Timing, after_us: int, until_us: int) -> list[int]:
    """The fire times in (after, until], one by one."""
    first_us = max(after_us + 1, timing.start_us or 0)
    last_us = until_us if timing.end_us is None else min(until_us, timing.end_us - 1)
    if timing.at_us is not None:
        return [timing.at_us] if first_us <= timing.at_us <= last_us else []
    if timing.every_us is not None:
        anchor_us = timing.anchor_us if timing.anchor_us is not None else timing.start_us or 0
        number = -((anchor_us - first_us) // timing.every_us)
        return list(range(anchor_us + number * timing.every_us, last_us + 1, timing.every_us))
    seconds = range(-(-first_us // SECOND_US), last_us // SECOND_US + 1)
    return [second * SECOND_US for second in seconds if _matches(timing, second)]


def following(timing: Timing, after_us: int) -> int | None:
    """The next fire time."""
    until_us = after_us + HORIZON_US if timing.at_us is None else max(after_us, timing.at_us)
    return next(iter(fires(timing, after_us, until_us)), None)


def _matches(timing: Timing, second: int) -> bool:
    assert timing.cron is not None
    clock = datetime.fromtimestamp(second, ZoneInfo(timing.zone))
    now = (clock.second, clock.minute, clock.hour, clock.day, clock.month, clock.isoweekday() % 7)
    return all(_allows(field, value) for field, value in zip(timing.cron.split(), now, strict=True))


def _allows(field: str, value: int) -> bool:
    """Only what the simulation's schedules are written with: `*`, lists, ranges, steps."""
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = ("0-99" if span == "*" else span).partition("-")
        if int(low) <= value <= int(high or low) and (value - int(low)) % int(step or 1) == 0:
            return True
    return False


def become(
    rules: Schedule, after_us: int, skip_through_us: int, now_us: int
) -> tuple[list[int], dict[int, str]]:
    """Which of the fire times in (after, now] go on to be tasks, and why the others do not."""
    due = fires(rules.timing, after_us, now_us)
    if rules.paused:
        return [], dict.fromkeys(due, "paused")
    skipped = {fire_us: "by_hand" for fire_us in due if fire_us <= skip_through_us}
    rest = [fire_us for fire_us in due if fire_us not in skipped]
    on_time = [fire_us for fire_us in rest if now_us - fire_us <= rules.misfire_grace_us]
    missed = [fire_us for fire_us in rest if fire_us not in on_time]
    kept: list[int] = []
    reason = {"skip": "missed", "fire_once": "coalesced", "fire_all": "over_limit"}[rules.misfire]
    if rules.misfire == "fire_all":
        kept = missed[-rules.misfire_limit :]
    elif rules.misfire == "fire_once" and not on_time:
        kept = missed[-1:]
    skipped |= {fire_us: reason for fire_us in missed if fire_us not in kept}
    return kept + on_time, skipped


def overlapping(policy: str, due: list[int], are_unfinished: bool) -> tuple[list[int], dict[int, str]]:
    """Which of them the overlap policy lets pass, and why it stops the others."""
    if policy == "skip":
        made = [] if are_unfinished else due[:1]
        return made, {fire_us: "overlap" for fire_us in due if fire_us not in made}
    if policy == "cancel":
        return due[-1:], dict.fromkeys(due[:-1], "superseded")
    return due, {}
