"""Workflows: what their tasks' states make of them, when they may be forgotten, and what a retry of their
failures brings back.

A workflow is tasks that were submitted as one document: *members*, which name each other as parents, and up
to three *callbacks*, which depend on all members. Its state is never stored: it follows from its members'.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

import msgspec

from mainspring.core.dag import Effect, effect, may_run
from mainspring.core.lifecycle import DOOMED_ERROR, SPARED_ERROR
from mainspring.core.model import OnParentFailure, State

KeyT = TypeVar("KeyT", str, int)


class Callback(IntEnum):
    """What a task of a workflow that is no member is there for. Numbers are stored, names are shown."""

    ON_COMPLETE = 1
    ON_SUCCESS = 2
    ON_FAILURE = 3

    @property
    def label(self) -> str:
        return self.name.lower()

    @property
    def rule(self) -> OnParentFailure:
        return _RULES[self]


_RULES = {
    Callback.ON_COMPLETE: OnParentFailure.RUN,
    Callback.ON_SUCCESS: OnParentFailure.CANCEL,
    Callback.ON_FAILURE: OnParentFailure.ONLY,
}


class WorkflowState(IntEnum):
    """`RUNNING` while any member is unfinished, whatever has failed by then."""

    RUNNING = 1
    SUCCEEDED = 2
    FAILED = 3
    CANCELLED = 4

    @property
    def label(self) -> str:
        return self.name.lower()


class Tally(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many tasks are in each state."""

    blocked: int = 0
    scheduled: int = 0
    ready: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def unfinished(self) -> int:
        return self.blocked + self.scheduled + self.ready + self.running

    @property
    def total(self) -> int:
        return self.unfinished + self.succeeded + self.failed + self.cancelled


NOTHING = Tally()


def tally(counted: Iterable[tuple[State, int]], start: Tally = NOTHING) -> Tally:
    """`start` and so many more in each state."""
    sums = msgspec.structs.asdict(start)
    for state, count in counted:
        sums[state.label] += count
    return Tally(**sums)


def was_spared(state: State, error: bytes | None) -> bool:
    """Whether a task ended cancelled because nothing had failed."""
    return state is State.CANCELLED and error == SPARED_ERROR


def verdict(members: Tally) -> WorkflowState:
    if members.unfinished:
        return WorkflowState.RUNNING
    if members.failed:
        return WorkflowState.FAILED
    return WorkflowState.CANCELLED if members.cancelled else WorkflowState.SUCCEEDED


def may_be_forgotten(
    last_ends_us: Mapping[State, int], kept_us: Mapping[State, int | None], now_us: int
) -> bool:
    """Whether retention may take a workflow's tasks: together, when each is past its own time. One that was
    taken earlier would be missing from the graph, and from a retry as a parent.

    `last_ends_us` are the states that its tasks are in, with the latest end in each.
    """
    for state, end_us in last_ends_us.items():
        kept = kept_us.get(state)
        if kept is None or end_us + kept > now_us:
            return False
    return True


# --- retrying what has failed -----------------------------------------------------------------------


class Standing(NamedTuple, Generic[KeyT]):
    """A task of the workflow as its retry sees it. A parent that has been forgotten is `None`. `doomed`: it
    ended because a parent had ended badly. `started`: it has been claimed in its present round."""

    key: KeyT
    state: State
    rule: OnParentFailure
    doomed: bool
    started: bool
    parents: Sequence[KeyT | None]


class Return(NamedTuple, Generic[KeyT]):
    """A task that goes back, and those of its parents that it waits for: none, and it may run."""

    key: KeyT
    waits_for: Sequence[KeyT]


def is_doomed(state: State, error: bytes | None) -> bool:
    return state is State.CANCELLED and error == DOOMED_ERROR


def returns(tasks: Iterable[Standing[KeyT]], outside: Mapping[KeyT, State]) -> list[Return[KeyT]]:
    """What comes back when a workflow's failures are retried: what failed, and what was cancelled for no
    other reason than that. What was made ready by a failure, and has not started, waits again.

    `tasks` come parents before children. `outside` are the states of parents that are not of the workflow:
    nothing changes them. What a task waits for is decided by the states after the retry.
    """
    states = dict(outside)
    back: set[KeyT] = set()
    found = []
    for task in tasks:
        waits_for = _waits_for(task, states)
        state = task.state
        if _comes_back(task, states, back):
            found.append(Return(task.key, waits_for))
            back.add(task.key)
            state = State.BLOCKED if waits_for else State.READY
        states[task.key] = state
    return found


def _waits_for(task: Standing[KeyT], states: Mapping[KeyT, State]) -> list[KeyT]:
    return [
        parent
        for parent in task.parents
        if parent is not None
        and (not states[parent].is_final or effect(states[parent], task.rule) is not Effect.RELEASE)
    ]


def _comes_back(task: Standing[KeyT], states: Mapping[KeyT, State], back: set[KeyT]) -> bool:
    if task.state in (State.READY, State.SCHEDULED):
        return not task.started and any(parent in back for parent in task.parents)
    if task.state is not State.FAILED and not task.doomed:
        return False
    if None in task.parents and not task.started:
        # Nobody knows how that parent had ended: a task that has not run must not run without it.
        return False
    known = [states[parent] for parent in task.parents if parent is not None]
    ended = [state for state in known if state.is_final]
    if any(effect(state, task.rule) is Effect.DOOM for state in ended):
        return False
    return len(ended) < len(known) or not known or may_run(task.rule, ended)
