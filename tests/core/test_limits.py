"""Limits: slots, and the token bucket as one number (GCRA)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.limits import (
    UNLIMITED,
    LimitRule,
    LimitState,
    allowance,
    names,
    opens_at_us,
    rule_for,
    start,
)
from mainspring.core.model import Lane

NOW = 1_763_700_000_000_000  # in this century: there an instant as a float is a quarter of a microsecond wide


def test_names_of_a_lane():
    assert names(Lane("q", "k", "t", 5)) == ("queue:q", "kind:k", "tenant:t")
    assert names(Lane("q", "k", "t", 5, "a:b")) == ("queue:q", "kind:k", "tenant:t", "key:a:b")


def test_the_own_rule_goes_before_the_familys():
    own, family = LimitRule(max_running=1), LimitRule(max_running=2)
    rules = {"key:a": own, "key:*": family}
    assert rule_for("key:a", rules) is own
    assert rule_for("key:b", rules) is family
    assert rule_for("key:a:b", rules) is family
    assert rule_for("queue:a", rules) is None


def test_a_rule_that_allows_nothing_is_still_a_rule():
    nothing = LimitRule(max_running=0)
    assert rule_for("key:a", {"key:a": nothing, "key:*": LimitRule()}) is nothing


@pytest.mark.parametrize(
    ("rule", "state", "free"),
    [
        (LimitRule(), LimitState(5), UNLIMITED),
        (LimitRule(max_running=3), LimitState(), 3),
        (LimitRule(max_running=3), LimitState(2), 1),
        (LimitRule(max_running=3), LimitState(5), 0),
        (LimitRule(max_running=0), LimitState(), 0),
        (LimitRule(rate=10), LimitState(), 10),
        (LimitRule(rate=10, burst=3), LimitState(), 3),
        (LimitRule(rate=0), LimitState(), 0),
        (LimitRule(rate=10), LimitState(arrival_us=NOW + 500_000), 5),
        (LimitRule(rate=10), LimitState(arrival_us=NOW + 1_000_000), 0),
        (LimitRule(rate=10), LimitState(arrival_us=NOW + 9_000_000), 0),
        (LimitRule(rate=10), LimitState(arrival_us=1.0), 10),
        (LimitRule(rate=10, max_running=4), LimitState(1), 3),
        (LimitRule(rate=3, per_s=1.0), LimitState(), 3),
        (LimitRule(rate=7, per_s=3.0), LimitState(), 7),
    ],
)
def test_allowance(rule, state, free):
    assert allowance(rule, state, NOW) == free


def test_an_empty_bucket_for_one_lets_one_start():
    """Whatever the rate: 90 a second, of which one at once, let none start, ever."""
    rules = [LimitRule(rate=rate, burst=1) for rate in range(1, 1_001)]
    assert [rule.rate for rule in rules if allowance(rule, LimitState(), NOW) != 1] == []


def test_a_started_task_takes_a_slot_and_a_place_in_time():
    rule, state = LimitRule(max_running=9, rate=2, per_s=1.0), LimitState()
    start(rule, state, 2, NOW)
    assert (state.running, state.arrival_us) == (2, NOW + 1_000_000)
    assert allowance(rule, state, NOW + 499_000) == 0
    assert allowance(rule, state, NOW + 500_000) == 1
    assert allowance(rule, state, NOW + 1_000_000) == 2
    assert allowance(rule, state, NOW + 60_000_000) == 2


rates = st.builds(
    LimitRule,
    rate=st.integers(1, 1000),
    per_s=st.floats(0.01, 3600),
    burst=st.none() | st.integers(1, 1000),
)


@given(rule=rates, waits_us=st.lists(st.integers(0, 10_000_000), min_size=1, max_size=60), greed=st.data())
def test_no_window_lets_through_more_than_burst_and_rate(rule, waits_us, greed):
    """Over any span: at most the burst, plus what the rate gives in that span."""
    state, now_us, started = LimitState(), NOW, []
    burst = rule.rate if rule.burst is None else rule.burst
    for wait_us in waits_us:
        now_us += wait_us
        take = greed.draw(st.integers(0, allowance(rule, state, now_us)))
        start(rule, state, take, now_us)
        started.append((now_us, take))
    for first, (begin_us, _) in enumerate(started):
        total = 0
        for end_us, count in started[first:]:
            total += count
            assert total <= burst + (end_us - begin_us) / rule.interval_us + 1e-3


@given(rule=rates, taken=st.integers(0, 5000), later_us=st.integers(0, 10_000_000))
def test_waiting_never_takes_room_away(rule, taken, later_us):
    state = LimitState()
    start(rule, state, taken, NOW)
    assert allowance(rule, state, NOW) <= allowance(rule, state, NOW + later_us)


@given(rule=rates, taken=st.integers(0, 5000))
def test_it_opens_when_it_says(rule, taken):
    """A node that comes back at that moment finds room for one, and not long before."""
    state = LimitState()
    start(rule, state, taken, NOW)
    state.running = 0
    opens_us = opens_at_us(rule, state, NOW)
    assert allowance(rule, state, opens_us + 1) >= 1
    assert opens_us == NOW or allowance(rule, state, int(opens_us - 2 - rule.interval_us * 1e-5)) == 0


def test_a_full_house_opens_at_no_time():
    assert opens_at_us(LimitRule(max_running=1, rate=5), LimitState(1), NOW) is None
    assert opens_at_us(LimitRule(max_running=2), LimitState(1), NOW) == NOW
