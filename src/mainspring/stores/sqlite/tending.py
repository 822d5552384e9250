"""What services do on every node: due tasks, deadlines, open edges, retention. Rows are taken by guard."""

from mainspring.core.fingerprint import fingerprint
from mainspring.core.lifecycle import EXPIRED_ERROR, Cause
from mainspring.core.model import SECOND_US, State
from mainspring.ports import Moved, Pruned, Retention
from mainspring.stores.sqlite.editing import forget, has_unfinished_children
from mainspring.stores.sqlite.limits import DROP_ARRIVALS
from mainspring.stores.sqlite.moves import apply_parent, move, release_children
from mainspring.stores.sqlite.progress import cut_ended
from mainspring.stores.sqlite.reading import parse_cursor
from mainspring.stores.sqlite.rows import ROW, STATES, fetch_rows
from mainspring.stores.sqlite.transaction import Transaction
from mainspring.stores.sqlite.transactions import ANY_SUBMISSIONS
from mainspring.stores.sqlite.workflows import is_past

CLAIMANTS_KEPT_US = 30 * 24 * 3600 * SECOND_US

DUE = (
    f"SELECT {ROW} FROM tasks t INDEXED BY tasks_scheduled WHERE t.state = 2 AND t.run_at_us <= ?"
    " ORDER BY t.run_at_us, t.n LIMIT ?"
)
NEXT_DUE = "SELECT min(run_at_us) FROM tasks INDEXED BY tasks_scheduled WHERE state = 2"
PAST_DEADLINE = (
    f"SELECT {ROW} FROM tasks t INDEXED BY tasks_deadline WHERE t.state <= 3 AND t.deadline_us < ?"
    " ORDER BY t.deadline_us, t.n LIMIT ?"
)
UNRESOLVED = (
    "SELECT u.parent, t.state FROM unresolved u LEFT JOIN tasks t ON t.n = u.parent ORDER BY u.parent"
)
DROP_UNRESOLVED = "DELETE FROM unresolved WHERE parent = ?"
FROM_CURSOR = "SELECT n, id, state, lane, end_us, workflow FROM tasks WHERE n >= ? ORDER BY n LIMIT ?"
DROP_KEYS = "DELETE FROM idempotency WHERE expires_us <= ?"
DROP_CLAIMANTS = (
    "DELETE FROM claimants WHERE seen_us <= ? AND NOT EXISTS"
    " (SELECT 1 FROM tasks t INDEXED BY tasks_running WHERE t.state = 4 AND t.claimant = claimants.n)"
)


def promote(tx: Transaction, limit: int) -> Moved:
    rows = fetch_rows(tx.db, DUE, (tx.now_us, limit))
    for row in rows:
        move(tx, row, Cause.PROMOTE, State.READY)
    next_due_us = tx.db.execute(NEXT_DUE).get
    wait_us = None if next_due_us is None else max(0, next_due_us - tx.now_us)
    submissions = bool(tx.db.execute(ANY_SUBMISSIONS).get)
    return Moved(len(rows), tx.heads(), next_due_us=wait_us, submissions=submissions)


def expire(tx: Transaction, limit: int) -> list[str]:
    """Fail waiting tasks past their deadline; exactly at it a task may still start."""
    for row in fetch_rows(tx.db, PAST_DEADLINE, (tx.now_us, limit)):
        mark = fingerprint(tx.lanes.by_id(row.lane_id).kind, EXPIRED_ERROR)
        move(tx, row, Cause.EXPIRE, State.FAILED, error=EXPIRED_ERROR, fingerprint=mark)
    release_children(tx)
    return tx.finished


def resolve(tx: Transaction, limit: int) -> Moved:
    count = 0
    for parent, state in tx.db.execute(UNRESOLVED).fetchall():
        if count == limit:
            break
        ended_as = STATES.get(state)
        if state is None or (ended_as is not None and not ended_as.is_final):
            # Replayed meanwhile: its next end decides.
            tx.db.execute(DROP_UNRESOLVED, (parent,))
        elif ended_as is not None:
            count += apply_parent(tx, parent, ended_as, limit - count, doom=True)
    release_children(tx)
    return Moved(count, tx.heads(), tx.finished)


def prune(tx: Transaction, limit: int, retention: Retention, cursor: str | None) -> Pruned:
    tx.db.execute(DROP_KEYS, (tx.now_us,))
    tx.db.execute(DROP_ARRIVALS, (tx.now_us,))
    tx.db.execute(DROP_CLAIMANTS, (tx.now_us - CLAIMANTS_KEPT_US,))
    cut_ended(tx)
    kept_us, past = retention.by_state, dict[int, bool]()
    first = parse_cursor(cursor) if cursor else 0
    rows = tx.db.execute(FROM_CURSOR, (first, limit + 1)).fetchall()
    count = 0
    for n, task, state, lane_id, end_us, workflow in rows[:limit]:
        # A damaged row stays for the doctor to see.
        kept = kept_us.get(STATES[state]) if state in STATES else None
        if kept is not None and 0 < end_us <= tx.now_us - kept and not has_unfinished_children(tx, n):
            if workflow is not None and workflow not in past:
                past[workflow] = is_past(tx, workflow, retention)
            if workflow is None or past[workflow]:
                forget(tx, n, task, state, lane_id, workflow)
                count += 1
    return Pruned(count, str(rows[limit][0]) if len(rows) > limit else None)
