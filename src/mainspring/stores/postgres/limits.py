"""Limits: the rules in force, and what their names have in use, counted from the running rows themselves, so
that no number can drift from the truth. Nothing here is asked while there are no rules."""

from collections.abc import Iterable, Mapping

import msgspec
from asyncpg import Record

from mainspring.core.limits import CLOSED, LimitRule, LimitState, is_sound, names, rule_for, start
from mainspring.core.model import Lane

_rule = msgspec.json.Decoder(LimitRule)


def read_rule(stored: bytes) -> LimitRule | None:
    """`None` for one that cannot be read or makes no sense: it must not keep all other tasks from running."""
    try:
        rule = _rule.decode(stored)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return rule if is_sound(rule) else None


def rules_of(records: Iterable[Record]) -> dict[str, LimitRule]:
    return {record["name"]: read_rule(record["rule"]) or CLOSED for record in records}


class Usage:
    """What limited names have in use, as of one moment of one transaction."""

    def __init__(self, rules: Mapping[str, LimitRule], now_us: int) -> None:
        self._rules = rules
        self._now_us = now_us
        self.states: dict[str, LimitState] = {}
        self.booked: set[str] = set()

    def run(self, lane: Lane, count: int) -> None:
        """So many tasks of the lane run."""
        for name in names(lane):
            if rule_for(name, self._rules) is not None:
                self.states.setdefault(name, LimitState()).running += count

    def start(self, lane: Lane, count: int) -> None:
        for name in names(lane):
            rule = rule_for(name, self._rules)
            if rule is not None:
                start(rule, self.states.setdefault(name, LimitState()), count, self._now_us)
                if rule.rate is not None:
                    self.booked.add(name)

    def arrivals(self) -> tuple[list[str], list[float]]:
        """The arrival times that starts have moved."""
        moved = sorted(self.booked)
        return moved, [self.states[name].arrival_us for name in moved]

    def limited(self, freed: Iterable[Lane] = ()) -> Mapping[str, LimitState]:
        """What names under a limit have in use, those of the `freed` lanes included."""
        for lane in freed:
            self.run(lane, 0)
        return {name: state for name, state in self.states.items() if rule_for(name, self._rules) is not None}
