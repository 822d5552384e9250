"""Limits: what their names have in use, counted from the running rows themselves, so that no number
can drift from the truth. Nothing here is asked while there are no rules."""

from collections.abc import Iterable, Mapping

import msgspec

from mainspring.core.limits import CLOSED, LimitRule, LimitState, is_sound, names, rule_for, start
from mainspring.core.model import Lane
from mainspring.stores.sqlite.connection import Database
from mainspring.stores.sqlite.lanes import Lanes

RUNNING_BY_LANE = "SELECT lane, count(*) FROM tasks INDEXED BY tasks_running WHERE state = 4 GROUP BY lane"
READ_ARRIVALS = "SELECT name, arrival_us FROM arrivals"
PUT_ARRIVAL = (
    "INSERT INTO arrivals (name, arrival_us) VALUES (?, ?)"
    " ON CONFLICT (name) DO UPDATE SET arrival_us = excluded.arrival_us"
)
DROP_ARRIVALS = "DELETE FROM arrivals WHERE arrival_us <= ?"

_rule = msgspec.json.Decoder(LimitRule)


def stored_rules(db: Database) -> dict[str, LimitRule]:
    stored = db.execute("SELECT name, rule FROM limits")
    return {name: read_rule(rule) or CLOSED for name, rule in stored}


def read_rule(stored: bytes) -> LimitRule | None:
    """`None` for one that cannot be read or makes no sense: it must not keep all other tasks from running."""
    try:
        rule = _rule.decode(stored)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return rule if is_sound(rule) else None


class Usage:
    """What limited names have in use, as of one moment of one connection."""

    def __init__(self, db: Database, lanes: Lanes, rules: dict[str, LimitRule], now_us: int) -> None:
        self._db = db
        self._rules = rules
        self._now_us = now_us
        self._started: set[str] = set()
        self.states: dict[str, LimitState] = {}
        for name, arrival_us in db.execute(READ_ARRIVALS):
            if arrival_us > now_us:
                self.states[name] = LimitState(0, arrival_us)
        for lane_id, count in db.execute(RUNNING_BY_LANE).fetchall():
            for name in names(lanes.by_id(lane_id)):
                if rule_for(name, rules) is not None:
                    self.states.setdefault(name, LimitState()).running += count

    def start(self, lane: Lane, count: int) -> None:
        for name in names(lane):
            rule = rule_for(name, self._rules)
            if rule is not None:
                start(rule, self.states.setdefault(name, LimitState()), count, self._now_us)
                if rule.rate is not None:
                    self._started.add(name)

    def store(self) -> None:
        """Write the arrival times that starts have moved."""
        if self._started:
            self._db.executemany(
                PUT_ARRIVAL, [(name, self.states[name].arrival_us) for name in self._started]
            )

    def limited(self, freed: Iterable[Lane] = ()) -> Mapping[str, LimitState]:
        """What names under a limit have in use, those of the `freed` lanes included."""
        for lane in freed:
            for name in names(lane):
                self.states.setdefault(name, LimitState())
        return {name: state for name, state in self.states.items() if rule_for(name, self._rules) is not None}
