"""The one door for every change of a single task's state, and what follows from one: numbers, places in
line, history, dependents. The hot verbs do the same for whole batches in statements of their own."""

from collections.abc import Iterable
from typing import Any

from mainspring.core.dag import Effect, effect, may_run
from mainspring.core.lifecycle import DOOMED_ERROR, KEEPS_PLACE, SPARED_ERROR, Cause, allows
from mainspring.core.model import WAITING, OnParentFailure, State, decode_policy
from mainspring.errors import StoreError
from mainspring.stores.sqlite.rows import (
    NOBODY,
    RESERVED,
    ROWS_BY_N,
    Row,
    fetch_rows,
    numbers,
    state_of,
    texts,
)
from mainspring.stores.sqlite.transaction import Transaction

EDGES_CLOSED_AT_ONCE = 5_000

CLOSE_EDGES_OF_CHILD = "UPDATE edges INDEXED BY edges_open SET open = 0 WHERE child = ? AND open = 1"
CLOSE_EDGE = "UPDATE edges SET open = 0 WHERE parent = ? AND child = ?"
ANYTHING_BLOCKED = "SELECT EXISTS (SELECT 1 FROM edges INDEXED BY edges_open WHERE open = 1)"
# One that was replayed since it ended is no end for its children any more.
PARENTS_AMONG = (
    "SELECT t.n, t.state FROM tasks t INDEXED BY tasks_id WHERE t.id IN carray(?) AND t.state >= 5"
    " AND EXISTS (SELECT 1 FROM edges e WHERE e.parent = t.n AND e.open = 1)"
)
BLOCKED_CHILDREN = (
    "SELECT e.child, t.policy FROM edges e CROSS JOIN tasks t ON t.n = e.child"
    " WHERE e.parent = ? AND e.open = 1 AND t.state = 1 LIMIT ?"
)
OPEN_EDGES = "SELECT child FROM edges WHERE parent IN carray(?) AND open = 1 LIMIT ?"
CLOSE_EDGES_OF_PARENTS = "UPDATE edges SET open = 0 WHERE parent IN carray(?) AND open = 1"
# One probe a child: a child of thousands must not cost as many steps with each of them that ends.
FREE_AMONG = (
    "SELECT c.value FROM carray(?) c"
    " WHERE NOT EXISTS (SELECT 1 FROM edges e INDEXED BY edges_open WHERE e.child = c.value AND e.open = 1)"
)
STATES_OF_PARENTS = (
    "SELECT DISTINCT t.state FROM edges e INDEXED BY edges_child CROSS JOIN tasks t ON t.n = e.parent"
    " WHERE e.child = ?"
)
WAIT_AGAIN = (
    "UPDATE edges SET open = 1 WHERE parent = ? AND open = 0"
    " AND EXISTS (SELECT 1 FROM tasks t WHERE t.n = edges.child AND t.state = 1)"
)
PUT_UNRESOLVED = "INSERT OR IGNORE INTO unresolved (parent) VALUES (?)"
DROP_UNRESOLVED = "DELETE FROM unresolved WHERE parent = ?"


def move(tx: Transaction, row: Row, cause: Cause, new: State, **columns: Any) -> None:
    """Bring a stored row into state `new` and write `columns` with it.

    Raises `StoreError` for a step that the lifecycle does not have.
    """
    old = row.state
    if not allows(old, cause, new):
        raise StoreError(f"{cause.name} must not move a task from {old.label} to {new.label}")
    queue = tx.lanes.by_id(row.lane_id).queue
    tx.count(queue, old, -1)
    tx.count(queue, new, 1)
    columns["state"], columns["version"] = new, tx.mint()
    if old is State.RUNNING:
        columns["timeout_at_us"] = None
        tx.freed.add(row.lane_id)
    elif old is State.BLOCKED:
        tx.db.execute(CLOSE_EDGES_OF_CHILD, (row.n,))
    elif old is State.FAILED:
        columns["fingerprint"] = None
    if new is State.READY:
        if row.seq == RESERVED or cause not in KEEPS_PLACE:
            columns["seq"] = tx.mint()
        tx.gained[row.lane_id] = None
    if new in WAITING:
        columns["claimant"] = NOBODY
    elif new.is_final:
        columns["end_us"] = tx.now_us
        tx.finished.append(row.id)
    write(tx, row, **columns)
    tx.record(row.id, old, cause, new, columns.get("attempt", row.attempt), columns.get("token", row.token))


