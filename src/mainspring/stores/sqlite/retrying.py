"""Workflows by hand: cancelling all that is unfinished, retrying all that failed."""

from collections.abc import Mapping

from mainspring.core.lifecycle import DOOMED_ERROR, Cause
from mainspring.core.model import State, decode_policy
from mainspring.core.workflows import Return, Standing, returns
from mainspring.ports import Moved, Refused
from mainspring.stores.sqlite.editing import cancel, fresh
from mainspring.stores.sqlite.moves import due_state, move, release_children, wait_again
from mainspring.stores.sqlite.rows import ROW, ROWS_BY_N, Row, fetch_rows, numbers, state_of
from mainspring.stores.sqlite.transaction import Transaction
from mainspring.verbs import Retried, no_workflow

NUMBER_OF = "SELECT n FROM workflows WHERE id = ?"
# Children first: nothing is released by an end, only to be cancelled next.
UNFINISHED = (
    f"SELECT {ROW} FROM tasks t INDEXED BY tasks_workflow"
    " WHERE t.workflow = ?1 AND t.state <= 4 AND (?2 OR t.callback IS NULL) ORDER BY t.n DESC"
)
STANDINGS = (
    "SELECT t.n, t.state, t.policy, t.state = 7 AND t.error = ?2, t.attempt, json_array_length(d.parents)"
    " FROM tasks t INDEXED BY tasks_workflow LEFT JOIN dependencies d ON d.task = t.n"
    " WHERE t.workflow = ?1 ORDER BY t.n"
)
PARENTS = (
    "SELECT e.child, e.parent FROM tasks t INDEXED BY tasks_workflow"
    " CROSS JOIN edges e INDEXED BY edges_child ON e.child = t.n WHERE t.workflow = ?"
)
STATES_BY_N = "SELECT n, state FROM tasks WHERE n IN carray(?)"
OPEN_EDGE = "UPDATE edges SET open = 1 WHERE parent = ? AND child = ?"


def cancel_workflow(tx: Transaction, workflow: str, callbacks: bool) -> Moved | Refused:
    n = tx.db.execute(NUMBER_OF, (workflow,)).get
    if n is None:
        return no_workflow(workflow)
    rows = fetch_rows(tx.db, UNFINISHED, (n, callbacks))
    count = sum([cancel(tx, row) for row in rows])
    release_children(tx)
    return Moved(count, tx.heads(), tx.finished)


def retry_workflow(tx: Transaction, workflow: str) -> Retried | Refused:
    n = tx.db.execute(NUMBER_OF, (workflow,)).get
    if n is None:
        return no_workflow(workflow)
    standings = _standings(tx, n)
    back = {line.key: line for line in returns(standings, _outside(tx, standings))}
    if not back:
        return Retried(0)
    for row in fetch_rows(tx.db, ROWS_BY_N, (numbers(back),)):
        _bring_back(tx, row, back[row.n])
    wait_again(tx, back)
    return Retried(len(back), sum(bool(line.waits_for) for line in back.values()), tx.heads())


def _standings(tx: Transaction, workflow: int) -> list[Standing[int]]:
    parents: dict[int, list[int | None]] = {}
    for child, parent in tx.db.execute(PARENTS, (workflow,)):
        parents.setdefault(child, []).append(parent)
    found = []
    for n, state, policy, doomed, attempt, named in tx.db.execute(STANDINGS, (workflow, DOOMED_ERROR)):
        known = parents.get(n, [])
        if len(known) < (named or 0):
            known.append(None)
        rule = decode_policy(policy).on_parent_failure
        found.append(Standing(n, state_of(state), rule, bool(doomed), attempt > 0, known))
    return found


def _outside(tx: Transaction, standings: list[Standing[int]]) -> Mapping[int, State]:
    inside = {task.key for task in standings}
    parents = {parent for task in standings for parent in task.parents if parent is not None} - inside
    if not parents:
        return {}
    return {n: state_of(state) for n, state in tx.db.execute(STATES_BY_N, (numbers(parents),))}


def _bring_back(tx: Transaction, row: Row, line: Return[int]) -> None:
    columns = fresh(tx, row) if row.state.is_final else {}
    failed, run_at_us = row.state is State.FAILED, row.run_at_us
    if failed:
        columns["run_at_us"] = run_at_us = None
    state = State.BLOCKED if line.waits_for else due_state(tx, run_at_us)
    move(tx, row, Cause.REPLAY if failed and state is State.READY else Cause.REOPEN, state, **columns)
    tx.db.executemany(OPEN_EDGE, [(parent, row.n) for parent in line.waits_for])
