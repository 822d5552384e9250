"""Dependencies: storing order, cycles, and what a finished parent means."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.dag import Effect, circle, effect, holds_new, may_run, storing_order
from mainspring.core.model import OnParentFailure, State
from mainspring.errors import InvalidInput

RUN, CANCEL, BLOCK, ONLY = (
    OnParentFailure.RUN,
    OnParentFailure.CANCEL,
    OnParentFailure.BLOCK,
    OnParentFailure.ONLY,
)
ENDS = [State.SUCCEEDED, State.FAILED, State.CANCELLED]


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
    bad = {RUN: Effect.RELEASE, CANCEL: Effect.DOOM, BLOCK: Effect.HOLD, ONLY: Effect.RELEASE}
    assert effect(state, rule) is (Effect.RELEASE if good else bad[rule])


@pytest.mark.parametrize("rule", list(OnParentFailure))
@pytest.mark.parametrize("ends", [[], [ENDS[0]], ENDS[:2], [ENDS[0], ENDS[2]], [ENDS[1]]])
def test_only_a_failure_lets_a_task_under_only_run(ends, rule):
    assert may_run(rule, ends) is (rule is not ONLY or set(ends) > {State.SUCCEEDED} or ends == [ENDS[1]])


@pytest.mark.parametrize("rule", list(OnParentFailure))
@pytest.mark.parametrize("state", ENDS)
def test_a_new_task_is_held_by_what_ended_if_its_end_decides(state, rule):
    released = effect(state, rule) is Effect.RELEASE and rule is not ONLY
    assert holds_new(state, rule) is not released


def test_a_circle_is_found_child_by_child():
    assert circle({"a": ["b"], "b": ["c"], "c": []}) == []
    found = circle({"x": ["a"], "a": ["c"], "b": ["a"], "c": ["b"]})
    assert found[0] == found[-1]
    assert {*itertools.pairwise(found)} == {("a", "c"), ("c", "b"), ("b", "a")}
