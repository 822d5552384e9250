"""Numbers by queue and state, limits, shares, keys, workers, the leader's term, the store's clock."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from mainspring.core.laws import CLOCK_MAY_BE_AHEAD_US, LONGEST_TERM_US, arrival_breach, count_breach
from mainspring.core.limits import rule_for
from mainspring.core.model import SECOND_US, State
from mainspring.ports import WorkerInfo
from mainspring.stores.sqlite.connection import Database
from mainspring.stores.sqlite.limits import read_rule
from mainspring.verbs.audit import Finding

# A slice counts anew what it can count in some milliseconds; `inspect` counts all.
COUNTED_AT_ONCE = 20_000

READ_COUNTS = "SELECT queue, state, n FROM counts"
READ_QUEUES = "SELECT id, queue FROM lanes"
FEW = (
    f"SELECT count(*) <= {COUNTED_AT_ONCE} FROM"
    f" (SELECT 1 FROM tasks INDEXED BY tasks_id LIMIT {COUNTED_AT_ONCE + 1})"
)
COUNT_ALL = "SELECT lane, state, count(*) FROM tasks GROUP BY lane, state"
_SOME = (
    "SELECT lane, {state}, count(*) FROM"
    " (SELECT lane FROM tasks INDEXED BY {index} WHERE {which} LIMIT ?) GROUP BY lane"
)
# The states whose rows have an index of their own. The index's condition is repeated word for word.
COUNT_SOME: Mapping[State, str] = {
    State.SCHEDULED: _SOME.format(state=2, index="tasks_scheduled", which="state = 2"),
    State.READY: _SOME.format(state=3, index="tasks_ready", which="state = 3"),
    State.RUNNING: _SOME.format(state=4, index="tasks_running", which="state = 4"),
    State.FAILED: _SOME.format(state=6, index="tasks_ended_badly", which="state >= 6 AND state = 6"),
    State.CANCELLED: _SOME.format(state=7, index="tasks_ended_badly", which="state >= 6 AND state = 7"),
}
BAD_SHARE = "NOT (weight > 0 AND weight < 9e999 AND abs(virtual_us) < 9e999)"
READ_KEYS = (
    "SELECT principal, key, tasks FROM idempotency WHERE (principal, key) > (?, ?)"
    " ORDER BY principal, key LIMIT ?"
)

Counts = dict[tuple[str, int], int]

_ids = msgspec.json.Decoder(tuple[str, ...])
_info = msgspec.json.Decoder(WorkerInfo)

T = TypeVar("T")


def booked_counts(db: Database) -> Counts:
    return {(queue, state): n for queue, state, n in db.execute(READ_COUNTS)}


def counted_anew(db: Database) -> Counts:
    """Every task, by queue and state. Reads the whole table. Rows that nothing may be booked for, without a
    lane or in no known state, are left out: what is wrong with them is told of themselves."""
    return _by_queue(db, db.execute(COUNT_ALL).fetchall())


def counted_some(db: Database) -> Counts:
    """The numbers that can be counted at once; a place that is not told was not counted."""
    if db.execute(FEW).get:
        found = counted_anew(db)
        return dict.fromkeys(booked_counts(db), 0) | found
    told: Counts = {}
    booked = booked_counts(db)
    for state, sql in COUNT_SOME.items():
        rows = db.execute(sql, (COUNTED_AT_ONCE + 1,)).fetchall()
        if sum(n for _, _, n in rows) <= COUNTED_AT_ONCE:
            told.update({place: 0 for place in booked if place[1] == state})
            told.update(_by_queue(db, rows))
    return told


def _by_queue(db: Database, rows: list[Any]) -> Counts:
    queues = dict(db.execute(READ_QUEUES)) if len(rows) > 1000 else None
    found: Counter[tuple[str, int]] = Counter()
    for lane, state, n in rows:
        queue = queues.get(lane) if queues is not None else _queue_of(db, lane)
        if queue is not None and 1 <= state <= len(State):
            found[queue, state] += n
    return dict(found)


def _queue_of(db: Database, lane: int) -> str | None:
    queue: str | None = db.execute("SELECT queue FROM lanes WHERE id = ?", (lane,)).get
    return queue


def count_findings(booked: Counts, counted: Counts) -> list[Finding]:
    """Of the places that were counted."""
    found = []
    for (queue, state), n in sorted(counted.items()):
        breach = count_breach(booked.get((queue, state), 0), n)
        if breach is not None:
            label = State(state).label if 1 <= state <= len(State) else str(state)
            subject = f"number of {label} tasks in queue {queue}"
            found.append(Finding(breach.law, subject, breach.detail, ("count", queue, state)))
    return found


def small_findings(db: Database, now_us: int, host_us: int) -> list[Finding]:
    """Breaches in the tables that are few rows each."""
    return [
        *_limits(db, now_us),
        *_shares(db),
        *_workers(db),
        *_term(db, now_us),
        *_clock(db, host_us),
    ]


def _limits(db: Database, now_us: int) -> list[Finding]:
    rules, found = {}, []
    for name, stored in db.execute("SELECT name, rule FROM limits").fetchall():
        rule = read_rule(stored)
        if rule is not None:
            rules[name] = rule
        else:
            detail = "its rule cannot be read: set it anew, or remove it"
            found.append(Finding("unreadable_limit", f"limit {name}", detail, ("limit", name)))
    for name, arrival_us in db.execute("SELECT name, arrival_us FROM arrivals").fetchall():
        breach = arrival_breach(rule_for(name, rules), arrival_us, now_us)
        if breach is not None:
            found.append(Finding(breach.law, f"limit {name}", breach.detail, ("arrival", name)))
    return found


def _shares(db: Database) -> list[Finding]:
    rows = db.execute(f"SELECT tenant, weight, virtual_us FROM shares WHERE {BAD_SHARE}")
    return [
        Finding(
            "unreadable_share",
            f"share of tenant {tenant}",
            f"weight {weight}, {us} us used",
            ("share", tenant),
        )
        for tenant, weight, us in rows.fetchall()
    ]


def _workers(db: Database) -> list[Finding]:
    return [
        Finding("unreadable_worker", f"worker {worker}", "its report cannot be read", ("worker", worker))
        for worker, info in db.execute("SELECT worker, info FROM workers").fetchall()
        if readable_worker(info) is None
    ]


def _term(db: Database, now_us: int) -> list[Finding]:
    left_us = db.execute("SELECT expires_us FROM term").get
    if left_us is None or left_us - now_us <= LONGEST_TERM_US:
        return []
    detail = f"it ends in {(left_us - now_us) // SECOND_US} s, and nobody else can lead until then"
    return [Finding("endless_term", "the leader's term", detail, ("term",))]


def _clock(db: Database, host_us: int) -> list[Finding]:
    ahead_us = db.execute("SELECT now_us FROM meta").get - host_us
    if ahead_us <= CLOCK_MAY_BE_AHEAD_US:
        return []
    detail = f"it is {ahead_us // SECOND_US} s ahead of this host's: leases and delays stand still until then"
    return [Finding("clock_ahead", "the store's clock", detail, ("clock",))]


def keys(db: Database, after: tuple[str, str], limit: int) -> tuple[list[Finding], list[tuple[str, str]]]:
    rows = db.execute(READ_KEYS, (*after, limit)).fetchall()
    told = "the tasks that it made cannot be read"
    found = [
        Finding("unreadable_key", f"idempotency key {key}", told, ("key", principal, key))
        for principal, key, tasks in rows
        if not readable_ids(tasks)
    ]
    return found, [(principal, key) for principal, key, _ in rows]


def readable_worker(stored: bytes) -> WorkerInfo | None:
    return _read(_info.decode, stored)


def readable_ids(stored: bytes) -> tuple[str, ...]:
    """Empty if they cannot be read: no key was ever given for no task."""
    return _read(_ids.decode, stored) or ()


def _read(decode: Callable[[bytes], T], stored: bytes) -> T | None:
    try:
        return decode(stored)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
