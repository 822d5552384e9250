"""The laws that hold in every store at every moment, each named by its breach.

    facts about a task, an edge, a count ─► breaches ─► the auditor's findings ─► mended_state, rebuilt_edge

A breach is never the fault of a caller: it tells of a bug, of a damaged disk, or of somebody who wrote into
the store by hand. What the laws need of a row is told by the driver as facts; what follows from them, and
what a damaged row is mended into, is decided here for every store alike.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

import msgspec

from mainspring.core.dag import Effect, effect
from mainspring.core.limits import LimitRule, full_at_us
from mainspring.core.model import SECOND_US, Lane, OnParentFailure, State


class Law(NamedTuple):
    """`meaning` is what holds, `mending` what repair does about a breach; empty if only a person can know.

    A `grave` breach loses a task, holds it up for ever or runs it twice; others make readers err.
    """

    meaning: str
    mending: str
    grave: bool = True


LAWS: Mapping[str, Law] = {
    # --- tasks ---
    "unknown_state": Law(
        "every task is in one of the seven states",
        "with a settled result it has succeeded, else it becomes a dead letter",
    ),
    "unknown_lane": Law(
        "every task's lane exists",
        "moved to the queue lost-and-found; unfinished, it becomes a dead letter",
    ),
    "damaged_field": Law(
        "policy, labels, attempts and parents of a task can be read",
        "the field is emptied; parents are told from the edges",
    ),
    "negative_counter": Law("no counter of a task is below zero", "set to zero", grave=False),
    "number_ahead": Law(
        "no token, version or place is above the last one minted",
        "the task gets fresh numbers; if it runs, its holder is fenced and it is ready again",
    ),
    "ready_without_place": Law("every ready task has a place in its line", "put at the end of the line"),
    "duplicate_place": Law(
        "no two ready tasks of a line have the same place",
        "the later one is put at the end of the line",
        grave=False,
    ),
    "not_in_line": Law("a ready task is found by those who claim from its line", "the line is built anew"),
    "scheduled_without_time": Law("every scheduled task has a time", "due now"),
    "running_without_holder": Law(
        "every running task has a claimant, a token, a start and a lease",
        "its holder, if there is one, is fenced and it is ready again; cancelled if that was asked for",
    ),
    "endless_lease": Law("no lease lasts longer than the longest time limit", "the lease ends now"),
    "final_without_end": Law("every final task has an end time", "the time of its last change"),
    "held_while_waiting": Law(
        "a task that waits has no claimant, and no cancellation is asked for", "both are removed"
    ),
    "stray_time_limit": Law("only a running task has a time to be ended at", "removed", grave=False),
    "blocked_without_parent": Law(
        "every blocked task waits for at least one parent",
        "its edges are built anew from its parents; if it has none, it goes on",
    ),
    "lost_edge": Law(
        "a blocked task has an edge to each of its parents", "the edge is built anew from the parent"
    ),
    "lost_payload": Law("every task has its payload", "null; unfinished, it becomes a dead letter"),
    "parent_count": Law("the number of parents that a blocked task waits for is booked", "counted anew"),
    # --- dependencies ---
    "orphan_edge": Law(
        "both tasks of an edge exist",
        "removed; a blocked child is released or cancelled, as if the lost parent had failed",
    ),
    "unknown_edge_state": Law("an edge is open or closed", "built anew from its parent"),
    "stray_open_edge": Law("only blocked tasks have open edges", "closed", grave=False),
    "unapplied_end": Law(
        "a final parent has been applied to its blocked children, or is noted to be", "noted for the resolver"
    ),
    "stray_unresolved": Law("parents that are noted for the resolver exist", "removed", grave=False),
    "stray_record": Law("what belongs to a task goes with it", "removed", grave=False),
    "unreadable_key": Law(
        "an idempotency key names the tasks that it made", "removed: its next use makes tasks anew"
    ),
    # --- workflows ---
    "stray_member": Law(
        "the workflow of a task exists, and knows it",
        "made known again, or a task of no workflow",
        grave=False,
    ),
    "empty_workflow": Law("every workflow has a task", "removed", grave=False),
    "unreadable_workflow": Law(
        "callbacks, labels and sums of a workflow can be read",
        "callbacks are told by the tasks, labels and sums of forgotten members are emptied",
        grave=False,
    ),
    # --- schedules ---
    "lost_fire": Law(
        "every fire time that was decided is on record",
        "recorded anew, with its task if there is one, else as skipped for the reason `lost`",
    ),
    "empty_fire": Law(
        "a record of a fire names its task or the reason of its skip",
        "its task is named, if there is one; else it is told as skipped: `lost`",
        grave=False,
    ),
    "forgotten_schedule": Law("a schedule is looked at when its next fire is due", "looked at now"),
    "unreadable_standing": Law("how far a schedule has come can be read", "it begins anew from now"),
    # --- books ---
    "lost_count": Law("numbers by queue and state are not below the real ones", "counted anew"),
    "ghost_count": Law("numbers by queue and state are not above the real ones", "counted anew"),
    "limit_usage": Law(
        "what a limit has in use are its running tasks, and starts no further ahead than its burst",
        "counted anew",
    ),
    "stray_lease": Law("what is booked as held runs", "removed"),
    "stray_lane": Law("a lane is active if and only if it has ready tasks", "counted anew"),
    "endless_term": Law("no leader's term lasts longer than a day", "the term ends now"),
    "clock_ahead": Law("the store's time is not ahead of its host's by more than a minute", ""),
    "unreadable_limit": Law("every limit can be read", ""),
    "unreadable_share": Law("weights are above zero, used time is a number", "weight 1, no time used"),
    "unreadable_worker": Law("every worker's report can be read", "removed: its next heartbeat is kept"),
    "damaged_index": Law("every index of the store agrees with its rows", "built anew"),
    "damaged_file": Law("the store's medium is whole", ""),
}

LONGEST_LEASE_US = 101 * 365 * 86_400 * SECOND_US
LONGEST_TERM_US = 86_400 * SECOND_US
CLOCK_MAY_BE_AHEAD_US = 60 * SECOND_US
# Starts are booked in floating point: this part of one is no breach, nor is a microsecond.
ROUNDING = 0.01
ROUNDING_US = 1.0

LOST_LANE = Lane("lost-and-found", "unknown", "default", 5)
DAMAGED_ERROR = (
    b'{"type":"RecordDamaged","message":"the record was damaged, and nobody knows what became of the task"}'
)
PARENT_GONE_ERROR = (
    b'{"type":"ParentFailed","message":"the record of a task that this one depends on has been lost"}'
)

_STATES = frozenset(int(state) for state in State)


class Breach(NamedTuple):
    law: str
    detail: str


class TaskFacts(msgspec.Struct, gc=False):
    """What a store holds of a task, as far as laws speak of it. `highest` is the last number minted, or the
    store's time if that is later. `edges` and `open_edges` are told of blocked tasks, `place_taken` and
    `in_line` of ready ones. `damaged` names fields that cannot be read. `has_known_part` is false for a task
    of a workflow that is not there, or does not know it."""

    state: int
    highest: int
    token: int
    version: int
    place: int | None
    lane_known: bool = True
    place_taken: bool = False
    in_line: bool = True
    held: bool = False
    lease_left_us: int | None = None
    started: bool = False
    ended: bool = False
    has_run_at: bool = False
    has_time_limit: bool = False
    cancel_wanted: bool = False
    lowest_counter: int = 0
    parents: int = 0
    edges: int = 0
    open_edges: int = 0
    damaged: tuple[str, ...] = ()
    has_payload: bool = True
    has_known_part: bool = True
    has_settled_result: bool = False


def breaches(task: TaskFacts) -> list[Breach]:
    """Every law that the task's record breaks; most often none."""
    found: list[Breach] = []
    state = task.state
    if state not in _STATES:
        found.append(Breach("unknown_state", f"its state is {state}"))
    elif state == State.RUNNING:
        _running(task, found)
    elif state >= State.SUCCEEDED:
        if not task.ended:
            found.append(Breach("final_without_end", f"it is {State(state).label} without an end time"))
    else:
        _waiting(task, found)
    if task.has_time_limit and state != State.RUNNING:
        found.append(Breach("stray_time_limit", "it does not run and has a time to be ended at"))
    if not task.lane_known:
        found.append(Breach("unknown_lane", "its queue, kind, tenant and priority are not on record"))
    if task.lowest_counter < 0:
        found.append(Breach("negative_counter", f"a counter of its runs is {task.lowest_counter}"))
    numbers = max(task.token, task.version, task.place or 0)
    if numbers > task.highest:
        detail = f"it bears {numbers}, and no more than {task.highest} is given out"
        found.append(Breach("number_ahead", detail))
    for field in task.damaged:
        found.append(Breach("damaged_field", f"its {field} cannot be read"))
    if not task.has_known_part:
        found.append(Breach("stray_member", "its workflow, or its part in it, is not known"))
    if not task.has_payload:
        found.append(Breach("lost_payload", "its payload is gone"))
    return found


