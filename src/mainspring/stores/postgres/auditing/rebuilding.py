"""Edges are built anew from what they tell of: parents, and the rules of children."""

from collections.abc import Sequence

from mainspring.core.laws import PARENT_GONE_ERROR, Rebuilt, rebuilt_edge
from mainspring.core.lifecycle import Cause
from mainspring.core.model import State
from mainspring.stores.postgres.auditing.graph import Edge, edges
from mainspring.stores.postgres.moves import due_state, flush, lock, move
from mainspring.stores.postgres.rows import Row
from mainspring.stores.postgres.transaction import Transaction


async def rebuild_edges(tx: Transaction, row: Row, parents: Sequence[str], *, none_is_open: bool) -> str:
    """Give a blocked task an edge to each parent that it names. Edges that are there stay as they are, unless
    all are closed: then some were closed that should not be, and nobody knows which."""
    present = {edge.parent for edge in await edges(tx, "edges_of", row.id)}
    stored = {found["id"]: found["state"] for found in await tx.rows("states", list(parents))}
    is_lost = len(stored) < len(parents)
    for parent, state in stored.items():
        if parent not in present or none_is_open:
            await _put(tx, row, parent, state)
    return await _go_on(tx, row, rebuilt_edge(None, row.rule) if is_lost else Rebuilt.OPEN)


async def _put(tx: Transaction, row: Row, parent: str, state: int) -> None:
    await tx.do("put_edge", parent, row.id, row.rule)
    if rebuilt_edge(state, row.rule) is Rebuilt.NOTED:
        await tx.do("put_unresolved", [parent])


async def _go_on(tx: Transaction, row: Row, verdict: Rebuilt) -> str:
    """What a blocked task does when its edges are as they should be. `verdict` is that on a lost parent."""
    if verdict is Rebuilt.CANCELS:
        move(tx, row, Cause.DOOM, State.CANCELLED, error=PARENT_GONE_ERROR)
        told = "cancelled: a parent is lost"
    elif not await tx.rows("free_among", [row.id]):
        return "waits for its parents again"
    else:
        state = due_state(tx, row.run_at_us)
        move(tx, row, Cause.UNBLOCK, state)
        told = f"nothing holds it back: now {state.label}"
    await flush(tx)
    return told


async def mend_edge(tx: Transaction, parent: str, child: str, law: str) -> str | None:
    """Mend one edge; what was done, or `None` if it does not break the law any more."""
    rows = await lock(tx, (parent, child))
    found = await edges(tx, "edge", parent, child)
    if not found or found[0].finding is None or found[0].finding.law != law:
        return None
    if law == "unapplied_end":
        await tx.do("put_unresolved", [parent])
        return "noted for the resolver"
    if law == "stray_open_edge":
        await tx.do("close_edge", parent, child)
        return "closed"
    return await _replace(tx, found[0], rows.get(child))


async def _replace(tx: Transaction, edge: Edge, row: Row | None) -> str:
    """The edge of a task that is gone."""
    parent, child, facts = edge
    await tx.do("drop_edge", parent, child)
    if row is None or row.state is not State.BLOCKED or not facts.is_open:
        return "removed"
    return f"removed; task {child}: {await _go_on(tx, row, rebuilt_edge(None, row.rule))}"
