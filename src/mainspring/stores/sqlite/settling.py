"""Settling: how leases end. Every line is fenced by the token that the claim minted.

Most lines report a success, and most of those differ in nothing but the task and its token: they are
written together, by one statement that counts the rows it found. Only if a line is missing are the lines
looked at singly, and every other kind of report is.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

from msgspec.json import encode

from mainspring.core.lifecycle import Cause, is_repeated
from mainspring.core.model import State
from mainspring.ports import Answer, Settlement
from mainspring.stores.sqlite.moves import move
from mainspring.stores.sqlite.rows import NULL, STORED_NULL, rows_by_id, texts
from mainspring.stores.sqlite.transaction import Transaction

SHARED_RESULT_BYTES = 64

SUCCEED = (
    "UPDATE tasks INDEXED BY tasks_id SET state = 5, end_us = ?2, version = ?3, settled_token = token,"
    " settled_digest = ?4, attempt = ?5, retries = ?6, losses = ?7, snoozes = ?8, result = ?9,"
    " attempts = ?10, error = NULL, timeout_at_us = NULL"
    " WHERE {which} AND state = 4"
)
SUCCEED_MANY = SUCCEED.format(which="(id, token) IN (SELECT key, value FROM json_each(?1))")
SUCCEED_ONE = SUCCEED.format(which="id = ?1 AND token = ?11")
WRITTEN_NOW = "SELECT id FROM tasks INDEXED BY tasks_id WHERE id IN carray(?) AND version = ?"

# What the lines of one statement share: digest, attempt, retries, losses, snoozes, result.
Shared: TypeAlias = tuple[int, int, int, int, int, bytes | None]
Parting: TypeAlias = tuple[dict[Shared, list[Settlement]], list[Settlement], list[int]]


def settle(tx: Transaction, lines: Sequence[Settlement]) -> list[Answer]:
    """One answer per line. Of two lines for one task the second finds what the first has written."""
    answers = [Answer.OK] * len(lines)
    if len({line.task for line in lines}) == len(lines):
        known = {lane_id for lane_id in {line.lane_id for line in lines} if tx.lanes.get(lane_id)}
        groups, singles, rest = _parted(lines, known)
        written = _succeed(tx, groups, singles)
        if written is not None:
            rest = [place for place, line in enumerate(lines) if line.task not in written]
    else:
        rest = list(range(len(lines)))
    for place in rest:
        answers[place] = _settle_one(tx, lines[place])
    return answers


def _parted(lines: Sequence[Settlement], known: set[int]) -> Parting:
    """Successes that can share a statement, other successes, and the places of all other lines. `known`
    are the lanes that exist."""
    groups: dict[Shared, list[Settlement]] = {}
    singles, rest = [], []
    for place, line in enumerate(lines):
        change = line.change
        if change.cause is not Cause.SUCCEED or change is not line.if_cancelled or line.only_if_lapsed:
            rest.append(place)
            continue
        if not line.task.isascii() or line.token >> 63 or line.lane_id not in known:
            # Hardly a lease of ours: looked at singly, where it cannot spoil a statement of others.
            rest.append(place)
            continue
        result = _stored(change.result)
        if change.attempts is not None or (result is not None and len(result) > SHARED_RESULT_BYTES):
            singles.append(line)
            continue
        shared = (
            line.digest, change.attempt, change.retries, change.losses, change.snoozes, result,
        )  # fmt: skip
        group = groups.get(shared)
        if group is None:
            groups[shared] = [line]
        else:
            group.append(line)
    return groups, singles, rest


def _stored(result: bytes | None) -> bytes | None:
    return STORED_NULL if result == NULL else result


def _succeed(
    tx: Transaction, groups: dict[Shared, list[Settlement]], singles: list[Settlement]
) -> set[str] | None:
    """Write the successes. `None` if every row was as its line says, else the tasks that were written."""
    db, now_us, stamp = tx.db, tx.now_us, tx.mint()
    before = db.total_changes()
    lines: list[Settlement] = []
    for shared, group in groups.items():
        if len(group) == 1:
            singles += group
        else:
            leases = encode({line.task: line.token for line in group}).decode()
            db.execute(SUCCEED_MANY, (leases, now_us, stamp, *shared, None))
            lines += group
    if singles:
        db.executemany(SUCCEED_ONE, [_values(line, now_us, stamp) for line in singles])
        lines += singles
    if db.total_changes() - before == len(lines):
        _book(tx, lines)
        return None
    written = {task for (task,) in db.execute(WRITTEN_NOW, (texts([line.task for line in lines]), stamp))}
    _book(tx, [line for line in lines if line.task in written])
    return written


def _values(line: Settlement, now_us: int, stamp: int) -> tuple[Any, ...]:
    change = line.change
    return (
        line.task, now_us, stamp, line.digest, change.attempt, change.retries, change.losses,
        change.snoozes, _stored(change.result), change.attempts, line.token,
    )  # fmt: skip


def _book(tx: Transaction, lines: Sequence[Settlement]) -> None:
    """What follows from successes that were written."""
    for lane_id, count in Counter([line.lane_id for line in lines]).items():
        queue = tx.lanes.by_id(lane_id).queue
        tx.count(queue, State.RUNNING, -count)
        tx.count(queue, State.SUCCEEDED, count)
        tx.freed.add(lane_id)
    tx.finished += [line.task for line in lines]
    if tx.steps is not None:
        for line in lines:
            attempt = line.change.attempt
            tx.record(line.task, State.RUNNING, Cause.SUCCEED, State.SUCCEEDED, attempt, line.token)


def _settle_one(tx: Transaction, line: Settlement) -> Answer:
    row = rows_by_id(tx.db, (line.task,)).get(line.task)
    if row is None:
        return Answer.LOST
    if row.state is not State.RUNNING or row.token != line.token or not line.lane_id:
        repeated = is_repeated(line.token, line.digest, row.settled_token, row.settled_digest)
        return Answer.ALREADY if repeated else Answer.LOST
    if line.only_if_lapsed and row.end_us > tx.now_us:
        return Answer.LOST
    cancelled = row.cancel_requested_at_us is not None
    change = line.if_cancelled if cancelled else line.change
    columns: dict[str, object] = {}
    if change.state is State.SCHEDULED:
        columns["run_at_us"] = tx.now_us + change.delay_us
    elif change.state is State.FAILED:
        columns["fingerprint"] = change.fingerprint
    move(
        tx, row, change.cause, change.state,
        settled_token=line.token, settled_digest=line.digest,
        attempt=change.attempt, retries=change.retries, losses=change.losses, snoozes=change.snoozes,
        result=_stored(change.result), error=change.error, attempts=change.attempts, **columns,
    )  # fmt: skip
    return Answer.CANCEL if cancelled and change.state is State.CANCELLED else Answer.OK