def _running(task: TaskFacts, found: list[Breach]) -> None:
    wanted = {
        "claimant": task.held,
        "token": task.token > 0,
        "start": task.started,
        "lease": task.lease_left_us is not None,
    }
    missing = [name for name, there in wanted.items() if not there]
    if missing:
        found.append(Breach("running_without_holder", f"it runs without a {', '.join(missing)}"))
    elif task.lease_left_us is not None and task.lease_left_us > LONGEST_LEASE_US:
        found.append(Breach("endless_lease", f"its lease ends in {task.lease_left_us // SECOND_US} s"))


def _waiting(task: TaskFacts, found: list[Breach]) -> None:
    if task.held or task.cancel_wanted:
        what = "a claimant" if task.held else "a cancellation asked for"
        found.append(Breach("held_while_waiting", f"it is {State(task.state).label} and has {what}"))
    if task.state == State.SCHEDULED and not task.has_run_at:
        found.append(Breach("scheduled_without_time", "it is scheduled for no time"))
    elif task.state == State.READY:
        if task.place is None:
            found.append(Breach("ready_without_place", "it is ready and has no place in line"))
        elif task.place_taken:
            found.append(Breach("duplicate_place", f"an earlier task of its line has its place {task.place}"))
        if not task.in_line:
            found.append(Breach("not_in_line", "no claim can find it"))
    elif task.state == State.BLOCKED:
        if not task.open_edges:
            found.append(Breach("blocked_without_parent", "it is blocked and waits for no task"))
        if task.edges < task.parents:
            found.append(Breach("lost_edge", f"it has {task.edges} edges to {task.parents} parents"))


