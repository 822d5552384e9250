"""Claiming: the heads of lanes, under every guard that a node's board may have missed."""

from typing import Any

from mainspring.core.lifecycle import Cause
from mainspring.core.limits import UNLIMITED
from mainspring.core.model import Lane, Lease, State
from mainspring.errors import StoreError
from mainspring.ports import Ask, Claimed
from mainspring.stores.sqlite.limits import Usage
from mainspring.stores.sqlite.rows import LEASE, fetch_leases
from mainspring.stores.sqlite.transaction import Transaction

# The line's first tasks that may still start: exactly at its deadline a task may, after it `overdue`
# fails it. No two tasks of the store share a place, so the last place taken bounds the update exactly.
IN_LINE = (
    " FROM tasks INDEXED BY tasks_ready"
    " WHERE lane = ?1 AND state = 3 AND (deadline_us IS NULL OR deadline_us >= ?2)"
)
HEADS = (
    "SELECT id, max(token + 1, ?3), payload, attempt + 1, retries, losses, snoozes, policy, timeout_us,"
    f" deadline_us, checkpoint, attempts, labels, seq{IN_LINE} ORDER BY seq LIMIT ?4"
)
MORE = f"SELECT EXISTS (SELECT 1{IN_LINE} AND seq > ?3)"
TIMEOUT_AT = (
    "CASE WHEN timeout_us IS NULL THEN deadline_us WHEN deadline_us IS NULL THEN ?2 + timeout_us"
    " ELSE min(?2 + timeout_us, deadline_us) END"
)
GRANT = (
    "UPDATE tasks INDEXED BY tasks_ready SET state = 4, token = max(token + 1, ?3), version = ?3,"
    " attempt = attempt + 1, started_at_us = ?2, end_us = ?4, claimant = ?5, claim_seq = ?6,"
    f" timeout_at_us = {TIMEOUT_AT}"
    " WHERE lane = ?1 AND state = 3 AND seq <= ?7 AND (deadline_us IS NULL OR deadline_us >= ?2)"
)
FIND_CLAIMANT = "SELECT n, claim_seq FROM claimants WHERE incarnation = ?"
PUT_CLAIMANT = (
    "INSERT INTO claimants (incarnation, worker, claim_seq, seen_us) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (incarnation) DO UPDATE SET worker = excluded.worker, claim_seq = excluded.claim_seq,"
    " seen_us = excluded.seen_us RETURNING n"
)
STILL_HELD = (
    f"SELECT {LEASE} FROM tasks t INDEXED BY tasks_running JOIN claimants c ON c.n = t.claimant"
    " WHERE t.state = 4 AND t.claimant = ? AND t.claim_seq = ? ORDER BY t.seq"
)
LEADS = "SELECT EXISTS (SELECT 1 FROM term WHERE number = ? AND expires_us > ?)"


def claim(tx: Transaction, ask: Ask, usage: Usage | None) -> Claimed:
    """Grant up to `ask.limit` leases. `usage` is what limits have in use, `None` if there are none."""
    known = tx.db.execute(FIND_CLAIMANT, (ask.incarnation,)).fetchone()
    if known is not None and ask.claim_seq <= known[1]:
        # The answer to a repeated claim: its first answer may have been lost on the way.
        return Claimed(fetch_leases(tx.db, tx.lanes, STILL_HELD, (known[0], ask.claim_seq)))
    if ask.term is not None and not tx.db.execute(LEADS, (ask.term, tx.now_us)).get:
        return Claimed([])
    claimed = Claimed([], [])
    claimant: int | None = None
    for lane_id, limit in ask.lanes:
        wanted = min(limit, ask.limit - len(claimed.leases))
        lane = tx.lanes.get(lane_id)
        if lane is None:
            claimed.empty.append(lane_id)
        elif wanted > 0:
            wanted = min(wanted, _room(tx, lane, usage))
            heads = tx.db.execute(HEADS, (lane_id, tx.now_us, tx.last_minted_us + 1, wanted)).fetchall()
            if heads:
                if claimant is None:
                    claimant = _put_claimant(tx, ask)
                claimed.leases += _grant(tx, ask, claimant, lane_id, lane, heads)
                if usage is not None:
                    usage.start(lane, len(heads))
            last = heads[-1][-1] if heads else -1
            if len(heads) < wanted or not tx.db.execute(MORE, (lane_id, tx.now_us, last)).get:
                claimed.empty.append(lane_id)
    return claimed


def _room(tx: Transaction, lane: Lane, usage: Usage | None) -> int:
    if lane.queue in tx.paused:
        return 0
    return UNLIMITED if usage is None else usage.room(lane)


def _put_claimant(tx: Transaction, ask: Ask) -> int:
    return int(tx.db.execute(PUT_CLAIMANT, (ask.incarnation, ask.worker, ask.claim_seq, tx.now_us)).get)


def _grant(
    tx: Transaction, ask: Ask, claimant: int, lane_id: int, lane: Lane, heads: list[Any]
) -> list[Lease]:
    """Lease the heads of one lane, in one statement."""
    now_us, until_us, worker = tx.now_us, tx.now_us + ask.lease_us, ask.worker
    before = tx.db.total_changes()
    stamp, last = tx.mint(), heads[-1][-1]
    tx.db.execute(GRANT, (lane_id, now_us, stamp, until_us, claimant, ask.claim_seq, last))
    if tx.db.total_changes() - before != len(heads):
        raise StoreError(f"lane {lane_id} changed under a claim; nothing was granted")
    tx.count(lane.queue, State.READY, -len(heads))
    tx.count(lane.queue, State.RUNNING, len(heads))
    leases = [
        Lease(
            task, token, lane_id, lane, payload, attempt, retries, losses, snoozes, policy, timeout_us,
            deadline_us, checkpoint, attempts, labels, now_us, until_us, worker,
        )
        for task, token, payload, attempt, retries, losses, snoozes, policy, timeout_us, deadline_us,
        checkpoint, attempts, labels, _ in heads
    ]  # fmt: skip
    if tx.steps is not None:
        for lease in leases:
            tx.record(lease.task, State.READY, Cause.CLAIM, State.RUNNING, lease.attempt, lease.token)
    return leases