def write(tx: Transaction, row: Row, **columns: Any) -> None:
    """Write columns of one row. Their names come from this package alone."""
    assignments = ", ".join([f"{column} = ?" for column in columns])
    tx.db.execute(f"UPDATE tasks SET {assignments} WHERE n = ?", (*columns.values(), row.n))


def due_state(tx: Transaction, run_at_us: int | None) -> State:
    return State.SCHEDULED if run_at_us is not None and run_at_us > tx.now_us else State.READY


# --- dependents -------------------------------------------------------------------------------------


def release_children(tx: Transaction) -> None:
    """Apply the tasks that this transaction finished to their children, as many as one transaction may;
    the rest, and children that a failed parent dooms, are left to `resolve`."""
    if not tx.finished or not tx.db.execute(ANYTHING_BLOCKED).get:
        return
    applied = 0
    while applied < len(tx.finished):
        # A child that ends here because it is not needed has children of its own.
        ended, applied = tx.finished[applied:], len(tx.finished)
        parents = tx.db.execute(PARENTS_AMONG, (texts(ended),)).fetchall()
        good = [parent for parent, state in parents if state == State.SUCCEEDED]
        if len(good) > 1 and _release_together(tx, good):
            parents = [(parent, state) for parent, state in parents if state != State.SUCCEEDED]
        for parent, state in parents:
            tx.children_left -= apply_parent(tx, parent, state_of(state), tx.children_left, doom=False)


def _release_together(tx: Transaction, parents: list[int]) -> bool:
    """Apply parents that succeeded to all their children by a few statements; whether it was done. Children
    too many for one transaction are left to those who do it parent by parent and know where to stop."""
    edges = tx.db.execute(OPEN_EDGES, (numbers(parents), EDGES_CLOSED_AT_ONCE + 1)).fetchall()
    children = {child for (child,) in edges}
    if len(edges) > EDGES_CLOSED_AT_ONCE or len(children) > tx.children_left:
        return False
    tx.db.execute(CLOSE_EDGES_OF_PARENTS, (numbers(parents),))
    tx.children_left -= _free(tx, children)
    return True


def apply_parent(tx: Transaction, parent: int, state: State, limit: int, *, doom: bool) -> int:
    """Apply a final parent to up to `limit` of its blocked children; how many."""
    released: list[int] = []
    doomed: list[int] = []
    left = False
    enough = limit + 1 if state is State.SUCCEEDED else -1
    for child, policy in tx.db.execute(BLOCKED_CHILDREN, (parent, enough)).fetchall():
        verdict = effect(state, decode_policy(policy).on_parent_failure)
        if verdict is Effect.HOLD:
            continue
        if len(released) + len(doomed) == limit or (verdict is Effect.DOOM and not doom):
            left = True
        elif verdict is Effect.DOOM:
            doomed.append(child)
        else:
            released.append(child)
    if released:
        tx.db.executemany(CLOSE_EDGE, [(parent, child) for child in released])
        _free(tx, released)
    if doomed:
        for row in fetch_rows(tx.db, ROWS_BY_N, (numbers(doomed),)):
            move(tx, row, Cause.DOOM, State.CANCELLED, error=DOOMED_ERROR)
    tx.db.execute(PUT_UNRESOLVED if left else DROP_UNRESOLVED, (parent,))
    return len(released) + len(doomed)


def _free(tx: Transaction, children: Iterable[int]) -> int:
    """Let those of the children go that wait for nobody any more; how many."""
    free = [child for (child,) in tx.db.execute(FREE_AMONG, (numbers(children),)).fetchall()]
    for row in fetch_rows(tx.db, ROWS_BY_N, (numbers(free),)) if free else ():
        rule = decode_policy(row.policy).on_parent_failure
        if rule is not OnParentFailure.ONLY or may_run(rule, _states_of_parents(tx, row.n)):
            move(tx, row, Cause.UNBLOCK, due_state(tx, row.run_at_us))
        else:
            move(tx, row, Cause.SPARE, State.CANCELLED, error=SPARED_ERROR)
    return len(free)


def _states_of_parents(tx: Transaction, child: int) -> list[State]:
    return [state_of(state) for (state,) in tx.db.execute(STATES_OF_PARENTS, (child,)).fetchall()]


def wait_again(tx: Transaction, parents: Iterable[int]) -> None:
    """Parents that had ended run once more: children that are still blocked wait for them as before."""
    tx.db.executemany(WAIT_AGAIN, [(parent,) for parent in parents])
