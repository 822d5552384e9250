"""Workflows: founding one, looking at it, cancelling it, retrying what failed."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from mainspring.core.lifecycle import Cause
from mainspring.core.model import State, decode_policy
from mainspring.core.workflows import (
    Return,
    Standing,
    is_doomed,
    may_be_forgotten,
    returns,
    tally,
    was_spared,
)
from mainspring.stores.memory.editing import cancel, start_over
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.reading import has_label, parse_cursor
from mainspring.stores.memory.tables import Row, WorkflowRow
from mainspring.verbs import (
    MEMBERS_COUNTED,
    CallbackRecord,
    Member,
    Moved,
    NewWorkflow,
    Refused,
    Retention,
    Retried,
    WorkflowGraph,
    WorkflowPage,
    WorkflowQuery,
    WorkflowRecord,
    no_workflow,
)


def add_workflow(call: Call, new: NewWorkflow, rows: Iterable[Row]) -> None:
    """Make a workflow of rows that were stored just now."""
    roles = {task: callback for callback, task in new.callbacks.items()}
    for row in rows:
        row.workflow, row.callback = new.id, roles.get(row.id)
    tables = call.tables
    tables.tasks_of[new.id] = dict.fromkeys(row.id for row in rows)
    tables.workflows[new.id] = WorkflowRow(
        new.id, call.mint(), call.now_us, new.name, new.labels, dict(new.callbacks)
    )


# --- reading ----------------------------------------------------------------------------------------


def get(call: Call, workflow: str) -> WorkflowRecord | None:
    row = call.tables.workflows.get(workflow)
    return None if row is None else _record(call, row)


def graph(call: Call, workflow: str) -> WorkflowGraph | None:
    row = call.tables.workflows.get(workflow)
    if row is None:
        return None
    tasks = sorted(_tasks(call, workflow), key=lambda task: task.callback or 0)
    return WorkflowGraph(call.now_us, _record(call, row), [_member(task) for task in tasks])


def find(call: Call, query: WorkflowQuery) -> WorkflowPage:
    """As a store with an index by arrival would do it, which stops after so many tasks counted."""
    rows = list(call.tables.workflows.values())
    before = parse_cursor(query.cursor) if query.cursor else 1 << 62
    place = bisect_left(rows, before, key=lambda row: row.ordinal)
    records: list[WorkflowRecord] = []
    counted = 0
    while place and len(records) < query.limit and counted < MEMBERS_COUNTED:
        place -= 1
        row = rows[place]
        counted += 1
        if query.name not in (None, row.name) or (query.label and not has_label(row.labels, query.label)):
            continue
        record = _record(call, row)
        counted += record.members.total
        if not query.states or record.state in query.states:
            records.append(record)
    return WorkflowPage(records, str(rows[place].ordinal) if place else None)


def _record(call: Call, row: WorkflowRow) -> WorkflowRecord:
    members = (task for task in _tasks(call, row.id) if task.callback is None)
    ends = Counter(task.state for task in members)
    return WorkflowRecord(
        row.id,
        row.created_at_us,
        tally(ends.items(), row.forgotten),
        row.name,
        row.labels,
        {callback: _callback(call, task) for callback, task in row.callbacks.items()},
    )


def _callback(call: Call, task: str) -> CallbackRecord:
    row = call.tables.rows.get(task)
    if row is None:
        return CallbackRecord(task, None)
    return CallbackRecord(task, row.state, was_spared(row.state, row.error))


def _member(row: Row) -> Member:
    return Member(
        row.id, row.name, row.lane.kind, row.state, row.callback, row.attempt, row.retries, row.run_at_us,
        row.started_at_us, row.finished_at_us, row.worker, row.depends_on,
    )  # fmt: skip


def _tasks(call: Call, workflow: str) -> list[Row]:
    """Parents before children."""
    return [call.tables.rows[task] for task in call.tables.tasks_of[workflow]]


# --- by hand ----------------------------------------------------------------------------------------


def cancel_workflow(call: Call, workflow: str, callbacks: bool) -> Moved | Refused:
    if workflow not in call.tables.workflows:
        return no_workflow(workflow)
    # Children first: nothing is released by an end, only to be cancelled next.
    tasks = reversed(_tasks(call, workflow))
    count = sum([cancel(call, row) for row in tasks if callbacks or row.callback is None])
    return Moved(count, call.gained(), call.finished)


def retry_workflow(call: Call, workflow: str) -> Retried | Refused:
    if workflow not in call.tables.workflows:
        return no_workflow(workflow)
    rows = call.tables.rows
    back = returns(*_standings(call, _tasks(call, workflow)))
    for line in back:
        _bring_back(call, rows[line.key], line)
    for line in back:
        call.wait_again(rows[line.key])
    return Retried(len(back), sum(bool(line.waits_for) for line in back), call.gained())


def _standings(call: Call, tasks: Sequence[Row]) -> tuple[list[Standing[str]], Mapping[str, State]]:
    rows = call.tables.rows
    standings = [
        Standing(
            row.id,
            row.state,
            decode_policy(row.policy).on_parent_failure,
            is_doomed(row.state, row.error),
            row.attempt > 0,
            [parent if parent in rows else None for parent in row.depends_on],
        )
        for row in tasks
    ]
    parents = {parent for row in tasks for parent in row.depends_on if parent in rows}
    return standings, {parent: rows[parent].state for parent in parents}


def _bring_back(call: Call, row: Row, line: Return[str]) -> None:
    failed = row.state is State.FAILED
    if row.state.is_final:
        start_over(call, row)
        if failed:
            row.run_at_us = None
    state = State.BLOCKED if line.waits_for else call.due_state(row.run_at_us)
    call.move(row, Cause.REPLAY if failed and state is State.READY else Cause.REOPEN, state)
    for parent in line.waits_for:
        call.tables.dependents.setdefault(parent, {})[row.id] = True
        row.open_parents += 1


# --- retention --------------------------------------------------------------------------------------


def is_past(call: Call, workflow: str, retention: Retention) -> bool:
    ends: dict[State, int] = {}
    for row in _tasks(call, workflow):
        ends[row.state] = max(ends.get(row.state, 0), row.finished_at_us or 0)
    return may_be_forgotten(ends, retention.by_state, call.now_us)
