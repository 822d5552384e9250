"""Numbers by queue and state, limits, shares, keys, workers, the leader's term."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
from asyncpg import Record

from mainspring.core.laws import LONGEST_TERM_US, arrival_breach, count_breach
from mainspring.core.limits import rule_for
from mainspring.core.model import SECOND_US, State
from mainspring.ports import WorkerInfo
from mainspring.stores.postgres.limits import read_rule
from mainspring.stores.postgres.transaction import Transaction
from mainspring.verbs.audit import Finding

# A slice counts anew what it can count in some milliseconds; `inspect` counts all.
COUNTED_AT_ONCE = 20_000
# The states whose rows have an index of their own.
COUNT_SOME: Mapping[State, str] = {
    State.SCHEDULED: "count_scheduled",
    State.READY: "count_ready",
    State.RUNNING: "count_running",
    State.FAILED: "count_failed",
    State.CANCELLED: "count_cancelled",
}

Counts = dict[tuple[str, int], int]

_ids = msgspec.json.Decoder(tuple[str, ...])
_info = msgspec.json.Decoder(WorkerInfo)

T = TypeVar("T")


async def booked_counts(tx: Transaction) -> Counts:
    return {(row["queue"], row["state"]): row["n"] for row in await tx.rows("booked_counts")}


async def counted_anew(tx: Transaction) -> Counts:
    """Every task, by queue and state. Reads the whole table. Rows that nothing may be booked for, without a
    lane or in no known state, are left out: what is wrong with them is told of themselves."""
    await tx.rows("unpin")
    return await _by_queue(tx, await tx.rows("count_all"))


async def counted_some(tx: Transaction) -> Counts:
    """The numbers that can be counted at once; a place that is not told was not counted."""
    booked = await booked_counts(tx)
    if await tx.value("few_tasks", COUNTED_AT_ONCE):
        return dict.fromkeys(booked, 0) | await counted_anew(tx)
    told: Counts = {}
    for state, statement in COUNT_SOME.items():
        rows = await tx.rows(statement, COUNTED_AT_ONCE + 1)
        if sum(row["n"] for row in rows) <= COUNTED_AT_ONCE:
            told.update({place: 0 for place in booked if place[1] == state})
            told.update(await _by_queue(tx, rows))
    return told


async def _by_queue(tx: Transaction, rows: Sequence[Record]) -> Counts:
    await tx.find_lanes({row["lane_id"] for row in rows})
    found: Counter[tuple[str, int]] = Counter()
    for row in rows:
        lane = tx.lane(row["lane_id"])
        if lane is not None and 1 <= row["state"] <= len(State):
            found[lane.queue, row["state"]] += row["n"]
    return dict(found)


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


async def small_findings(tx: Transaction) -> list[Finding]:
    """Breaches in the tables that are few rows each."""
    return [*await _limits(tx), *await _shares(tx), *await _workers(tx), *await _term(tx)]


async def _limits(tx: Transaction) -> list[Finding]:
    rules, found = {}, []
    for row in await tx.rows("rules"):
        name, rule = row["name"], read_rule(row["rule"])
        if rule is not None:
            rules[name] = rule
        else:
            detail = "its rule cannot be read: set it anew, or remove it"
            found.append(Finding("unreadable_limit", f"limit {name}", detail, ("limit", name)))
    for row in await tx.rows("arrivals"):
        name = row["name"]
        breach = arrival_breach(rule_for(name, rules), row["arrival_us"], tx.now_us)
        if breach is not None:
            found.append(Finding(breach.law, f"limit {name}", breach.detail, ("arrival", name)))
    return found


async def _shares(tx: Transaction) -> list[Finding]:
    return [
        Finding(
            "unreadable_share",
            f"share of tenant {row['tenant']}",
            f"weight {row['weight']}, {row['virtual_us']} us used",
            ("share", row["tenant"]),
        )
        for row in await tx.rows("bad_shares")
    ]


async def _workers(tx: Transaction) -> list[Finding]:
    told = "its report cannot be read"
    return [
        Finding("unreadable_worker", f"worker {row['worker']}", told, ("worker", row["worker"]))
        for row in await tx.rows("worker_reports")
        if readable_worker(row["info"]) is None
    ]


async def _term(tx: Transaction) -> list[Finding]:
    left_us = (await tx.value("term_ends") or 0) - tx.now_us
    if left_us <= LONGEST_TERM_US:
        return []
    detail = f"it ends in {left_us // SECOND_US} s, and nobody else can lead until then"
    return [Finding("endless_term", "the leader's term", detail, ("term",))]


async def keys(
    tx: Transaction, after: tuple[str, str], limit: int
) -> tuple[list[Finding], list[tuple[str, str]]]:
    rows = await tx.rows("keys_after", *after, limit)
    told = "the tasks that it made cannot be read"
    found = [
        Finding(
            "unreadable_key", f"idempotency key {row['key']}", told, ("key", row["principal"], row["key"])
        )
        for row in rows
        if not readable_ids(row["tasks"])
    ]
    return found, [(row["principal"], row["key"]) for row in rows]


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
