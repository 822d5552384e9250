"""Numbers by queue and state, lanes, limits, shares, workers, groups of dead letters, the leader's term."""

from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite
from typing import Any, NamedTuple

import msgspec

from mainspring.core.laws import CLOCK_MAY_BE_AHEAD_US, LONGEST_TERM_US, arrival_breach, count_breach
from mainspring.core.limits import LimitRule, is_sound, rule_for
from mainspring.core.model import SECOND_US, State
from mainspring.ports import WorkerInfo
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import Reply, unpack
from mainspring.verbs.audit import Finding

# A script holds up everybody: so many lanes, running tasks and groups are counted anew in a slice, and tasks.
COUNTED_AT_ONCE = 20_000
TASKS_COUNTED_AT_ONCE = 5_000
ALL = 1 << 31

Counts = dict[tuple[str, int], int]
_rule = msgspec.json.Decoder(LimitRule)
_info = msgspec.json.Decoder(WorkerInfo)


class LaneUse(NamedTuple):
    """A lane's number of tasks, as booked and as counted (`None`: it was not), and whether its name leads to
    its number."""

    number: str
    booked: int
    counted: int | None
    queue: str | None
    is_named: bool


class Books(NamedTuple):
    """What is booked, and what there really is; `None` where that was not counted."""

    now_us: int
    counts: Counts
    counted: Counts | None
    lanes: list[LaneUse]
    rules: Mapping[str, LimitRule | None]
    arrivals: Mapping[str, float]
    running: Mapping[str, int]
    running_counted: Mapping[str, int] | None
    shares: Mapping[str, bytes]
    workers: Mapping[str, bytes]
    term_ends_us: int
    groups: list[tuple[str, int, int]]
    minted: int


async def read(db: Database, most: int = COUNTED_AT_ONCE, most_tasks: int = TASKS_COUNTED_AT_ONCE) -> Books:
    reply = await db.run("audit_books", most, most_tasks)
    (
        counts, counted, lanes, rules, arrivals, running, running_counted, shares, workers, term_ends_us,
        groups, minted,
    ) = reply.answers  # fmt: skip
    return Books(
        reply.now_us,
        {_place(place): _whole(reply.part(n)) for place, n in counts},
        None if counted is False else {_place(place): n for place, n in counted},
        [_lane(reply, told) for told in lanes or ()],
        {name: readable_rule(reply.part(text)) for name, text in rules},
        {name: float(score) for name, score in zip(arrivals[::2], arrivals[1::2], strict=True)},
        {name: _whole(reply.part(n)) for name, n in running},
        None if running_counted is False else dict(running_counted),
        {tenant: reply.part(text) or b"" for tenant, text in shares},
        {worker: reply.part(text) or b"" for worker, text in workers},
        term_ends_us,
        [(fingerprint, booked, there) for fingerprint, booked, there in groups],
        minted,
    )


def _place(text: str) -> tuple[str, int]:
    state, _, queue = text.partition(":")
    return queue, int(state) if state.isdigit() else 0


def _whole(text: bytes | None) -> int:
    return int(text) if text and text.removeprefix(b"-").isdigit() else 0


def _lane(reply: Reply, told: Sequence[Any]) -> LaneUse:
    number, booked, counted, queue, is_named = told
    return LaneUse(
        number, _whole(reply.part(booked)), None if counted is False else counted, queue or None, is_named
    )


# --- findings ---------------------------------------------------------------------------------------


def findings(books: Books) -> list[Finding]:
    return [
        *_counts(books), *_lanes(books), *_running(books), *_limits(books), *_shares(books), *_workers(books),
        *_groups(books), *_term(books), *_minted(books),
    ]  # fmt: skip


def _counts(books: Books) -> list[Finding]:
    found: list[Finding] = []
    if books.counted is None:
        return found
    for queue, state in sorted(books.counts.keys() | books.counted.keys()):
        breach = count_breach(books.counts.get((queue, state), 0), books.counted.get((queue, state), 0))
        if breach is not None:
            label = State(state).label if 1 <= state <= len(State) else str(state)
            subject = f"number of {label} tasks in queue {queue}"
            found.append(Finding(breach.law, subject, breach.detail, ("count", queue, state)))
    return found


