"""Submitting: most groups are plain tasks, and all of those that stand together in a call are stored by a
few statements. A group that names keys, parents, unique rules or a capped queue is planned whole first
(planning.py)."""

from collections.abc import Container, Iterable, Sequence
from functools import cache, partial
from itertools import chain, groupby
from typing import Any

import msgspec

from mainspring.core.lifecycle import Cause
from mainspring.core.model import Lane, NewTask, State
from mainspring.ports import Accepted, Existing, Group, Idempotency, Refused
from mainspring.stores.sqlite.connection import DATA_ERRORS
from mainspring.stores.sqlite.moves import PUT_UNRESOLVED
from mainspring.stores.sqlite.planning import Plan
from mainspring.stores.sqlite.rows import NOBODY, RESERVED, RESERVED_DIGEST, tasks_by_id, texts
from mainspring.stores.sqlite.transaction import Transaction
from mainspring.stores.sqlite.workflows import add_workflow, is_taken, mark_callbacks

ROWS_A_STATEMENT = (64, 16, 4, 1)
GIVEN = 13
COLUMNS = (
    "id, state, lane, seq, version, run_at_us, timeout_us, deadline_us, unique_digest, name, policy, labels,"
    " payload, created_at_us, end_us, token, started_at_us, settled_token, settled_digest, claimant,"
    " claim_seq, workflow"
)
FIND_KEY = "SELECT digest, tasks FROM idempotency WHERE principal = ? AND key = ? AND expires_us > ?"
PUT_KEY = (
    "INSERT OR REPLACE INTO idempotency (principal, key, digest, expires_us, tasks) VALUES (?, ?, ?, ?, ?)"
)
NUMBERS_OF = "SELECT id, n FROM tasks INDEXED BY tasks_id WHERE id IN carray(?)"
ADD_EDGE = "INSERT INTO edges (parent, child, open) VALUES (?, ?, ?)"
ADD_DEPENDENCIES = "INSERT INTO dependencies (task, parents) VALUES (?, ?)"

_ids = msgspec.json.Decoder(tuple[str, ...])


def submit(tx: Transaction, groups: Sequence[Group]) -> list[Accepted | Existing | Refused]:
    answers: list[Accepted | Existing | Refused] = []
    for is_plain, run in groupby(groups, partial(_is_plain, tx)):
        if is_plain:
            answers += _submit_plain(tx, list(run))
        else:
            answers += [_submit_whole(tx, group) for group in run]
    return answers


def _is_plain(tx: Transaction, group: Group) -> bool:
    if group.idempotency is not None or tx.caps_backlogs or group.workflow is not None:
        return False
    for task in group.tasks:  # noqa: SIM110 (a generator would cost as much as the rest of a submit)
        if task.depends_on or task.unique is not None:
            return False
    return True


def _submit_plain(tx: Transaction, groups: list[Group]) -> list[Accepted | Existing | Refused]:
    tasks = groups[0].tasks if len(groups) == 1 else [task for group in groups for task in group.tasks]
    try:
        with tx.db:
            states, versions = _store(tx, tasks)
    except DATA_ERRORS:
        # One row was not acceptable: find out which, and let the other groups pass.
        tx.lanes.forget()
        return [_submit_whole(tx, group) for group in groups]
    now_us, start = tx.now_us, 0
    answers: list[Accepted | Existing | Refused] = []
    for group in groups:
        end = start + len(group.tasks)
        answers.append(Accepted(now_us, states[start:end], versions[start:end]))
        start = end
    return answers


def _submit_whole(tx: Transaction, group: Group) -> Accepted | Existing | Refused:
    try:
        with tx.db:
            answer = _earlier_use(tx, group.idempotency) or _submit_planned(tx, group)
    except DATA_ERRORS as error:
        tx.lanes.forget()
        return Refused("invalid_input", f"a value cannot be stored: {error}")
    return answer


def _submit_planned(tx: Transaction, group: Group) -> Accepted | Refused:
    plan = Plan(tx, group.tasks)
    refused = plan.refused()
    if refused is not None:
        return refused
    blocked = {task.id for task in plan.new if plan.is_blocked(task)}
    if group.workflow is not None and plan.new:
        if is_taken(tx, group.workflow.id):
            return Refused("id_taken", f"there is a workflow {group.workflow.id} already")
        states, versions = _store(tx, plan.new, blocked, add_workflow(tx, group.workflow))
        mark_callbacks(tx, group.workflow)
    else:
        states, versions = _store(tx, plan.new, blocked)
    _add_edges(tx, plan)
    ids = [plan.ids[task.id] for task in group.tasks]
    if group.idempotency is not None:
        key = group.idempotency
        expires_us = tx.now_us + key.ttl_us
        tx.db.execute(PUT_KEY, (key.principal, key.key, key.digest, expires_us, msgspec.json.encode(ids)))
    if len(plan.new) == len(ids):
        return Accepted(tx.now_us, states, versions)
    found = tasks_by_id(tx.db, tx.lanes, ids)
    existing = {
        place: found[id_]
        for place, (task, id_) in enumerate(zip(group.tasks, ids, strict=True))
        if task.id != id_
    }
    return Accepted(
        tx.now_us, [found[id_].state for id_ in ids], [found[id_].version for id_ in ids], existing
    )


