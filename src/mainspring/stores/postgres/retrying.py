"""Workflows by hand: cancelling all that is unfinished, retrying all that failed."""

from mainspring.core.lifecycle import Cause
from mainspring.core.model import State
from mainspring.core.workflows import Return, Standing, is_doomed, returns
from mainspring.ports import Moved, Refused
from mainspring.stores.postgres.editing import cancel, fresh
from mainspring.stores.postgres.moves import due_state, flush, lock, move, release_children, wait_again
from mainspring.stores.postgres.rows import RULES, Row, can_be_stored, decode_ids, state_of
from mainspring.stores.postgres.transaction import Transaction, columns
from mainspring.verbs import Retried, no_workflow


async def cancel_workflow(tx: Transaction, workflow: str, callbacks: bool) -> Moved | Refused:
    if not await _lock_workflow(tx, workflow):
        return no_workflow(workflow)
    wanted = [row["id"] for row in await tx.rows("unfinished_of", workflow, callbacks)]
    # All of them end here before any end is applied: nothing is released, only to be cancelled next.
    count = sum([cancel(tx, row) for row in (await lock(tx, wanted)).values()])
    await release_children(tx)
    return Moved(count, await tx.ready(), tx.finished)


async def retry_workflow(tx: Transaction, workflow: str) -> Retried | Refused:
    if not await _lock_workflow(tx, workflow):
        return no_workflow(workflow)
    tasks = [row["id"] for row in await tx.rows("ids_of_workflow", workflow)]
    rows = await lock(tx, tasks)
    standings = await _standings(tx, workflow)
    back = returns(standings, await _outside(tx, standings))
    if not back:
        return Retried(0)
    for line in back:
        _bring_back(tx, rows[line.key], line)
    await flush(tx)
    waits = [(parent, line.key) for line in back for parent in line.waits_for]
    if waits:
        await tx.do("open_edges", *columns(waits))
    await wait_again(tx, [line.key for line in back])
    return Retried(len(back), sum(bool(line.waits_for) for line in back), await tx.ready())


async def _lock_workflow(tx: Transaction, workflow: str) -> bool:
    """Two retries at once would each bring back what the other has brought back."""
    return can_be_stored(workflow) and await tx.value("lock_workflow", workflow) is not None


async def _standings(tx: Transaction, workflow: str) -> list[Standing[str]]:
    records = await tx.rows("standings", workflow)
    named = {record["id"]: decode_ids(record["depends_on"]) for record in records}
    inside = named.keys()
    outside = {parent for parents in named.values() for parent in parents} - inside
    known = {row["id"] for row in await tx.rows("states", list(outside))} if outside else set()
    return [
        Standing(
            record["id"],
            state_of(record["state"]),
            RULES[record["rule"]],
            is_doomed(state_of(record["state"]), record["error"]),
            record["attempt"] > 0,
            [parent if parent in inside or parent in known else None for parent in named[record["id"]]],
        )
        for record in records
    ]


async def _outside(tx: Transaction, standings: list[Standing[str]]) -> dict[str, State]:
    inside = {task.key for task in standings}
    parents = {parent for task in standings for parent in task.parents if parent is not None} - inside
    if not parents:
        return {}
    return {row["id"]: state_of(row["state"]) for row in await tx.rows("states", list(parents))}


def _bring_back(tx: Transaction, row: Row, line: Return[str]) -> None:
    changes = fresh(tx, row) if row.state.is_final else {}
    failed, run_at_us = row.state is State.FAILED, row.run_at_us
    if failed:
        changes["run_at_us"] = run_at_us = None
    state = State.BLOCKED if line.waits_for else due_state(tx, run_at_us)
    move(tx, row, Cause.REPLAY if failed and state is State.READY else Cause.REOPEN, state, **changes)
