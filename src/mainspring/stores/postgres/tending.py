"""What services do on every node: due tasks, deadlines, open edges, retention. Rows are taken by guard."""

import asyncio

from asyncpg import Record

from mainspring.core.fingerprint import fingerprint
from mainspring.core.lifecycle import EXPIRED_ERROR, Cause
from mainspring.core.model import FINAL, SECOND_US, State
from mainspring.ports import Moved, Pruned, Retention
from mainspring.stores.postgres.editing import forget
from mainspring.stores.postgres.holding import overrun
from mainspring.stores.postgres.lines import DEADLINES, DUE, LAG_US
from mainspring.stores.postgres.moves import RESOLVED, apply_parents, lock, move, pairs, release_children
from mainspring.stores.postgres.progress import cut_ended
from mainspring.stores.postgres.rows import STATES, row_of
from mainspring.stores.postgres.transaction import Transaction
from mainspring.stores.postgres.workflows import past_workflows
from mainspring.verbs import Overdue


async def promote(tx: Transaction, limit: int) -> Moved:
    rows, end_us = await _past(tx, "promote", DUE, "run_at_us", limit)
    for row in rows:
        tx.gained.add(row["lane_id"])
        tx.count_move(row["lane_id"], State.SCHEDULED, State.READY)
        tx.record(row["id"], State.SCHEDULED, Cause.PROMOTE, State.READY, row["attempt"], row["token"])
    (next_due,) = await tx.rows("next_due", end_us - LAG_US)
    return Moved(
        len(rows),
        await tx.ready(),
        next_due_us=next_due["wait_us"],
        submissions=next_due["submissions"],
    )


async def overdue(tx: Transaction, limit: int, grace_us: int) -> Overdue:
    """Waiting tasks past their deadline fail; exactly at it a task may still start."""
    leases = await overrun(tx, limit, grace_us)
    found, _ = await _past(tx, "past_deadline", DEADLINES, "deadline_us", limit)
    rows = [row_of(record) for record in found]
    await tx.find_lanes({row.lane_id for row in rows})
    for row in rows:
        mark = fingerprint(tx.lane_of(row).kind, EXPIRED_ERROR)
        move(tx, row, Cause.EXPIRE, State.FAILED, error=EXPIRED_ERROR, fingerprint=mark)
    await release_children(tx)
    return Overdue(leases, tx.finished)


async def _past(
    tx: Transaction, statement: str, line: int, time: str, limit: int
) -> tuple[list[Record], int]:
    """What stands in line by a time that has come, and up to where nothing is left."""
    start = tx.line_start(line)
    now_s = asyncio.get_running_loop().time
    began_s = now_s()
    rows = await tx.rows(statement, limit, start)
    took_us = int((now_s() - began_s) * SECOND_US)
    end_us: int = tx.now_us if len(rows) < limit else max((row[time] for row in rows), default=0)
    tx.walked([] if start else [line], took_us, {line: end_us})
    return rows, end_us


async def resolve(tx: Transaction, limit: int) -> Moved:
    # A parent in no known state is for the doctor to see.
    found = await tx.rows("unresolved", limit)
    states = {row["id"]: STATES[row["state"]] for row in found if row["state"] in STATES}
    # Replayed meanwhile: its next end decides.
    ended = {parent: state for parent, state in states.items() if state.is_final}
    count = await apply_parents(tx, ended, limit, RESOLVED)
    await release_children(tx)
    if states:
        await tx.do("resolved", *pairs(ended, RESOLVED), list(states))
    return Moved(count, await tx.ready(), tx.finished)


async def prune(tx: Transaction, limit: int, retention: Retention, cursor: str | None) -> Pruned:
    await tx.do("drop_keys")
    await tx.do("drop_arrivals")
    await tx.do("drop_claimants")
    await cut_ended(tx)
    found = await tx.rows("look_from", cursor or "", limit + 1)
    past = [
        row["id"]
        for row in found[:limit]
        # A damaged row stays for the doctor to see.
        if row["state"] in FINAL and _is_past(tx, STATES[row["state"]], row["finished_at_us"], retention)
    ]
    count = await _forget_past(tx, past, retention) if past else 0
    return Pruned(count, found[limit]["id"] if len(found) > limit else None)


async def _forget_past(tx: Transaction, past: list[str], retention: Retention) -> int:
    rows = await lock(tx, past)
    needed = {row["parent"] for row in await tx.rows("needed", past)}
    whole = await past_workflows(tx, {row.workflow for row in rows.values() if row.workflow}, retention)
    gone = [
        row
        for row in rows.values()
        # Looked at again, now that nobody else can replay the task.
        if row.id not in needed
        and _is_past(tx, row.state, row.finished_at_us, retention)
        and row.workflow in whole
    ]
    await forget(tx, gone)
    return len(gone)


def _is_past(tx: Transaction, state: State, end_us: int | None, retention: Retention) -> bool:
    kept_us = retention.by_state.get(state)
    return kept_us is not None and end_us is not None and end_us <= tx.now_us - kept_us
