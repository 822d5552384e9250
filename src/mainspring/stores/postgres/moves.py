"""The one door for every change of a single task's state, and what follows from one: numbers, places in
line, history, dependents. Rows are locked, changed in memory and written back together. The hot verbs do the
same for whole batches in statements of their own."""

from collections.abc import Container, Iterable, Mapping
from typing import Any

from mainspring.core.dag import Effect, effect, may_run
from mainspring.core.lifecycle import DOOMED_ERROR, KEEPS_PLACE, SPARED_ERROR, Cause, allows
from mainspring.core.model import WAITING, OnParentFailure, State
from mainspring.errors import StoreError
from mainspring.stores.postgres.rows import Row, known_texts, row_of, state_of
from mainspring.stores.postgres.transaction import Transaction, columns

APPLIED = frozenset({Effect.RELEASE})
RESOLVED = frozenset({Effect.RELEASE, Effect.DOOM})
# More edges of a child than these are closed by a later pass.
EDGES_A_CHILD = 10


async def lock(tx: Transaction, tasks: Iterable[str]) -> dict[str, Row]:
    """The rows of those that exist, taken in the order of their ids."""
    wanted = known_texts(set(tasks))
    if not wanted:
        return {}
    rows = [row_of(record) for record in await tx.rows("lock_rows", wanted)]
    await tx.find_lanes({row.lane_id for row in rows})
    return {row.id: row for row in rows}


def move(tx: Transaction, row: Row, cause: Cause, new: State, **changes: Any) -> None:
    """Bring a locked row into state `new` and change its fields; `flush` writes it.

    Raises `StoreError` for a step that the lifecycle does not have.
    """
    old = row.state
    if not allows(old, cause, new):
        raise StoreError(f"{cause.name} must not move a task from {old.label} to {new.label}")
    tx.lane_of(row)
    tx.count_move(row.lane_id, old, new)
    if old is State.RUNNING:
        row.lease_until_us = row.timeout_at_us = None
        tx.freed.add(row.lane_id)
    elif old is State.BLOCKED:
        tx.unblocked.append(row.id)
    elif old is State.FAILED:
        row.fingerprint = None
    if new is State.READY:
        if row.seq is None or cause not in KEEPS_PLACE:
            row.seq = tx.mint()
        else:
            tx.regained.add(row.lane_id)
        tx.gained.add(row.lane_id)
    if new in WAITING:
        row.worker = row.incarnation = row.finished_at_us = None
        # What ended it in this very transaction must not be applied to its children: they wait for it again.
        tx.ended_parents.pop(row.id, None)
    elif new.is_final:
        row.finished_at_us = tx.now_us
        tx.ended(row.id, new, row.is_parent)
    row.state = new
    change(tx, row, **changes)
    tx.note_deadline(new, row.deadline_us)
    tx.record(row.id, old, cause, new, row.attempt, row.token)


def change(tx: Transaction, row: Row, **changes: Any) -> None:
    """Change fields of a locked row; `flush` writes it."""
    for name, value in changes.items():
        setattr(row, name, value)
    row.version = max(row.version + 1, tx.mint())
    tx.moved[row.id] = row


async def flush(tx: Transaction) -> None:
    """Write the rows that were changed in memory."""
    rows, tx.moved = list(tx.moved.values()), {}
    if rows:
        await tx.do_many("rewrite", [_values(row) for row in rows])
    unblocked, tx.unblocked = tx.unblocked, []
    if unblocked:
        await tx.do("close_edges_of_children", unblocked)


def _values(row: Row) -> tuple[object, ...]:
    return (
        row.id, row.state, row.token, row.version, row.seq, row.attempt, row.retries, row.losses,
        row.snoozes, row.run_at_us, row.deadline_us, row.started_at_us, row.finished_at_us,
        row.cancel_requested_at_us, row.worker, row.incarnation, row.lease_until_us, row.timeout_at_us,
        row.error, row.fingerprint, row.drops_result, row.lane_id, row.workflow, row.callback,
    )  # fmt: skip


