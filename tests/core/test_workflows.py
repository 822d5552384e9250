"""Workflows: state from counts, retention of the whole, and what a retry of failures brings back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.lifecycle import DOOMED_ERROR, SPARED_ERROR
from mainspring.core.model import OnParentFailure, State
from mainspring.core.workflows import (
    NOTHING,
    Callback,
    Standing,
    Tally,
    WorkflowState,
    is_doomed,
    may_be_forgotten,
    returns,
    tally,
    verdict,
    was_spared,
)

SUCCEEDED, FAILED, CANCELLED = State.SUCCEEDED, State.FAILED, State.CANCELLED
B, S, READY, RUNNING = State.BLOCKED, State.SCHEDULED, State.READY, State.RUNNING
CANCEL, RUN, BLOCK, ONLY = OnParentFailure
COUNTS = st.dictionaries(st.sampled_from(list(State)), st.integers(0, 3))


# --- state -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([SUCCEEDED, SUCCEEDED], WorkflowState.SUCCEEDED),
        ([SUCCEEDED, FAILED, CANCELLED], WorkflowState.FAILED),
        ([SUCCEEDED, CANCELLED], WorkflowState.CANCELLED),
        *[([FAILED, CANCELLED, state], WorkflowState.RUNNING) for state in (B, S, READY, RUNNING)],
    ],
)
def test_verdict(states, expected):
    assert verdict(tally((state, 1) for state in states)) is expected


@given(COUNTS, COUNTS)
def test_tallies_add_up(first, second):
    """What is forgotten and what is there count as one."""
    both = tally(second.items(), tally(first.items()))
    assert both == tally([*first.items(), *second.items()])
    assert both.total == sum(first.values()) + sum(second.values())
    assert both.unfinished == sum(
        counts.get(state, 0) for counts in (first, second) for state in State if not state.is_final
    )


def test_no_tasks():
    assert tally([]) == NOTHING == Tally()
    assert verdict(NOTHING) is WorkflowState.SUCCEEDED


def test_callbacks_and_their_rules():
    assert {callback.label: callback.rule for callback in Callback} == {
        "on_complete": RUN,
        "on_success": CANCEL,
        "on_failure": ONLY,
    }


def test_why_a_task_was_cancelled():
    assert is_doomed(CANCELLED, DOOMED_ERROR)
    assert was_spared(CANCELLED, SPARED_ERROR)
    for state, error in ((CANCELLED, None), (FAILED, DOOMED_ERROR), (CANCELLED, b"{}")):
        assert not is_doomed(state, error)
        assert not was_spared(state, error)


# --- retention ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "now", "expected"),
    [
        ({SUCCEEDED: 10}, 19, False),
        ({SUCCEEDED: 10}, 20, True),
        ({SUCCEEDED: 10, FAILED: 5}, 100, False),
        ({SUCCEEDED: 10, CANCELLED: 75}, 104, False),
        ({SUCCEEDED: 10, CANCELLED: 75}, 105, True),
        ({SUCCEEDED: 10, READY: 0}, 1000, False),
        ({}, 0, True),
    ],
)
def test_together_when_each_may_go(ends, now, expected):
    kept = {SUCCEEDED: 10, FAILED: None, CANCELLED: 30}
    assert may_be_forgotten(ends, kept, now) is expected


# --- retrying ----------------------------------------------------------------------------------------


def task(key, state, *parents, rule=CANCEL, doomed=False, started=None):
    ran = state in (RUNNING, SUCCEEDED, FAILED) if started is None else started
    return Standing(key, state, rule, doomed, ran, parents)


def doomed(key, *parents, **fields):
    return task(key, CANCELLED, *parents, doomed=True, **fields)


def retried(*tasks, **outside):
    return {back.key: list(back.waits_for) for back in returns(tasks, outside)}


def test_a_chain_comes_back_in_order():
    tasks = [task("a", FAILED), doomed("b", "a"), doomed("c", "b"), task("d", SUCCEEDED)]
    assert retried(*tasks) == {"a": [], "b": ["a"], "c": ["b"]}


def test_a_doomed_task_whose_parents_have_succeeded_since_may_run():
    assert retried(task("a", SUCCEEDED), doomed("b", "a"), doomed("c", "b")) == {"b": [], "c": ["b"]}


def test_what_was_cancelled_by_hand_keeps_its_children():
    tasks = [
        task("a", FAILED),
        task("b", CANCELLED),
        doomed("c", "a", "b"),
        doomed("d", "c"),
        doomed("e", "a"),
    ]
    assert retried(*tasks) == {"a": [], "e": ["a"]}


def test_what_did_not_start_waits_again_and_what_did_goes_on():
    tasks = [
        task("a", FAILED),
        task("ready", READY, "a", rule=RUN),
        task("later", S, "a", rule=RUN),
        task("again", S, "a", rule=RUN, started=True),
        task("running", RUNNING, "a", rule=RUN),
        task("done", SUCCEEDED, "a", rule=RUN),
        task("other", READY),
    ]
    assert retried(*tasks) == {"a": [], "ready": ["a"], "later": ["a"]}


def test_held_children_are_held_by_what_stays_bad():
    tasks = [task("a", CANCELLED), task("b", FAILED, "a", rule=BLOCK)]
    assert retried(*tasks) == {"b": ["a"]}


def test_a_failed_callback_for_failures_needs_one():
    """Its members have been mended one by one since: there is nothing left for it to do."""
    assert retried(task("a", SUCCEEDED), task("f", FAILED, "a", rule=ONLY)) == {}
    assert retried(task("a", FAILED), task("f", FAILED, "a", rule=ONLY)) == {"a": [], "f": ["a"]}
    assert retried(task("a", CANCELLED), task("f", FAILED, "a", rule=ONLY)) == {"f": []}


def test_forgotten_parents_count_for_what_ran():
    assert retried(task("a", FAILED, None)) == {"a": []}
    assert retried(doomed("b", None)) == {}


def test_parents_outside_are_as_they_are():
    tasks = [doomed("a", "x"), doomed("b", "y"), doomed("c", "z")]
    assert retried(*tasks, x=SUCCEEDED, y=RUNNING, z=FAILED) == {"a": [], "b": ["y"]}


@st.composite
def graphs(draw):
    """Workflows as they can be: what is doomed has the rule for it."""
    tasks = []
    for key in range(draw(st.integers(1, 9))):
        parents = draw(st.sets(st.integers(0, key - 1), max_size=3)) if key else set()
        rule = draw(st.sampled_from(list(OnParentFailure)))
        is_doomed = bool(parents) and rule is CANCEL and draw(st.booleans())
        state = CANCELLED if is_doomed else draw(st.sampled_from(list(State)))
        tasks.append(task(key, state, *sorted(parents), rule=rule, doomed=is_doomed))
    return tasks


@given(graphs())
def test_what_comes_back_and_what_stays(tasks):
    back = {line.key: line.waits_for for line in returns(tasks, {})}
    now = {one.key: one.state if one.key not in back else B if back[one.key] else READY for one in tasks}
    for one in tasks:
        parents = [now[parent] for parent in one.parents]
        hopeless = one.rule is CANCEL and any(state in (FAILED, CANCELLED) for state in parents)
        if one.key in back:
            assert one.state not in (SUCCEEDED, RUNNING, B)
            assert not hopeless
            assert set(back[one.key]) <= set(one.parents)
            # It waits for every parent that has not ended, and for what holds it.
            assert {p for p in one.parents if not now[p].is_final} <= set(back[one.key])
        elif one.state is FAILED or one.doomed:
            needless = one.rule is ONLY and one.parents and set(parents) == {SUCCEEDED}
            assert hopeless or needless


@given(graphs())
def test_a_retry_of_a_retry_brings_nothing_more(tasks):
    back = {line.key: line for line in returns(tasks, {})}
    after = [
        one._replace(state=B if back[one.key].waits_for else READY, doomed=False, started=False)
        if one.key in back
        else one
        for one in tasks
    ]
    assert returns(after, {}) == []
