"""Dependencies: storing order, cycles, and what a finished parent means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.dag import Effect, effect, storing_order
from mainspring.core.model import OnParentFailure, State
from mainspring.errors import InvalidInput

RUN, CANCEL, BLOCK = OnParentFailure.RUN, OnParentFailure.CANCEL, OnParentFailure.BLOCK


def test_parents_before_children():
    order = storing_order({"c": ["a", "b"], "a": [], "b": ["a"], "d": ["c"]})
    assert order == ["a", "b", "c", "d"]


@given(st.lists(st.sets(st.integers(0, 30)), max_size=30))
def test_any_acyclic_graph_has_an_order(edges):
    """Parents point to earlier numbers only, so there is no cycle."""
    parents = {str(n): [str(p) for p in found if p < n] for n, found in enumerate(edges)}
    order = storing_order(parents)
    assert sorted(order) == sorted(parents)
    place = {task: n for n, task in enumerate(order)}
    assert all(place[parent] < place[task] for task, found in parents.items() for parent in found)


@pytest.mark.parametrize(
    ("parents", "members"),
    [
        ({"a": ["a"]}, {"a"}),
        ({"a": ["b"], "b": ["a"]}, {"a", "b"}),
        ({"a": [], "b": ["a", "d"], "c": ["b"], "d": ["c"]}, {"b", "c", "d"}),
    ],
)
def test_a_cycle_is_refused_and_named(parents, members):
    with pytest.raises(InvalidInput) as caught:
        storing_order(parents)
    assert caught.value.field == "depends_on"
    assert set(caught.value.problem.partition(": ")[2].split(" -> ")) == members


def test_a_deep_chain_and_a_wide_fan():
    """S0-68: ten thousand levels, ten thousand children."""
    chain = {str(n): [str(n - 1)] if n else [] for n in range(10_000)}
    assert storing_order(chain) == [str(n) for n in range(10_000)]
    fan = {"0": [], **{str(n): ["0"] for n in range(1, 10_000)}}
    assert storing_order(fan)[0] == "0"


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
@pytest.mark.parametrize("rule", list(OnParentFailure))
def test_effect(state, rule):
    good = state is State.SUCCEEDED
    expected = (
        Effect.RELEASE if good else {RUN: Effect.RELEASE, CANCEL: Effect.DOOM, BLOCK: Effect.HOLD}[rule]
    )
    assert effect(state, rule) is expected
