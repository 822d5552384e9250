"""A damaged record is mended into the state it belongs into, field by field, and then moved by the one door
that every task moves by, so that numbers, lines, dependents and history follow."""

from typing import Any

from mainspring.core.laws import DAMAGED_ERROR, LOST_LANE, TaskFacts, mended_state
from mainspring.core.lifecycle import Cause
from mainspring.core.model import State
from mainspring.stores.postgres.auditing.rebuilding import rebuild_edges
from mainspring.stores.postgres.auditing.records import Record
from mainspring.stores.postgres.auditing.workflows import part_of
from mainspring.stores.postgres.moves import change, flush, lock, move
from mainspring.stores.postgres.rows import Row, encode_ids
from mainspring.stores.postgres.transaction import Transaction

# Fields that are not moved with a row.
ASIDE = ("policy", "labels", "attempts")
COUNTERS = ("attempt", "retries", "losses", "snoozes")


async def mend(tx: Transaction, record: Record) -> str:
    """Mend everything that is wrong with the record; what was done, for a person."""
    broken = {finding.law for finding in record.findings()}
    facts = record.facts
    what = []
    if "depends_on" in facts.damaged:
        parents = tuple(row["id"] for row in await tx.rows("parents_of", record.id))
        await tx.do("put_parents", record.id, encode_ids(parents))
        record = record._replace(parents=parents)
        what.append("depends_on set")
    await _adopt(tx, record)
    aside = [name for name in ASIDE if name in facts.damaged]
    if aside or "lost_payload" in broken:
        await tx.do("empty_task_fields", record.id, *[name in aside for name in ASIDE], not facts.has_payload)
        what += [f"{name} set" for name in aside]
    row = (await lock(tx, [record.id]))[record.id]
    changes = await _changes(tx, record, row, broken)
    if changes:
        change(tx, row, **changes)
    what += [f"{name} set" for name in changes]
    state = mended_state(facts)
    if state is not row.state:
        _move(tx, row, state)
        what.append(f"now {state.label}")
    elif row.state is State.READY:
        tx.gained.add(row.lane_id)
        tx.regained.add(row.lane_id)
    await flush(tx)
    if row.state is State.BLOCKED and broken & {"blocked_without_parent", "lost_edge"}:
        what.append(await rebuild_edges(tx, row, record.parents, none_is_open=not facts.open_edges))
    return "; ".join(what) or "mended with another finding"


async def _adopt(tx: Transaction, record: Record) -> None:
    """A row in no known state is taken for one whose run has ended, one of no lane for one of the lost: what
    no number was booked for is booked, so that the move which follows keeps the books right."""
    facts = record.facts
    is_known = 1 <= facts.state <= len(State)
    state = State(facts.state) if is_known else State.RUNNING
    if is_known and facts.lane_known:
        return
    await tx.need_lanes([LOST_LANE])
    lane_id = await tx.value("adopt", record.id, state, None if facts.lane_known else tx.lane_id(LOST_LANE))
    tx.count(lane_id, state, 1)


async def _changes(tx: Transaction, record: Record, row: Row, broken: set[str]) -> dict[str, Any]:
    """The fields that do not fit, and what fits."""
    facts = record.facts
    changes: dict[str, Any] = {}
    if "negative_counter" in broken:
        changes |= {name: 0 for name in COUNTERS if getattr(row, name) < 0}
    if "stray_time_limit" in broken:
        changes["timeout_at_us"] = None
    if "scheduled_without_time" in broken:
        changes["run_at_us"] = tx.now_us
    if "final_without_end" in broken:
        changes["finished_at_us"] = min(row.version, tx.now_us)
    if "held_while_waiting" in broken:
        changes |= {"worker": None, "incarnation": None, "cancel_requested_at_us": None}
    if "endless_lease" in broken:
        changes["lease_until_us"] = tx.now_us
    if "stray_member" in broken:
        changes |= await _part(tx, row)
    if "number_ahead" in broken:
        changes |= _fresh_numbers(tx, facts, row)
    if "ready_without_place" in broken:
        changes["seq"] = tx.mint()
    return changes


async def _part(tx: Transaction, row: Row) -> dict[str, Any]:
    """The task's part in its workflow, if there is that workflow."""
    if row.workflow is None or await tx.row("workflow", row.workflow) is None:
        return {"workflow": None, "callback": None}
    return {"callback": await part_of(tx, row.workflow, row.id)}


def _fresh_numbers(tx: Transaction, facts: TaskFacts, row: Row) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if facts.version > facts.highest:
        # `change` sets it to the next one.
        row.version = 0
    if facts.token > facts.highest:
        changes["token"] = tx.mint()
    if facts.place is not None and facts.place > facts.highest:
        # A running task that is handed back goes to its old place: it must have one.
        changes["seq"] = tx.mint() if facts.state in (State.READY, State.RUNNING) else None
    return changes or {"version": tx.mint()}


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
