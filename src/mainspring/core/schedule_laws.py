"""The laws of `core.laws` about schedules: each fire time that has been decided became a task or a skip, and
the next one is not forgotten."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mainspring.core.laws import Breach
from mainspring.core.schedules import LOST, Schedule, Standing
from mainspring.core.timing import count_fires, last_us, next_us
from mainspring.errors import InvalidInput

# A look at a schedule costs as much as that of so many tasks.
ROWS_A_SCHEDULE = 10
# Of so many of a schedule's latest records a slice of a sweep makes sure; an inspection looks at all.
RECORDS_LOOKED_AT = 20


class Span(NamedTuple):
    """A record of fires: its first and last fire time, and whether it says what became of them."""

    first_us: int
    last_us: int
    is_told: bool = True


class Gap(NamedTuple):
    """Fire times strictly between these two have no record."""

    after_us: int
    before_us: int


class ScheduleFacts(NamedTuple):
    """What a store holds of a schedule that is not quarantined. `since_us` is when the rules in force came
    into force, `None` if plain SQL has written the row and nobody has looked at it since; `spans` are its
    latest records, and `is_cut` says that there are, or were, older ones."""

    standing: Standing
    look_us: int | None
    since_us: int | None
    spans: Sequence[Span]
    is_cut: bool


def schedule_breaches(facts: ScheduleFacts) -> list[Breach]:
    """Rules that cannot be read (a zone that the system has lost) are for the firer to find."""
    if facts.since_us is None:
        return []
    try:
        return [*_breaches(facts)]
    except InvalidInput:
        return []


def _breaches(facts: ScheduleFacts) -> Iterator[Breach]:
    standing = facts.standing
    due_us = None if standing.rules.paused else next_us(standing.rules.timing, standing.cursor_us)
    if due_us is not None and (facts.look_us is None or facts.look_us > due_us):
        when = "never" if facts.look_us is None else "only later"
        yield Breach("forgotten_schedule", f"its next fire is at {due_us} us, and it is looked at {when}")
    untold = sum(not span.is_told for span in facts.spans)
    if untold:
        yield Breach("empty_fire", f"{untold} of its records name neither a task nor a reason")
    lost = gaps(facts)
    if lost:
        count = sum(_count(standing.rules, gap) for gap in lost)
        yield Breach(
            "lost_fire", f"{count} of its fire times have no record, the first after {lost[0].after_us} us"
        )


def gaps(facts: ScheduleFacts) -> list[Gap]:
    """Between the records of what the rules in force have decided. Raises `InvalidInput`."""
    timing, cursor_us = facts.standing.rules.timing, facts.standing.cursor_us
    spans = sorted(facts.spans)
    reached_us = facts.since_us or 0
    if facts.is_cut and spans:
        reached_us = max(reached_us, spans[0].first_us - 1)
    found = []
    # A task made by hand is on record at once, while fires before it may be still to be decided.
    for span in [*[span for span in spans if span.first_us <= cursor_us], Span(cursor_us + 1, cursor_us + 1)]:
        if span.last_us <= reached_us:
            continue
        # Beyond the cursor nothing is decided: a task made by hand may be on record there.
        before_us = min(span.first_us, cursor_us + 1)
        fire_us = next_us(timing, reached_us)
        if fire_us is not None and fire_us < before_us:
            found.append(Gap(reached_us, before_us))
        reached_us = max(reached_us, span.last_us)
    return found


def _count(rules: Schedule, gap: Gap) -> int:
    return count_fires(rules.timing, gap.after_us, gap.before_us - 1)


class Fate(NamedTuple):
    """What is put on record for fire times: a task for one, or a reason for so many times in a row."""

    first_us: int
    last_us: int
    times: int
    task: str | None
    reason: str | None


def recorded(rules: Schedule, gap: Gap, tasks: Mapping[int, str]) -> list[Fate]:
    """The records that fill a gap. `tasks` are those, by their times, which its fires are known to have made;
    what became of the others nobody can tell. Raises `InvalidInput`."""
    found, after_us = list[Fate](), gap.after_us
    for fire_us in [*sorted(tasks), gap.before_us]:
        first_us = next_us(rules.timing, after_us)
        final_us = last_us(rules.timing, after_us, fire_us - 1)
        if first_us is not None and final_us is not None:
            count = _count(rules, Gap(after_us, fire_us))
            found.append(Fate(first_us, final_us, count, None, LOST))
        if fire_us in tasks:
            found.append(Fate(fire_us, fire_us, 1, tasks[fire_us], None))
        after_us = fire_us
    return found
