"""Limits: how many tasks of one name may run at once, how fast they may start, how many may wait.

A limit's name is one attribute of a lane: `queue:emails`, `kind:resize`, `tenant:42`, `key:account-7`.
`key:*` (or `tenant:*` ...) is a rule for every name of that family which has none of its own; each
name then has its own slots.

The rate is a token bucket in its leaky form, GCRA (ITU-T I.371, annex): one number per name, the
theoretical arrival time, says both how full the bucket is and when the next task may start.
"""

from collections.abc import Container, Iterator, Mapping

import msgspec

from mainspring.core.model import SECOND_US, Lane

UNLIMITED = 1 << 30
FAMILIES = ("queue", "kind", "tenant", "key")


class LimitRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """`rate` tasks may start per `per_s` seconds, `burst` of them at once (default: `rate`).
    `max_waiting` caps the backlog and is honoured for `queue:` names; `None` means no cap."""

    max_running: int | None = None
    rate: int | None = None
    per_s: float = 1.0
    burst: int | None = None
    max_waiting: int | None = None

    @property
    def interval_us(self) -> float:
        """The bucket gains one task every so many microseconds."""
        return self.per_s * SECOND_US / (self.rate or 1)


# Stands in for a rule that cannot be read: nothing starts, as lifting a limit by accident may do more harm.
CLOSED = LimitRule(max_running=0)


def is_sound(rule: LimitRule) -> bool:
    """Whether the rule can be reckoned with; doors refuse others, so that one was written by hand."""
    counts = (rule.max_running, rule.rate, rule.burst, rule.max_waiting)
    return rule.per_s > 0 and rule.rate != 0 and all(count is None or count >= 0 for count in counts)


class LimitState(msgspec.Struct):
    """What a name has in use: `running` leases, and the bucket's theoretical arrival time."""

    running: int = 0
    arrival_us: float = 0.0


def names(lane: Lane) -> tuple[str, ...]:
    """Every name whose limit a task of this lane falls under."""
    found = (f"queue:{lane.queue}", f"kind:{lane.kind}", f"tenant:{lane.tenant}")
    return (*found, f"key:{lane.key}") if lane.key else found


def rule_for(name: str, rules: Mapping[str, LimitRule]) -> LimitRule | None:
    """The name's own rule, else its family's `*` rule, else none."""
    return rules.get(name) or rules.get(name.split(":", 1)[0] + ":*")


def ruled(lane: Lane, rules: Mapping[str, LimitRule]) -> Iterator[tuple[str, LimitRule]]:
    """Every limit that a task of this lane falls under, by the name whose slots it takes."""
    for name in names(lane):
        rule = rule_for(name, rules)
        if rule is not None:
            yield name, rule


def full_at_us(rule: LimitRule, now_us: int) -> float:
    """The arrival time of a name whose bucket is empty now: no start is ever booked beyond it."""
    return now_us + _burst(rule) * rule.interval_us


def refit(rule: LimitRule | None, state: LimitState, now_us: int) -> None:
    """Bring what was booked under another rule within reach of the one now in force. Else a limit that is
    raised from one an hour to a hundred a second would let the next task start only after that hour."""
    if rule is not None and rule.rate is not None:
        state.arrival_us = min(state.arrival_us, full_at_us(rule, now_us))


def allowance(rule: LimitRule, state: LimitState, now_us: int) -> int:
    """How many more tasks of this name may start now."""
    free = UNLIMITED if rule.max_running is None else rule.max_running - state.running
    if rule.rate is not None:
        # Never as a difference of two instants: a float holds those to a quarter of a microsecond only, so a
        # bucket for one, of 11,111.1 us, would never be found full.
        taken = max(0.0, state.arrival_us - now_us) / rule.interval_us
        # The small addition mends float division: 3 x 333,333.3 us must make 3 tasks, not 2.
        free = min(free, int(_burst(rule) - taken + 1e-6))
    return max(0, free)


def room_for(
    lane: Lane,
    paused: Container[str],
    rules: Mapping[str, LimitRule],
    usage: Mapping[str, LimitState],
    now_us: int,
) -> int:
    """How many tasks of the lane may start now, by its queue's pause and by every limit on it.

    Boards rank by it, stores guard their claims by it, and `explain` names what makes it 0."""
    if lane.queue in paused:
        return 0
    free = UNLIMITED
    if rules:
        for name, rule in ruled(lane, rules):
            free = min(free, allowance(rule, usage.get(name) or LimitState(), now_us))
    return free


def start(rule: LimitRule, state: LimitState, count: int, now_us: int) -> None:
    """Book `count` started tasks."""
    state.running += count
    if rule.rate is not None:
        state.arrival_us = max(state.arrival_us, now_us) + count * rule.interval_us


def opens_at_us(rule: LimitRule, state: LimitState, now_us: int) -> int | None:
    """When time alone lets the next task start; `None` if it must wait for a slot."""
    if rule.max_running is not None and state.running >= rule.max_running:
        return None
    if rule.rate is None:
        return now_us
    return max(now_us, int(state.arrival_us - (_burst(rule) - 1) * rule.interval_us))


def _burst(rule: LimitRule) -> int:
    return rule.burst if rule.burst is not None else rule.rate or 0
