"""Leases as their holder counts them."""

import pytest

from mainspring.core.lease import (
    LEASE_DEFAULT_S,
    LEASE_LONGEST_S,
    LEASE_SHORTEST_S,
    is_lapsed,
    needs_renewal_before_start,
    renew_interval_s,
)


@pytest.mark.parametrize("lease_s", [LEASE_SHORTEST_S, LEASE_DEFAULT_S, LEASE_LONGEST_S])
def test_two_renewals_may_be_lost(lease_s):
    """The third heartbeat still arrives before the lease ends, by a hair."""
    beats = [renew_interval_s(lease_s) * n for n in (1, 2)]
    assert all(not is_lapsed(0.0, beat, lease_s) for beat in beats)
    assert renew_interval_s(lease_s) * 3 <= lease_s * 1.000001


@pytest.mark.parametrize(
    ("answered_s", "renew"), [(100.0, False), (104.9, False), (105.0, False), (105.1, True), (200.0, True)]
)
def test_a_late_answer_is_renewed_before_the_start(answered_s, renew):
    assert needs_renewal_before_start(100.0, answered_s, 15.0) is renew


@pytest.mark.parametrize(("now_s", "lapsed"), [(100.0, False), (114.9, False), (115.0, True), (500.0, True)])
def test_the_holder_counts_from_its_asking(now_s, lapsed):
    assert is_lapsed(100.0, now_s, 15.0) is lapsed
