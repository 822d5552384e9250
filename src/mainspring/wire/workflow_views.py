"""What everybody reads: a workflow, its graph, and what of it takes longest."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from mainspring.core.critical import Duration, Plan, Run, durations, plan
from mainspring.core.workflows import Tally, WorkflowState
from mainspring.errors import InvalidInput
from mainspring.verbs import Member, WorkflowGraph, WorkflowPage, WorkflowQuery, WorkflowRecord
from mainspring.wire import pages
from mainspring.wire.bounds import BOUNDS, Bounds
from mainspring.wire.fields import moment, seconds
from mainspring.wire.queries import read_label
from mainspring.wire.views import Number

_NO_LABELS = msgspec.Raw(b"{}")
_STATES = {state.label: state for state in WorkflowState}


class CallbackView(msgspec.Struct):
    """A callback's task. `state` is as a task's, or `skipped` if there was nothing to do for it, or `null` if
    the task has been forgotten."""

    id: str
    state: str | None


class WorkflowView(msgspec.Struct):
    """A workflow in short. `state` is that of its tasks, callbacks left out; `is_over` says whether those
    are through, too. `progress` is the share of its tasks that has ended."""

    id: str
    name: str | None
    state: str
    is_over: bool
    progress: float
    created_at: datetime
    labels: msgspec.Raw
    counts: dict[str, int]
    callbacks: dict[str, CallbackView]


class WorkflowsView(msgspec.Struct):
    """Newest first. `next_page_token` is `null` after the last page; a page may be short, even empty."""

    workflows: list[WorkflowView]
    next_page_token: str | None


class MemberView(msgspec.Struct):
    """One task of a workflow. `depends_on` are names; parents outside of the workflow have their id there.
    `duration` is how long its last run took, or will take if `is_estimated`. `slack`: how many seconds
    longer it could take without delaying the end. Durations are seconds."""

    id: str
    name: str | None
    kind: str
    state: str
    attempt: int
    worker: str | None
    depends_on: list[str]
    level: int
    started_at: datetime | None
    finished_at: datetime | None
    duration: Number
    is_estimated: bool
    slack: Number
    is_critical: bool


class CriticalPathView(msgspec.Struct):
    """The longest chain of tasks: however many workers there are, the workflow takes `duration` seconds, of
    which `left` are still to come."""

    tasks: list[str]
    duration: Number
    left: Number


class GraphView(WorkflowView):
    """A workflow with its tasks, parents before children. `finished_at` is the last end by now."""

    started_at: datetime | None
    finished_at: datetime | None
    tasks: list[MemberView]
    critical_path: CriticalPathView


class RetriedView(msgspec.Struct):
    """How many tasks came back, and how many of them wait for others."""

    count: int
    waiting: int
    workflow: WorkflowView


class CancelledView(msgspec.Struct):
    """How many tasks were cancelled or asked to stop."""

    count: int
    workflow: WorkflowView


def workflow_view(record: WorkflowRecord) -> WorkflowView:
    members = record.members
    return WorkflowView(
        record.id,
        record.name,
        record.state.label,
        record.is_over,
        round(1.0 - members.unfinished / members.total, 4) if members.total else 1.0,
        moment(record.created_at_us),
        msgspec.Raw(record.labels) if record.labels else _NO_LABELS,
        counts(members),
        {
            callback.label: CallbackView(
                one.id, "skipped" if one.spared else None if one.state is None else one.state.label
            )
            for callback, one in record.callbacks.items()
        },
    )


def counts(members: Tally) -> dict[str, int]:
    """Those that there are; a workflow of ten thousand tasks is mostly in two states."""
    return {state: count for state, count in msgspec.structs.asdict(members).items() if count}


# --- the graph --------------------------------------------------------------------------------------


def graph_view(graph: WorkflowGraph) -> GraphView:
    members = [task for task in graph.tasks if task.callback is None]
    places = {task.id: place for place, task in enumerate(members)}
    parents = [[places[parent] for parent in task.depends_on if parent in places] for task in members]
    runs = [Run(task.kind, task.state, task.started_at_us, task.finished_at_us) for task in members]
    times = durations(runs, graph.now_us)
    found = plan(parents, [time.us for time in times])
    left = plan(parents, [time.left_us for time in times])
    names = {task.id: task.name or task.id for task in members}
    starts = [task.started_at_us for task in members if task.started_at_us is not None]
    ends = [task.finished_at_us for task in members if task.finished_at_us is not None]
    return GraphView(
        **msgspec.structs.asdict(workflow_view(graph.record)),
        started_at=moment(min(starts)) if starts else None,
        finished_at=moment(max(ends)) if ends and not graph.record.members.unfinished else None,
        tasks=_members(members, names, times, found),
        critical_path=CriticalPathView(
            [names[members[place].id] for place in found.path],
            seconds(found.length_us),
            seconds(left.length_us),
        ),
    )


def _members(
    members: Sequence[Member], names: Mapping[str, str], times: Sequence[Duration], found: Plan
) -> list[MemberView]:
    critical = set(found.path)
    return [
        MemberView(
            task.id,
            task.name,
            task.kind,
            task.state.label,
            task.attempt,
            task.worker,
            [names.get(parent, parent) for parent in task.depends_on],
            found.levels[place],
            None if task.started_at_us is None else moment(task.started_at_us),
            None if task.finished_at_us is None else moment(task.finished_at_us),
            seconds(times[place].us),
            times[place].is_estimated,
            seconds(found.slacks_us[place]),
            place in critical,
        )
        for place, task in enumerate(members)
    ]


# --- lists ------------------------------------------------------------------------------------------


def read_workflow_query(parameters: Mapping[str, str], bounds: Bounds = BOUNDS) -> WorkflowQuery:
    """A list's query parameters: state (may be several, by commas), name, label, page_size, page_token.
    Raises `InvalidInput` naming the parameter."""
    label, token = parameters.get("label"), parameters.get("page_token")
    query = WorkflowQuery(
        frozenset(_state(name) for name in parameters["state"].split(","))
        if "state" in parameters
        else frozenset(),
        parameters.get("name"),
        None if label is None else read_label(label),
        pages.page_size(parameters.get("page_size"), bounds),
    )
    if token is not None:
        query.cursor = pages.unseal(token, _filter_text(query))
    return query


def _state(name: str) -> WorkflowState:
    found = _STATES.get(name.strip().lower())
    if found is None:
        raise InvalidInput("state", f"not a state of workflows: {name[:40]!r}", ", ".join(_STATES))
    return found


def workflows_view(query: WorkflowQuery, page: WorkflowPage) -> WorkflowsView:
    token = None if page.cursor is None else pages.seal(page.cursor, _filter_text(query))
    return WorkflowsView([workflow_view(record) for record in page.workflows], token)


def _filter_text(query: WorkflowQuery) -> str:
    return repr(("workflows", sorted(query.states), query.name, query.label))
