"""Claiming: the heads of lanes, under every guard that a node's board may have missed."""

from typing import Any

from mainspring.core.lifecycle import Cause
from mainspring.core.limits import room_for
from mainspring.core.model import Lane, Lease, State
from mainspring.errors import StoreError
from mainspring.ports import Ask, Claimed
from mainspring.stores.sqlite.limits import Usage
from mainspring.stores.sqlite.rows import LEASE, RESERVED, fetch_leases, numbers
from mainspring.stores.sqlite.transaction import Transaction
from mainspring.verbs import CLAIM_BYTES

# The line's first tasks that may still start: exactly at its deadline a task may, after it `overdue`
# fails it.
IN_LINE = (
    " FROM tasks INDEXED BY tasks_ready"
    " WHERE lane = ?1 AND state = 3 AND (deadline_us IS NULL OR deadline_us >= ?2)"
)
HEADS = (
    "SELECT n, id, payload, attempt + 1, retries, losses, snoozes, policy, timeout_us, deadline_us,"
    f" checkpoint, attempts, labels, fire_at_us, seq{IN_LINE} ORDER BY seq LIMIT ?3"
)
MORE = f"SELECT EXISTS (SELECT 1{IN_LINE} AND seq > ?3)"
TIMEOUT_AT = (
    "CASE WHEN timeout_us IS NULL THEN deadline_us WHEN deadline_us IS NULL THEN ?2 + timeout_us"
    " ELSE min(?2 + timeout_us, deadline_us) END"
)
# The array's rowid counts from 1: each lease gets a token of its own.
GRANT = (
    "UPDATE tasks SET state = 4, token = ?3 + heads.rowid, version = ?3 + heads.rowid,"
    " attempt = attempt + 1, started_at_us = ?2, end_us = ?4, claimant = ?5, claim_seq = ?6,"
    f" timeout_at_us = {TIMEOUT_AT} FROM carray(?1) heads WHERE tasks.n = heads.value"
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
    grant = _Grant(tx, ask)
    empty = []
    for lane_id, limit in ask.lanes:
        wanted = min(limit, ask.limit - len(grant.leases)) if grant.room_bytes > 0 else 0
        lane = tx.lanes.get(lane_id)
        if lane is None or (
            wanted > 0 and not grant.take(lane_id, lane, min(wanted, _room(tx, lane, usage)), usage)
        ):
            empty.append(lane_id)
    grant.write()
    return Claimed(grant.leases, empty)


def _room(tx: Transaction, lane: Lane, usage: Usage | None) -> int:
    return room_for(lane, tx.paused, tx.rules, {} if usage is None else usage.states, tx.now_us)


class _Grant:
    """The leases of one ask: taken lane by lane, written by one statement."""

    def __init__(self, tx: Transaction, ask: Ask) -> None:
        self._tx = tx
        self._ask = ask
        self._taken: list[int] = []
        self._lanes: set[int] = set()
        self.leases: list[Lease] = []
        self.room_bytes = CLAIM_BYTES

    def take(self, lane_id: int, lane: Lane, wanted: int, usage: Usage | None) -> bool:
        """Take up to `wanted` from the head of the lane. Says whether more could be claimed there."""
        tx = self._tx
        if lane_id in self._lanes:
            # An ask may name a lane twice, first for its oldest task alone.
            self.write()
        self._lanes.add(lane_id)
        heads = self._read(lane_id, wanted)
        if heads:
            self._lease(lane_id, lane, heads)
            if usage is not None:
                usage.start(lane, len(heads))
        last = heads[-1][-1] if heads else RESERVED
        is_cut = len(heads) == wanted or self.room_bytes <= 0
        return is_cut and bool(tx.db.execute(MORE, (lane_id, tx.now_us, last)).get)

    def _read(self, lane_id: int, wanted: int) -> list[Any]:
        """The first ones, until they are heavy."""
        heads = []
        room_bytes = self.room_bytes
        rows = self._tx.db.execute(HEADS, (lane_id, self._tx.now_us, wanted))
        for row in rows:
            heads.append(row)
            room_bytes -= len(row[2])
            if row[10] is not None or row[11] is not None:
                room_bytes -= len(row[10] or b"") + len(row[11] or b"")
            if room_bytes <= 0:
                rows.close()
                break
        self.room_bytes = room_bytes
        return heads

    def _lease(self, lane_id: int, lane: Lane, heads: list[Any]) -> None:
        tx, now_us, worker = self._tx, self._tx.now_us, self._ask.worker
        until_us = now_us + self._ask.lease_us
        tx.count(lane.queue, State.READY, -len(heads))
        tx.count(lane.queue, State.RUNNING, len(heads))
        self._taken += [head[0] for head in heads]
        self.leases += [
            Lease(
                task, token, lane_id, lane, payload, attempt, retries, losses, snoozes, policy, timeout_us,
                deadline_us, checkpoint, attempts, labels, now_us, until_us, worker, fire_at_us,
            )
            for token, (
                _, task, payload, attempt, retries, losses, snoozes, policy, timeout_us, deadline_us,
                checkpoint, attempts, labels, fire_at_us, _,
            ) in zip(tx.mint_many(len(heads)), heads, strict=True)
        ]  # fmt: skip

    def write(self) -> None:
        """Write what was taken since the last time."""
        taken, tx, ask = self._taken, self._tx, self._ask
        if not taken:
            return
        granted = self.leases[-len(taken) :]
        claimant = tx.db.execute(PUT_CLAIMANT, (ask.incarnation, ask.worker, ask.claim_seq, tx.now_us)).get
        until_us, first = tx.now_us + ask.lease_us, granted[0].token
        before = tx.db.total_changes()
        tx.db.execute(GRANT, (numbers(taken), tx.now_us, first - 1, until_us, claimant, ask.claim_seq))
        if tx.db.total_changes() - before != len(taken):
            raise StoreError("a lane changed under a claim; nothing was granted")
        if tx.steps is not None:
            for lease in granted:
                tx.record(lease.task, State.READY, Cause.CLAIM, State.RUNNING, lease.attempt, lease.token)
        self._taken = []
