"""Dependencies: in what order a group can be stored, and what a finished parent means for a child."""

from collections.abc import Mapping, Sequence
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
        circle = " -> ".join(reversed(error.args[1]))
        raise InvalidInput("depends_on", f"the tasks depend on each other in a circle: {circle}") from None


def effect(parent: State, rule: OnParentFailure) -> Effect:
    """What a parent that ended in `parent` means for a child with this rule."""
    if parent is State.SUCCEEDED or rule is OnParentFailure.RUN:
        return Effect.RELEASE
    return Effect.DOOM if rule is OnParentFailure.CANCEL else Effect.HOLD
