"""A damaged record is mended into the state it belongs into, field by field, and then moved by the one door
that every task moves by, so that numbers, lines, dependents and history follow."""

from typing import Any

import msgspec

from mainspring.core.laws import DAMAGED_ERROR, LOST_LANE, TaskFacts, mended_state
from mainspring.core.lifecycle import Cause
from mainspring.core.model import State
from mainspring.stores.sqlite.auditing.rebuilding import rebuild_edges
from mainspring.stores.sqlite.auditing.records import Record
from mainspring.stores.sqlite.auditing.workflows import part_of
from mainspring.stores.sqlite.moves import move, write
from mainspring.stores.sqlite.rows import NOBODY, NULL, RESERVED, ROWS_BY_N, Row, fetch_rows, numbers
from mainspring.stores.sqlite.transaction import Transaction

COUNTERS = "SELECT attempt, retries, losses, snoozes, created_at_us, lane FROM tasks WHERE n = ?"
ADOPT = "UPDATE tasks SET state = ?, lane = ? WHERE n = ?"
PARENTS_OF = (
    "SELECT p.id FROM edges e INDEXED BY edges_child JOIN tasks p ON p.n = e.parent WHERE e.child = ?"
)
WORKFLOW_OF = "SELECT w.n FROM tasks t JOIN workflows w ON w.n = t.workflow WHERE t.n = ?"
PUT_PARENTS = "UPDATE dependencies SET parents = ? WHERE task = ?"


def mend(tx: Transaction, record: Record) -> str:
    """Mend everything that is wrong with the record; what was done, for a person."""
    broken = {finding.law for finding in record.findings()}
    if "damaged_field" in broken and "depends_on" in record.facts.damaged:
        record = record._replace(parents=_name_parents(tx, record.n))
    _adopt(tx, record)
    (row,) = fetch_rows(tx.db, ROWS_BY_N, (numbers([record.n]),))
    columns = _columns(tx, record, row, broken)
    if columns:
        columns["version"] = tx.mint()
        write(tx, row, **columns)
        (row,) = fetch_rows(tx.db, ROWS_BY_N, (numbers([record.n]),))
    what = [f"{name} set" for name in columns if name != "version"]
    state = mended_state(record.facts)
    if state is not row.state:
        _move(tx, row, state)
        what.append(f"now {state.label}")
    elif row.state is State.READY:
        tx.gained[row.lane_id] = None
    elif row.state is State.BLOCKED and broken & {"blocked_without_parent", "lost_edge"}:
        what.append(rebuild_edges(tx, row, record.parents, none_is_open=not record.facts.open_edges))
    return "; ".join(what) or "mended with another finding"


def _adopt(tx: Transaction, record: Record) -> None:
    """A row in no known state is taken for one whose run has ended, one of no lane for one of the lost: what
    no number was booked for is booked, so that the move which follows keeps the books right."""
    facts = record.facts
    *_, lane = tx.db.execute(COUNTERS, (record.n,)).fetchone()
    is_known = 1 <= facts.state <= len(State)
    state = State(facts.state) if is_known else State.RUNNING
    if not facts.lane_known:
        lane = tx.lanes.id_of(LOST_LANE, tx.mint)
    if not is_known or not facts.lane_known:
        tx.db.execute(ADOPT, (state, lane, record.n))
        tx.count(tx.lanes.by_id(lane).queue, state, 1)


def _columns(tx: Transaction, record: Record, row: Row, broken: set[str]) -> dict[str, Any]:
    """The columns that do not fit, and what fits."""
    facts = record.facts
    columns: dict[str, Any] = {}
    attempt, retries, losses, snoozes, created_us, _ = tx.db.execute(COUNTERS, (row.n,)).fetchone()
    if "negative_counter" in broken:
        counters = {"attempt": attempt, "retries": retries, "losses": losses, "snoozes": snoozes}
        columns |= {name: 0 for name, value in counters.items() if value < 0}
    columns |= {name: None for name in facts.damaged if name != "depends_on"}
    if "stray_time_limit" in broken:
        columns["timeout_at_us"] = None
    if "scheduled_without_time" in broken:
        columns["run_at_us"] = tx.now_us
    if "final_without_end" in broken:
        columns["end_us"] = row.version if created_us <= row.version <= tx.now_us else tx.now_us
    if "held_while_waiting" in broken:
        columns |= {"claimant": NOBODY, "cancel_requested_at_us": None}
    if "endless_lease" in broken:
        columns["end_us"] = tx.now_us
    if "lost_payload" in broken:
        columns["payload"] = NULL
    if "stray_member" in broken:
        columns |= _part(tx, row)
    if "number_ahead" in broken:
        columns |= _fresh_numbers(tx, facts)
    if broken & {"ready_without_place", "duplicate_place"}:
        columns["seq"] = tx.mint()
    return columns


def _part(tx: Transaction, row: Row) -> dict[str, Any]:
    """The task's part in its workflow, if there is that workflow."""
    n = tx.db.execute(WORKFLOW_OF, (row.n,)).get
    if n is None:
        return {"workflow": None, "callback": None}
    return {"callback": part_of(tx, n, row.id)}


def _fresh_numbers(tx: Transaction, facts: TaskFacts) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if facts.token > facts.highest:
        columns["token"] = tx.mint()
    if facts.place is not None and facts.place > facts.highest:
        columns["seq"] = tx.mint() if facts.state == State.READY else RESERVED
    return columns or {"version": tx.mint()}


def _move(tx: Transaction, row: Row, state: State) -> None:
    if state is State.READY:
        move(tx, row, Cause.RELEASE, state, token=max(row.token, 0, tx.mint()))
    elif state is State.CANCELLED:
        move(tx, row, Cause.CANCEL, state)
    elif state is State.SUCCEEDED:
        move(tx, row, Cause.SUCCEED, state)
    else:
        cause = Cause.FAIL if row.state is State.RUNNING else Cause.EXPIRE
        token = max(row.token + 1, tx.mint())
        move(tx, row, cause, state, token=token, error=DAMAGED_ERROR)


def _name_parents(tx: Transaction, n: int) -> tuple[str, ...]:
    """Write the parents down anew, from the edges: those that have been forgotten are not told any more."""
    parents = tuple(parent for (parent,) in tx.db.execute(PARENTS_OF, (n,)))
    tx.db.execute(PUT_PARENTS, (msgspec.json.encode(parents), n))
    return parents
