"""Edges and books are built anew from what they tell of: parents, rows, rules."""

from collections.abc import Sequence

from mainspring.core.laws import PARENT_GONE_ERROR, Rebuilt, rebuilt_edge
from mainspring.core.lifecycle import Cause
from mainspring.core.model import OnParentFailure, State, decode_policy
from mainspring.stores.sqlite.auditing.graph import EDGES_OF, ONE_EDGE, Edge, edges
from mainspring.stores.sqlite.moves import PUT_UNRESOLVED, due_state, move
from mainspring.stores.sqlite.rows import ROWS_BY_N, Row, fetch_rows, numbers, texts
from mainspring.stores.sqlite.transaction import Transaction

NUMBERED = "SELECT n, state FROM tasks INDEXED BY tasks_id WHERE id IN carray(?)"
PUT_EDGE = "INSERT OR REPLACE INTO edges (parent, child, open) VALUES (?, ?, 1)"
DROP_EDGE = "DELETE FROM edges WHERE parent = ? AND child = ?"
CLOSE_EDGE = "UPDATE edges SET open = 0 WHERE parent = ? AND child = ?"
WAITS = "SELECT EXISTS (SELECT 1 FROM edges INDEXED BY edges_open WHERE child = ? AND open = 1)"


def rebuild_edges(tx: Transaction, row: Row, parents: Sequence[str], *, none_is_open: bool) -> str:
    """Give a blocked task an edge to each parent that it names. Edges that are there stay as they are, unless
    all are closed: then some were closed that should not be, and nobody knows which."""
    present = {edge.parent: edge.facts for edge in edges(tx.db, EDGES_OF, (row.n,))}
    stored = dict(tx.db.execute(NUMBERED, (texts(parents),))) if parents else {}
    is_lost = len(stored) < len(parents)
    for parent, state in stored.items():
        edge = present.get(parent)
        if edge is None or edge.is_open not in (0, 1) or none_is_open:
            _put(tx, row, parent, state)
    return _go_on(tx, row, rebuilt_edge(None, _rule(row)) if is_lost else Rebuilt.OPEN)


def _put(tx: Transaction, row: Row, parent: int, state: int) -> None:
    tx.db.execute(PUT_EDGE, (parent, row.n))
    if rebuilt_edge(state, _rule(row)) is Rebuilt.NOTED:
        tx.db.execute(PUT_UNRESOLVED, (parent,))


def _rule(row: Row) -> OnParentFailure:
    return decode_policy(row.policy).on_parent_failure


def _go_on(tx: Transaction, row: Row, verdict: Rebuilt) -> str:
    """What a blocked task does when its edges are as they should be. `verdict` is that on a lost parent."""
    if verdict is Rebuilt.CANCELS:
        move(tx, row, Cause.DOOM, State.CANCELLED, error=PARENT_GONE_ERROR)
        return "cancelled: a parent is lost"
    if tx.db.execute(WAITS, (row.n,)).get:
        return "waits for its parents again"
    state = due_state(tx, row.run_at_us)
    move(tx, row, Cause.UNBLOCK, state)
    return f"nothing holds it back: now {state.label}"


def mend_edge(tx: Transaction, parent: int, child: int, law: str) -> str | None:
    """Mend one edge; what was done, or `None` if it does not break the law any more."""
    found = edges(tx.db, ONE_EDGE, (parent, child))
    if not found or found[0].finding is None or found[0].finding.law != law:
        return None
    edge = found[0]
    if law == "unapplied_end":
        tx.db.execute(PUT_UNRESOLVED, (parent,))
        return "noted for the resolver"
    if law == "stray_open_edge":
        tx.db.execute(CLOSE_EDGE, (parent, child))
        return "closed"
    return _replace(tx, edge)


def _replace(tx: Transaction, edge: Edge) -> str:
    parent, child, facts = edge
    if facts.parent is not None and facts.child is not None and facts.child != State.BLOCKED:
        tx.db.execute(CLOSE_EDGE, (parent, child))
        return "closed"
    tx.db.execute(DROP_EDGE, (parent, child))
    if facts.child != State.BLOCKED or (facts.parent is None and not facts.is_open):
        return "removed"
    (row,) = fetch_rows(tx.db, ROWS_BY_N, (numbers([child]),))
    if facts.parent is not None:
        _put(tx, row, parent, facts.parent)
        return "built anew"
    return f"removed; task {row.id}: {_go_on(tx, row, rebuilt_edge(None, _rule(row)))}"