# --- rows -------------------------------------------------------------------------------------------


def _store(
    tx: Transaction, tasks: Sequence[NewTask], blocked: Container[str] = (), workflow: int | None = None
) -> tuple[list[State], range]:
    """Insert new tasks; their states and first versions. What the transaction counts changes when all of
    them are in."""
    now_us, versions = tx.now_us, tx.mint_many(len(tasks))
    id_of, mint, is_ready = tx.lanes.id_of, tx.mint, State.READY
    states: list[State] = []
    values: list[Any] = []
    tally: dict[tuple[Lane, State], int] = {}
    for task, version in zip(tasks, versions, strict=True):
        lane, unique = task.lane, task.unique
        due_us = now_us + task.delay_us if task.delay_us > 0 else task.run_at_us
        state = is_ready if due_us is None or due_us <= now_us else State.SCHEDULED
        if task.id in blocked:
            state = State.BLOCKED
        states.append(state)
        tally[lane, state] = tally.get((lane, state), 0) + 1
        values += (
            task.id, state, id_of(lane, mint), version if state is is_ready else RESERVED, version, due_us,
            task.timeout_us, task.deadline_us, unique.digest if unique else None, task.name, task.policy,
            task.labels, task.payload,
        )  # fmt: skip
    _insert(tx, values, workflow)
    for (lane, state), count in tally.items():
        tx.count(lane.queue, state, count)
        if state is is_ready:
            tx.gained[id_of(lane, mint)] = None
    if tx.steps is not None:
        for task, state in zip(tasks, states, strict=True):
            tx.record(task.id, None, Cause.SUBMIT, state, 0, 0)
    return states, versions


def _insert(tx: Transaction, values: list[Any], workflow: int | None) -> None:
    """One statement for several rows saves most of a statement's fixed cost per row."""
    start, left = 0, len(values) // GIVEN
    for rows in ROWS_A_STATEMENT:
        while left >= rows:
            end = start + rows * GIVEN
            tx.db.execute(_insert_sql(rows), (tx.now_us, workflow, *values[start:end]))
            start, left = end, left - rows


@cache
def _insert_sql(rows: int) -> str:
    fixed = f"?1, {RESERVED}, {RESERVED}, {RESERVED}, {RESERVED}, {RESERVED_DIGEST}, {NOBODY}, {NOBODY}, ?2"
    places = []
    for row in range(rows):
        given = ", ".join([f"?{GIVEN * row + column + 3}" for column in range(GIVEN)])
        places.append(f"({given}, {fixed})")
    return f"INSERT INTO tasks ({COLUMNS}) VALUES {', '.join(places)}"


def _add_edges(tx: Transaction, plan: Plan) -> None:
    children = [task for task in plan.new if task.depends_on]
    if not children:
        return
    wanted: Iterable[str] = chain((task.id for task in children), *(plan.parents(task) for task in children))
    n_of = dict(tx.db.execute(NUMBERS_OF, (texts(set(wanted)),)))
    edges, records = [], []
    for task in children:
        parents, child = plan.parents(task), n_of[task.id]
        edges += [(n_of[parent], child, plan.is_open(parent, task)) for parent in parents]
        records.append((child, msgspec.json.encode(parents)))
    tx.db.executemany(ADD_EDGE, edges)
    tx.db.executemany(ADD_DEPENDENCIES, records)
    tx.db.executemany(PUT_UNRESOLVED, [(n_of[parent],) for parent in plan.ended_badly()])


# --- idempotency keys -------------------------------------------------------------------------------


def _earlier_use(tx: Transaction, key: Idempotency | None) -> Existing | Refused | None:
    if key is None:
        return None
    found = tx.db.execute(FIND_KEY, (key.principal, key.key, tx.now_us)).fetchone()
    if found is None:
        return None
    digest, tasks = found
    if digest != key.digest:
        return Refused("idempotency_key_reused", f"the key {key.key} came with another body before")
    ids = _ids.decode(tasks)
    stored = tasks_by_id(tx.db, tx.lanes, ids)
    return Existing([stored[id_] for id_ in ids if id_ in stored])
