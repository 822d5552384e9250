"""Dependencies: in what order a group can be stored, and what a finished parent means for a child."""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from graphlib import CycleError, TopologicalSorter

from mainspring.core.model import OnParentFailure, State
from mainspring.errors import InvalidInput


class Effect(IntEnum):
    """What a parent's final state does to one edge of a child."""

    RELEASE = 1
    DOOM = 2
    HOLD = 3


def storing_order(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """The members of a group, parents before children.

    `parents` maps every member to those of its parents that are members too.
    Raises `InvalidInput` naming the members of the first cycle found.
    """
    try:
        return list(TopologicalSorter(parents).static_order())
    except CycleError as error:
        raise InvalidInput("depends_on", circular(_circle(error))) from None


def circle(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Members that depend on each other in a circle, each followed by its parent; empty if there are none."""
    try:
        TopologicalSorter(parents).prepare()
    except CycleError as error:
        return _circle(error)
    return []


def _circle(error: CycleError) -> list[str]:
    return list(reversed(error.args[1]))


def circular(members: Sequence[str]) -> str:
    return f"the tasks depend on each other in a circle: {' -> '.join(members)}"


def effect(parent: State, rule: OnParentFailure) -> Effect:
    """What a parent that ended in `parent` means for a child with this rule."""
    if parent is State.SUCCEEDED or rule in (OnParentFailure.RUN, OnParentFailure.ONLY):
        return Effect.RELEASE
    return Effect.DOOM if rule is OnParentFailure.CANCEL else Effect.HOLD


def holds_new(parent: State, rule: OnParentFailure) -> bool:
    """Whether a parent that has ended already holds a new task back, for `resolve` to say what becomes of it.
    Whether a task under `ONLY` runs at all is said by its parents' ends: it is never stored as ready."""
    return effect(parent, rule) is not Effect.RELEASE or rule is OnParentFailure.ONLY


def may_run(rule: OnParentFailure, parents: Iterable[State]) -> bool:
    """Whether a task runs, now that every parent has released it; if not, it ends cancelled."""
    return rule is not OnParentFailure.ONLY or any(parent is not State.SUCCEEDED for parent in parents)
