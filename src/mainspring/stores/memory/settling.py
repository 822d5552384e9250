"""Settling: reports, renewals and checkpoints, all fenced by the token that the claim minted."""

from collections.abc import Sequence

from mainspring.core.lifecycle import Cause, is_repeated
from mainspring.core.model import Lease, State
from mainspring.ports import Answer, Append, Held, Recall, Recalled, Refused, Renewal, Settlement
from mainspring.stores.memory import progress
from mainspring.stores.memory.claiming import start_run
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.reading import lease_of
from mainspring.stores.memory.tables import Row
from mainspring.verbs import lease_lost


def settle(call: Call, line: Settlement) -> Answer:
    row = call.tables.rows.get(line.task)
    if row is None:
        return Answer.LOST
    if row.state is not State.RUNNING or row.token != line.token or not line.lane_id:
        repeated = is_repeated(line.token, line.digest, row.settled_token, row.settled_digest)
        return Answer.ALREADY if repeated else Answer.LOST
    if line.only_if_lapsed and not _lapsed(call, row):
        return Answer.LOST
    cancelled = row.cancel_requested_at_us is not None
    change = line.if_cancelled if cancelled else line.change
    row.settled_token, row.settled_digest = line.token, line.digest
    row.attempt, row.retries, row.losses, row.snoozes = (
        change.attempt, change.retries, change.losses, change.snoozes,
    )  # fmt: skip
    row.result, row.error, row.attempts = change.result, change.error, change.attempts
    row.fingerprint = change.fingerprint
    if change.state is State.SCHEDULED:
        row.run_at_us = call.now_us + change.delay_us
    call.move(row, change.cause, change.state)
    return Answer.CANCEL if cancelled and change.state is State.CANCELLED else Answer.OK


def renew(call: Call, renewal: Renewal) -> list[Answer]:
    named = {held.task for held in renewal.held if _holder(call, held) is not None}
    answers = [_renew_line(call, held, renewal.lease_us) for held in renewal.held]
    for task in list(call.tables.held.get(renewal.incarnation, ())):
        row = call.tables.rows[task]
        if task not in named and row.claim_seq <= renewal.claim_seq:
            _hand_back(call, row)
    return answers


def _renew_line(call: Call, held: Held, lease_us: int) -> Answer:
    row = _holder(call, held)
    if row is None:
        return Answer.LOST
    row.lease_until_us = call.now_us + lease_us
    if not held.started:
        start_run(call, row)
    return Answer.OK if row.cancel_requested_at_us is None else Answer.CANCEL


def _hand_back(call: Call, row: Row) -> None:
    """The worker never learned of this lease: the task did not run, so nothing is counted."""
    row.attempt -= 1
    if row.cancel_requested_at_us is not None:
        call.move(row, Cause.CANCEL, State.CANCELLED)
    else:
        call.move(row, Cause.RELEASE, State.READY)


def append(call: Call, line: Append) -> Answer:
    row = _holder(call, Held(line.task, line.token))
    if row is None:
        return Answer.LOST
    progress.record(call, row, line)
    return Answer.OK


def recall(call: Call, line: Recall) -> Recalled | Refused:
    row = _holder(call, Held(line.task, line.token))
    return lease_lost(line.task) if row is None else progress.recalled(call.tables, row, line)


def expired(call: Call, limit: int) -> list[Lease]:
    lapsed = [row for row in _running(call) if _lapsed(call, row)]
    lapsed.sort(key=lambda row: row.lease_until_us or 0)
    return [lease_of(row) for row in lapsed[:limit]]


def overrun(call: Call, limit: int, grace_us: int) -> list[Lease]:
    """Runs past their timeout or deadline by `grace_us`, the longest overdue first."""
    late = [
        (row.timeout_at_us, row.ordinal, row)
        for row in _running(call)
        if row.timeout_at_us is not None and row.timeout_at_us + grace_us <= call.now_us
    ]
    return [lease_of(row) for _, _, row in sorted(late, key=lambda entry: entry[:2])[:limit]]


def leases(call: Call, lines: Sequence[Held]) -> list[Lease | None]:
    rows = [_holder(call, held) for held in lines]
    return [None if row is None else lease_of(row) for row in rows]


def _holder(call: Call, held: Held) -> Row | None:
    row = call.tables.rows.get(held.task)
    return row if row is not None and row.state is State.RUNNING and row.token == held.token else None


def _running(call: Call) -> list[Row]:
    return [call.tables.rows[task] for task in call.tables.running]


def _lapsed(call: Call, row: Row) -> bool:
    return row.lease_until_us is not None and row.lease_until_us <= call.now_us
