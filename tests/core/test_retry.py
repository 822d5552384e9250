"""The backoff table: four strategies, one cap, one jitter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.model import SECOND_US, RetryPolicy
from mainspring.core.retry import LOSS_BACKOFF, STRATEGIES, backoff_us, wants_retry

MIDDLE = 0.5  # of the jitter's band: no shift


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        (RetryPolicy(delay_s=1.0, factor=2.0, max_delay_s=60.0), [1, 2, 4, 8, 16, 32, 60, 60]),
        (RetryPolicy(delay_s=3.0, factor=1.0), [3, 3, 3]),
        (RetryPolicy(delay_s=8.0, factor=0.5), [8, 4, 2, 1]),
        (RetryPolicy("fixed", delay_s=5.0), [5, 5, 5]),
        (RetryPolicy("fixed", delay_s=5.0, max_delay_s=2.0), [2, 2]),
        (RetryPolicy("linear", delay_s=5.0, max_delay_s=17.0), [5, 10, 15, 17, 17]),
        (RetryPolicy("list", delays_s=(1.0, 10.0, 60.0)), [1, 10, 60, 60, 60]),
        (RetryPolicy("list"), [0, 0]),
        (RetryPolicy(delay_s=0.0), [0, 0, 0]),
        (RetryPolicy(delay_s=5.0, max_delay_s=0.0), [0, 0]),
        (RetryPolicy(delay_s=60.0, max_delay_s=10.0), [10, 10, 10]),
    ],
)
def test_table(policy, seconds):
    """S1-53, S3-26: the wait before re-try 1, 2, 3 ..."""
    waits = [backoff_us(policy, retries, MIDDLE) for retries in range(1, len(seconds) + 1)]
    assert waits == [second * SECOND_US for second in seconds]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.0000001, 2.0, 10.0, 1e300])
@pytest.mark.parametrize("delay_s", [5e-324, 1.0])
@pytest.mark.parametrize("retries", [0, 1, 64, 1024, 1025, 10_000, 1_000_000_000])
def test_no_overflow_at_any_attempt(strategy, factor, retries, delay_s):
    policy = RetryPolicy(strategy, delay_s=delay_s, factor=factor, max_delay_s=3600.0, delays_s=(1.0, 2.0))
    assert 0 <= backoff_us(policy, retries, 0.999) <= 3600 * SECOND_US


def test_attempt_ten_thousand_waits_for_the_cap():
    assert backoff_us(RetryPolicy(factor=10.0, jitter=0.0), 10_000, MIDDLE) == 3600 * SECOND_US


policies = st.builds(
    RetryPolicy,
    strategy=st.sampled_from(STRATEGIES),
    delay_s=st.floats(0, 1e6),
    factor=st.floats(0, 1e6),
    max_delay_s=st.floats(0, 1e9),
    jitter=st.floats(0, 1),
    delays_s=st.lists(st.floats(0, 1e6), max_size=5).map(tuple),
)
units = st.floats(0, 1, exclude_max=True)


@given(policy=policies, retries=st.integers(1, 10_000), unit=units)
def test_jitter_stays_in_its_band_and_under_the_cap(policy, retries, unit):
    middle, wait = backoff_us(policy, retries, MIDDLE), backoff_us(policy, retries, unit)
    assert 0 <= wait <= policy.max_delay_s * SECOND_US
    slack = 1 + middle * 1e-9  # whole microseconds, and the last digits of floats
    assert wait >= middle * (1 - policy.jitter) - slack
    assert wait <= middle * (1 + policy.jitter) + slack


@given(policy=policies, retries=st.integers(1, 10_000), one=units, two=units)
def test_a_larger_draw_never_waits_less(policy, retries, one, two):
    low, high = sorted((one, two))
    assert backoff_us(policy, retries, low) <= backoff_us(policy, retries, high)


@given(delay_s=st.floats(0.001, 1e3), factor=st.floats(1, 100), retries=st.integers(1, 9_999))
def test_exponential_never_shrinks(delay_s, factor, retries):
    policy = RetryPolicy(delay_s=delay_s, factor=factor)
    assert backoff_us(policy, retries, MIDDLE) <= backoff_us(policy, retries + 1, MIDDLE)


def test_jitter_spreads():
    """A thousand tasks that failed together do not come back together."""
    waits = {backoff_us(RetryPolicy(delay_s=10.0, jitter=0.2), 1, unit / 1000) for unit in range(1000)}
    assert len(waits) == 1000
    assert min(waits) == 8 * SECOND_US
    assert 11.9 * SECOND_US < max(waits) < 12 * SECOND_US


def test_losses_back_off_from_the_second_on():
    waits = [backoff_us(LOSS_BACKOFF, retries, MIDDLE) / SECOND_US for retries in (1, 2, 3, 20)]
    assert waits == [1, 2, 4, 60]


@pytest.mark.parametrize(
    ("only", "never", "error", "wanted"),
    [
        ((), (), "ValueError", True),
        ((), (), "", True),
        (("ValueError",), (), "ValueError", True),
        (("ValueError",), (), "KeyError", False),
        ((), ("ValueError",), "ValueError", False),
        ((), ("ValueError",), "KeyError", True),
        (("ValueError",), ("ValueError",), "ValueError", False),
    ],
)
def test_filters_by_error_type(only, never, error, wanted):
    assert wants_retry(RetryPolicy(only=only, never=never), error) is wanted