def mended_state(task: TaskFacts) -> State:
    """The state that the task belongs into by what is left of its record; most often the one it has.

    What cannot be known is not guessed: the task becomes a dead letter, which a person may replay.
    """
    if task.state not in _STATES:
        return State.SUCCEEDED if task.has_settled_result else State.FAILED
    state = State(task.state)
    if state.is_final:
        return state
    if not task.lane_known or not task.has_payload:
        return State.FAILED
    if state is State.RUNNING and not is_held(task):
        return State.CANCELLED if task.cancel_wanted else State.READY
    return state


def is_held(task: TaskFacts) -> bool:
    """Whether a running task has a holder whose report could be accepted one day."""
    return task.token <= task.highest and not any(
        breach.law == "running_without_holder" for breach in breaches(task)
    )


# --- dependencies -----------------------------------------------------------------------------------


class EdgeFacts(NamedTuple):
    """An edge, and what it joins: `None` for a task that does not exist. `noted` says that the parent is
    noted for the resolver."""

    is_open: int
    parent: int | None
    child: int | None
    rule: OnParentFailure
    noted: bool


def edge_breach(edge: EdgeFacts) -> Breach | None:
    if edge.parent is None or edge.child is None:
        gone = "parent" if edge.parent is None else "child"
        return Breach("orphan_edge", f"its {gone} does not exist")
    if edge.is_open not in (0, 1):
        return Breach("unknown_edge_state", f"it is neither open nor closed but {edge.is_open}")
    if not edge.is_open:
        return None
    if edge.child != State.BLOCKED:
        return Breach("stray_open_edge", "it is open, and its child is not blocked")
    if edge.noted or not State.SUCCEEDED <= edge.parent <= State.CANCELLED:
        return None
    if effect(State(edge.parent), edge.rule) is Effect.HOLD:
        return None
    label = State(edge.parent).label
    return Breach("unapplied_end", f"its parent is {label}, and nobody will tell the child")


class Rebuilt(IntEnum):
    """What becomes of an edge that is built anew."""

    OPEN = 1
    NOTED = 2  # open, and its parent has ended: the resolver says what becomes of the child
    RELEASES = 3  # there is no parent: no edge, and the child need not wait for it
    CANCELS = 4  # there is no parent, and without it the child must not run


def rebuilt_edge(parent: int | None, rule: OnParentFailure) -> Rebuilt:
    """From what is known of the parent. One that is lost counts as failed; nobody can replay it, so that a
    child that would wait for that is cancelled, too. A parent in no known state is waited for."""
    if parent is None:
        return Rebuilt.RELEASES if effect(State.FAILED, rule) is Effect.RELEASE else Rebuilt.CANCELS
    if not State.SUCCEEDED <= parent <= State.CANCELLED:
        return Rebuilt.OPEN
    return Rebuilt.OPEN if effect(State(parent), rule) is Effect.HOLD else Rebuilt.NOTED


# --- books ------------------------------------------------------------------------------------------


def count_breach(booked: int, counted: int) -> Breach | None:
    """Of the number of tasks of one queue in one state."""
    if booked == counted:
        return None
    law = "lost_count" if booked < counted else "ghost_count"
    return Breach(law, f"{booked} are booked, {counted} are there")


def arrival_breach(rule: LimitRule | None, arrival_us: float, now_us: int) -> Breach | None:
    """Of the theoretical arrival time of a limit's name. A name without a rate has none that matters."""
    if rule is None or rule.rate is None:
        return None
    ahead_us = arrival_us - full_at_us(rule, now_us)
    if ahead_us <= max(ROUNDING_US, rule.interval_us * ROUNDING):
        return None
    detail = f"starts are booked {ahead_us / SECOND_US:.3g} s further ahead than it allows"
    return Breach("limit_usage", detail)
