"""Holding leases: renewals, and which leases have run out."""

from collections.abc import Sequence

from mainspring.core.lifecycle import Cause
from mainspring.core.model import Lease, State
from mainspring.ports import Answer, Held, Renewal
from mainspring.stores.sqlite.claiming import TIMEOUT_AT
from mainspring.stores.sqlite.connection import DATA_ERRORS, Database
from mainspring.stores.sqlite.lanes import Lanes
from mainspring.stores.sqlite.moves import move
from mainspring.stores.sqlite.rows import (
    LEASE,
    ROW,
    Row,
    fetch_leases,
    fetch_rows,
    numbers,
    rows_by_id,
    texts,
)
from mainspring.stores.sqlite.transaction import Transaction

HELD_BY = (
    f"SELECT {ROW} FROM tasks t INDEXED BY tasks_running WHERE t.state = 4"
    " AND t.claimant = (SELECT n FROM claimants WHERE incarnation = ?) ORDER BY t.seq"
)
LENGTHEN = "UPDATE tasks SET end_us = ?1 WHERE n IN carray(?2)"
START_ANEW = f"UPDATE tasks SET started_at_us = ?2, timeout_at_us = {TIMEOUT_AT} WHERE n IN carray(?1)"
LAPSED = (
    f"SELECT {LEASE} FROM tasks t INDEXED BY tasks_running JOIN claimants c ON c.n = t.claimant"
    " WHERE t.state = 4 AND t.end_us <= ? ORDER BY t.end_us, t.n LIMIT ?"
)
OVERRUN = (
    f"SELECT {LEASE} FROM tasks t INDEXED BY tasks_timeout JOIN claimants c ON c.n = t.claimant"
    " WHERE t.timeout_at_us <= ? AND t.state = 4 ORDER BY t.timeout_at_us, t.n LIMIT ?"
)
HELD = (
    f"SELECT {LEASE} FROM tasks t INDEXED BY tasks_id JOIN claimants c ON c.n = t.claimant"
    " WHERE t.id IN carray(?) AND t.state = 4"
)


def renew(tx: Transaction, renewal: Renewal) -> list[Answer]:
    """One answer per line held. A renewal with a name that cannot be stored holds nothing, and the others
    are not its victims."""
    try:
        return _renew(tx, renewal)
    except DATA_ERRORS:
        return [Answer.LOST] * len(renewal.held)


def _renew(tx: Transaction, renewal: Renewal) -> list[Answer]:
    rows = rows_by_id(tx.db, [held.task for held in renewal.held])
    answers, kept, anew = [], [], []
    for held in renewal.held:
        row = rows.get(held.task)
        if row is None or row.state is not State.RUNNING or row.token != held.token:
            answers.append(Answer.LOST)
            continue
        kept.append(row)
        if not held.started:
            anew.append(row.n)
        answers.append(Answer.OK if row.cancel_requested_at_us is None else Answer.CANCEL)
    if kept:
        tx.db.execute(LENGTHEN, (tx.now_us + renewal.lease_us, numbers([row.n for row in kept])))
    if anew:
        tx.db.execute(START_ANEW, (numbers(anew), tx.now_us))
    _hand_back_unnamed(tx, renewal, {row.n for row in kept})
    return answers


def _hand_back_unnamed(tx: Transaction, renewal: Renewal, named: set[int]) -> None:
    """The worker never learned of these leases: the tasks did not run, so nothing is counted."""
    for row in fetch_rows(tx.db, HELD_BY, (renewal.incarnation,)):
        if row.n not in named and row.claim_seq <= renewal.claim_seq:
            _hand_back(tx, row)


def _hand_back(tx: Transaction, row: Row) -> None:
    if row.cancel_requested_at_us is not None:
        move(tx, row, Cause.CANCEL, State.CANCELLED, attempt=row.attempt - 1)
    else:
        move(tx, row, Cause.RELEASE, State.READY, attempt=row.attempt - 1)


def expired(db: Database, lanes: Lanes, now_us: int, limit: int) -> list[Lease]:
    """Leases that have lapsed, oldest first. Running rows are few: their index is read whole."""
    return fetch_leases(db, lanes, LAPSED, (now_us, limit))


def overrun(db: Database, lanes: Lanes, now_us: int, limit: int, grace_us: int) -> list[Lease]:
    """Runs past their timeout or deadline by `grace_us`, the longest overdue first."""
    return fetch_leases(db, lanes, OVERRUN, (now_us - grace_us, limit))


def leases(db: Database, lanes: Lanes, lines: Sequence[Held]) -> list[Lease | None]:
    if not lines:
        return []
    found = fetch_leases(db, lanes, HELD, (texts({held.task for held in lines}),))
    by_name = {(lease.task, lease.token): lease for lease in found}
    return [by_name.get((held.task, held.token)) for held in lines]