def _lanes(books: Books) -> list[Finding]:
    found = []
    for lane in books.lanes:
        subject, key = f"lane {lane.number}", ("lane", lane.number)
        if lane.counted is not None and lane.booked != lane.counted:
            detail = f"{lane.booked} tasks are booked, {lane.counted} are there"
            found.append(Finding("stray_lane", subject, detail, key))
        elif lane.queue is not None and not lane.is_named:
            found.append(Finding("damaged_index", subject, "its name does not lead to it", key))
    return found


def _running(books: Books) -> list[Finding]:
    counted = books.running_counted
    if counted is None:
        return []
    return [
        Finding(
            "limit_usage",
            f"limit {name}",
            f"{books.running.get(name, 0)} running tasks are booked, {counted.get(name, 0)} are there",
            ("running", name),
        )
        for name in sorted(books.running.keys() | counted.keys())
        if books.running.get(name, 0) != counted.get(name, 0)
    ]


def _limits(books: Books) -> list[Finding]:
    found = []
    for name, rule in books.rules.items():
        if rule is None:
            detail = "its rule cannot be read: set it anew, or remove it"
            found.append(Finding("unreadable_limit", f"limit {name}", detail, ("limit", name)))
    readable = {name: rule for name, rule in books.rules.items() if rule is not None}
    for name, arrival_us in books.arrivals.items():
        breach = arrival_breach(rule_for(name, readable), arrival_us, books.now_us)
        if breach is not None:
            found.append(Finding(breach.law, f"limit {name}", breach.detail, ("arrival", name)))
    return found


def _shares(books: Books) -> list[Finding]:
    return [
        Finding("unreadable_share", f"share of tenant {tenant}", f"it is {text!r}", ("share", tenant))
        for tenant, text in books.shares.items()
        if readable_share(text) is None
    ]


def _workers(books: Books) -> list[Finding]:
    told = "its report cannot be read"
    return [
        Finding("unreadable_worker", f"worker {worker}", told, ("worker", worker))
        for worker, text in books.workers.items()
        if not readable_worker(text)
    ]


def _groups(books: Books) -> list[Finding]:
    return [
        Finding(
            "damaged_index",
            f"dead letters of {fingerprint}",
            f"{booked} are booked, {there} are there",
            ("group", fingerprint),
        )
        for fingerprint, booked, there in books.groups
    ]


def _term(books: Books) -> list[Finding]:
    left_us = books.term_ends_us - books.now_us
    if left_us <= LONGEST_TERM_US:
        return []
    detail = f"it ends in {left_us // SECOND_US} s, and nobody else can lead until then"
    return [Finding("endless_term", "the leader's term", detail, ("term",))]


def _minted(books: Books) -> list[Finding]:
    """Tokens and versions are given out by the clock: far ahead of it nobody could tell late ones."""
    ahead_us = books.minted - books.now_us
    if ahead_us <= CLOCK_MAY_BE_AHEAD_US:
        return []
    detail = f"they are {ahead_us // SECOND_US} s ahead of the server's clock"
    return [Finding("clock_ahead", "the numbers given out", detail, ("minted",))]


# --- texts ------------------------------------------------------------------------------------------


def readable_rule(text: bytes | None) -> LimitRule | None:
    fields = _read(unpack, text)
    if not isinstance(fields, list) or not fields or not isinstance(fields[-1], str):
        return None
    rule: LimitRule | None = _read(_rule.decode, fields[-1].encode())
    return rule if rule is not None and is_sound(rule) else None


def readable_share(text: bytes) -> tuple[float, float] | None:
    fields = _read(unpack, text)
    if not isinstance(fields, list) or len(fields) != 2:
        return None
    weight, virtual_us = fields
    if not all(isinstance(value, int | float) for value in fields):
        return None
    return (weight, virtual_us) if 0 < weight < inf and isfinite(virtual_us) else None


def readable_worker(text: bytes) -> bool:
    fields = _read(unpack, text)
    if not isinstance(fields, list) or len(fields) != 3 or not isinstance(fields[2], str):
        return False
    return _read(_info.decode, fields[2].encode()) is not None


def _read(decode: Callable[[bytes], Any], text: bytes | None) -> Any:
    """`None` for what cannot be read."""
    try:
        return None if text is None else decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None