def due_state(tx: Transaction, run_at_us: int | None) -> State:
    return State.SCHEDULED if run_at_us is not None and run_at_us > tx.now_us else State.READY


# --- dependents -------------------------------------------------------------------------------------


async def release_children(tx: Transaction) -> None:
    """Apply the tasks that this transaction ended to their children, as many as one transaction may; the
    rest, and children that a failed parent dooms, are left to `resolve`: a wide or deep graph must not end
    in one transaction."""
    await flush(tx)
    while tx.ended_parents:
        # A child that ends here because it is not needed has children of its own.
        ended, tx.ended_parents = tx.ended_parents, {}
        tx.children_left -= await apply_parents(tx, ended, tx.children_left, APPLIED)
        await tx.do("leave_unresolved", *pairs(ended, RESOLVED))


async def apply_parents(
    tx: Transaction, ended: Mapping[str, State], limit: int, effects: Container[Effect]
) -> int:
    """Apply final parents to up to `limit` of their blocked children, as far as their ends have one of the
    `effects`; how many."""
    parents, rules = pairs(ended, effects)
    if limit <= 0 or not parents:
        return 0
    edges = await tx.rows("waiting_edges", parents, rules, EDGES_A_CHILD * limit)
    wanted = list(dict.fromkeys(edge["child"] for edge in edges))[:limit]
    # Looked at again, now that nobody else can move them or change their rules.
    children = {task: row for task, row in (await lock(tx, wanted)).items() if row.state is State.BLOCKED}
    due = [
        (edge["parent"], edge["child"])
        for edge in edges
        if edge["child"] in children
        and effect(ended[edge["parent"]], children[edge["child"]].rule) in effects
    ]
    if not due:
        return 0
    closed = await tx.rows("close_edges", *columns(due))
    doomed = {
        edge["child"]
        for edge in closed
        if effect(ended[edge["parent"]], children[edge["child"]].rule) is Effect.DOOM
    }
    await _free(tx, [row for row in children.values() if row.id not in doomed])
    for task in sorted(doomed):
        move(tx, children[task], Cause.DOOM, State.CANCELLED, error=DOOMED_ERROR)
    await flush(tx)
    return len(children)


async def _free(tx: Transaction, children: list[Row]) -> None:
    """Let those of the children go that wait for nobody any more."""
    if not children:
        return
    free = {record["child"] for record in await tx.rows("free_among", [row.id for row in children])}
    choosy = [row.id for row in children if row.id in free and row.rule is OnParentFailure.ONLY]
    ends: dict[str, list[State]] = {child: [] for child in choosy}
    if choosy:
        for record in await tx.rows("states_of_parents", choosy):
            ends[record["child"]].append(state_of(record["state"]))
    for row in children:
        if row.id not in free:
            continue
        if row.rule is not OnParentFailure.ONLY or may_run(row.rule, ends[row.id]):
            move(tx, row, Cause.UNBLOCK, due_state(tx, row.run_at_us))
        else:
            move(tx, row, Cause.SPARE, State.CANCELLED, error=SPARED_ERROR)


def pairs(ended: Mapping[str, State], effects: Container[Effect]) -> tuple[list[str], list[int]]:
    """Each parent with each rule under which its end has one of the `effects` on a child."""
    found = [
        (parent, int(rule))
        for parent, state in sorted(ended.items())
        for rule in OnParentFailure
        if effect(state, rule) in effects
    ]
    return [parent for parent, _ in found], [rule for _, rule in found]


async def wait_again(tx: Transaction, parents: Iterable[str]) -> None:
    """Parents that had ended run once more: children that are still blocked wait for them as before."""
    again = sorted(parents)
    if not again:
        return
    await flush(tx)
    edges = await tx.rows("closed_edges", again)
    # Locked, so that none is released meanwhile by another parent.
    children = await lock(tx, {edge["child"] for edge in edges})
    waiting = [
        (edge["parent"], edge["child"])
        for edge in edges
        if edge["child"] in children and children[edge["child"]].state is State.BLOCKED
    ]
    if waiting:
        await tx.do("open_edges", *columns(waiting))
