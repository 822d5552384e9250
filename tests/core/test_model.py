"""The record's small rules: states, policies, names of priorities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.model import (
    DEFAULT_POLICY,
    FINAL,
    PRIORITY_HIGHEST,
    PRIORITY_LOWEST,
    PRIORITY_WORDS,
    WAITING,
    OnParentFailure,
    Policy,
    RetryPolicy,
    State,
    decode_policy,
    encode_policy,
)


def test_states_fall_into_three_kinds():
    """Numbers are stored: they never change."""
    assert WAITING | {State.RUNNING} | FINAL == set(State)
    assert not WAITING & FINAL
    assert {state.label: int(state) for state in State} == {
        "blocked": 1, "scheduled": 2, "ready": 3, "running": 4, "succeeded": 5, "failed": 6, "cancelled": 7,
    }  # fmt: skip


@pytest.mark.parametrize("state", list(State))
def test_final_states(state):
    assert state.is_final == (state in FINAL)


def test_words_for_priorities():
    """S0-02: higher runs sooner."""
    assert PRIORITY_WORDS == {"high": 8, "medium": 5, "low": 2}
    assert all(PRIORITY_LOWEST < number < PRIORITY_HIGHEST for number in PRIORITY_WORDS.values())


def test_the_default_policy_is_stored_as_nothing():
    assert encode_policy(Policy()) is None
    assert decode_policy(None) is DEFAULT_POLICY
    assert DEFAULT_POLICY.max_retries == 3


policies = st.builds(
    Policy,
    max_retries=st.integers(0, 100),
    max_losses=st.integers(1, 100),
    soft_timeout_s=st.none() | st.floats(0, 1e6),
    on_parent_failure=st.sampled_from(OnParentFailure),
    retry=st.builds(
        RetryPolicy,
        strategy=st.sampled_from(["exponential", "fixed", "linear", "list"]),
        delay_s=st.floats(0, 1e6),
        delays_s=st.lists(st.floats(0, 1e6), max_size=3).map(tuple),
        only=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    ),
)


@given(policies)
def test_a_policy_comes_back_as_it_was(policy):
    assert decode_policy(encode_policy(policy)) == policy


def test_more_policies_than_are_kept():
    """Each distinct policy is still right after thousands of others."""
    stored = [encode_policy(Policy(max_retries=n)) for n in range(4, 3000)]
    assert [decode_policy(text).max_retries for text in stored] == list(range(4, 3000))
    assert decode_policy(stored[0]).max_retries == 4
