"""Submitting: plain groups are written as they are, by one COPY (copying.py). Others are planned against what
is stored (planning.py) first."""

from collections.abc import Sequence
from itertools import islice
from typing import Any
from zlib import crc32

from mainspring.core.lifecycle import Cause
from mainspring.core.model import State
from mainspring.ports import Accepted, Existing, Group, Idempotency, Refused
from mainspring.stores.postgres import copying
from mainspring.stores.postgres.editing import tasks_by_id
from mainspring.stores.postgres.planning import KeyUse, Planned, Plans, is_plain, rule_of
from mainspring.stores.postgres.rows import can_be_stored, encode_ids
from mainspring.stores.postgres.transaction import Replay, Transaction, columns
from mainspring.stores.postgres.workflows import new_workflow_rows

STRIPES = 128
# As `_rows` has them.
_COLUMNS = (
    "id", "lane_id", "state", "payload", "created_at_us", "version", "seq",
    "run_at_us", "policy", "timeout_us", "deadline_us", "labels", "name",
    "unique_digest", "rule", "is_parent", "depends_on", "workflow", "callback", "ordinal",
)  # fmt: skip
Answered = Accepted | Existing | Refused


async def prepare(tx: Transaction, groups: Sequence[Group]) -> None:
    """Take what every submit takes before it looks at anything: lanes, and locks for digests and keys.

    Whoever submits under the same digest or key waits, so that each sees what the other stored. Stripes
    instead of one lock each: a batch of thousands must not use up the server's lock table.
    """
    lanes = {task.lane for group in groups for task in group.tasks}
    if tx.is_careful:
        lanes = {lane for lane in lanes if all(map(can_be_stored, (*lane[:3], lane.key)))}
    await tx.need_lanes(lanes)
    wanted = [task.unique.digest for group in groups for task in group.tasks if task.unique]
    wanted += [_key_name(group.idempotency) for group in groups if group.idempotency]
    if wanted:
        await tx.do("submit_lock", sorted({crc32(name) % STRIPES for name in wanted}))


def _key_name(key: Idempotency) -> bytes:
    return f"{key.principal}\n{key.key}".encode(errors="replace")


async def submit(tx: Transaction, groups: Sequence[Group]) -> list[Answered]:
    if not groups:
        return []
    # A taken id shows when it is stored, as does a value that cannot be: the call is then played again.
    if not (tx.caps_backlogs or tx.is_replay or tx.is_careful) and all(map(is_plain, groups)):
        return await _submit_plain(tx, groups)
    plans = Plans(tx, groups)
    await plans.look_up()
    outcomes = [plans.group(group) for group in groups]
    versions = await _store(tx, plans)
    return [
        await _answer(tx, plans, versions, group, outcome)
        for group, outcome in zip(groups, outcomes, strict=True)
    ]


async def _submit_plain(tx: Transaction, groups: Sequence[Group]) -> list[Answered]:
    rows = copying.Rows(tx, [task for group in groups for task in group.tasks])
    await tx.copy_encoded("tasks", copying.COLUMNS, rows.pieces())
    states, versions = iter(rows.states), iter(rows.versions)
    return [
        Accepted(tx.now_us, list(islice(states, len(group.tasks))), list(islice(versions, len(group.tasks))))
        for group in groups
    ]


async def _store(tx: Transaction, plans: Plans) -> dict[str, int]:
    """Write what was planned. The first versions of the new tasks."""
    if plans.workflows:
        written = await tx.do("add_workflows", *columns(new_workflow_rows(tx, plans.workflows.values())))
        if written != len(plans.workflows):
            raise Replay
    new = list(plans.new.values())
    rows = _rows(tx, new)
    if rows:
        await tx.copy("tasks", _COLUMNS, rows)
    edges = [
        (parent, planned.task.id, rule_of(planned.task), parent in planned.open_parents)
        for planned in new
        for parent in planned.parents
    ]
    if edges:
        await tx.do("insert_edges", *columns(edges))
    if ends := sorted({parent for planned in new for parent in planned.ends}):
        await tx.do("put_unresolved", ends)
    if plans.keys:
        await tx.do("put_keys", *columns([_key_row(key, ids) for key, ids in plans.keys]))
    return {task: version for task, _, _, _, _, version, *_ in rows}


def _rows(tx: Transaction, new: Sequence[Planned]) -> list[tuple[Any, ...]]:
    parents = {parent for planned in new for parent in planned.parents}
    roles = {
        task: callback
        for planned in new
        if planned.workflow is not None
        for callback, task in planned.workflow.callbacks.items()
    }
    rows: list[tuple[Any, ...]] = []
    for place, planned in enumerate(new):
        task, state = planned.task, planned.state
        lane_id, version = tx.lane_id(task.lane), tx.mint()
        tx.count(lane_id, state, 1)
        is_ready = state is State.READY
        if is_ready:
            tx.gained.add(lane_id)
        tx.record(task.id, None, Cause.SUBMIT, state, 0, 0)
        workflow = planned.workflow
        rows.append((
            task.id, lane_id, state, task.payload, tx.now_us, version, version if is_ready else None,
            planned.run_at_us, task.policy, task.timeout_us, task.deadline_us, task.labels, task.name,
            task.unique.digest if task.unique else None, rule_of(task), task.id in parents,
            encode_ids(planned.parents), None if workflow is None else workflow.id,
            None if workflow is None else roles.get(task.id), None if workflow is None else place,
        ))  # fmt: skip
    return rows


async def _answer(
    tx: Transaction,
    plans: Plans,
    versions: dict[str, int],
    group: Group,
    outcome: Refused | KeyUse | Sequence[str],
) -> Answered:
    if isinstance(outcome, Refused):
        return outcome
    if isinstance(outcome, KeyUse):
        stored = await tasks_by_id(tx, outcome.tasks)
        return Existing([stored[task] for task in outcome.tasks if task in stored])
    others = (
        {place: task for place, task in enumerate(outcome) if task != group.tasks[place].id}
        if outcome
        else {}
    )
    found = await tasks_by_id(tx, list(others.values()))
    states = [found[task].state if task in found else plans.new[task].state for task in outcome]
    first = [found[task].version if task in found else versions[task] for task in outcome]
    return Accepted(tx.now_us, states, first, {place: found[task] for place, task in others.items()})


def _key_row(key: Idempotency, tasks: tuple[str, ...]) -> tuple[object, ...]:
    return key.principal, key.key, key.digest, key.ttl_us, encode_ids(tasks) or b"[]"
