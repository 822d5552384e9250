"""The ranking: priority, then fairness among tenants, then age; and nothing starves."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.limits import LimitRule, LimitState, start
from mainspring.core.model import SECOND_US, Lane
from mainspring.core.order import (
    AGEING_AFTER_US,
    AGEING_PERIOD,
    LANES_RANKED,
    Board,
    LaneHead,
    Quota,
    Share,
    Wanted,
    rank,
)

NOW = 1_000_000 * SECOND_US
ANY = Wanted(frozenset({"k"}))


def head(number, *, queue="q", kind="k", tenant="t", priority=5, key="", age_s=1.0):
    return LaneHead(number, Lane(queue, kind, tenant, priority, key), NOW - int(age_s * SECOND_US))


def board(*heads):
    made = Board()
    made.add(heads)
    return made


def order(made, slots=1, wanted=ANY):
    return [quota.lane_id for quota in rank(made, wanted, slots, NOW)]


def test_an_empty_board():
    assert rank(board(), ANY, 10, NOW) == []


def test_one_lane_takes_all_slots():
    assert rank(board(head(1)), ANY, 10, NOW) == [Quota(1, 10)]


# --- what a worker can take --------------------------------------------------------------------------


def test_only_kinds_with_a_handler():
    made = board(head(1, kind="other"), head(2), head(3, kind="more"))
    assert order(made) == [2]
    assert order(made, wanted=Wanted(frozenset())) == []


def test_only_queues_asked_for():
    made = board(head(1, queue="a"), head(2, queue="b"))
    assert order(made, wanted=Wanted(frozenset({"k"}), frozenset({"b"}))) == [2]
    assert sorted(order(made, slots=2)) == [1, 2]


def test_paused_queues_are_left_out():
    made = board(head(1, queue="a", priority=9), head(2, queue="b"))
    made.paused = frozenset({"a"})
    assert order(made) == [2]


@pytest.mark.parametrize("name", ["queue:a", "kind:k", "tenant:x", "key:y", "key:*"])
def test_lanes_at_their_limit_are_left_out(name):
    """The next lane gets the slots, whatever its priority."""
    made = board(head(1, queue="a", tenant="x", key="y", priority=9), head(2, queue="b"))
    made.rules = {name: LimitRule(max_running=2)}
    state = LimitState()
    start(made.rules[name], state, 2, NOW)
    made.usage = {name.replace("*", "y"): state}
    assert order(made) == ([] if name == "kind:k" else [2])


def test_a_quota_never_exceeds_the_room():
    made = board(head(1, key="a"), head(2, key="b"), head(3))
    made.rules = {"key:*": LimitRule(max_running=1)}
    quotas = dict(rank(made, ANY, 30, NOW))
    assert (quotas[1], quotas[2]) == (1, 1)
    assert quotas[3] > 1


def test_a_rate_leaves_room_for_what_it_allows():
    made = board(head(1))
    made.rules = {"queue:q": LimitRule(rate=3)}
    assert rank(made, ANY, 30, NOW) == [Quota(1, 3)]


# --- priority ----------------------------------------------------------------------------------------


def test_higher_priority_first():
    """S0-02, S4-01: higher runs sooner; the level below follows for the slots that are left."""
    made = board(head(1, priority=1), head(2, priority=10), head(3, priority=5))
    assert order(made, slots=4) == [2, 3, 1]


def test_age_does_not_beat_priority():
    made = board(head(1, priority=2, age_s=59), head(2, priority=8, age_s=0))
    assert order(made) == [2, 1]


def test_among_equals_the_oldest_head():
    made = board(head(1, age_s=1), head(2, age_s=3), head(3, age_s=2))
    assert order(made, slots=3) == [2, 3, 1]


def test_the_list_is_bounded():
    made = board(*[head(n, priority=n % 10 + 1, key=str(n)) for n in range(1000)])
    assert len(rank(made, ANY, 100, NOW)) <= LANES_RANKED + 100


# --- ageing ------------------------------------------------------------------------------------------


def claims(made, count, slots=1):
    """The lanes that a worker gets, claim after claim, of lanes that never run dry."""
    got = []
    for _ in range(count):
        left = slots
        for lane_id, limit in rank(made, ANY, slots, NOW):
            take = min(limit, left)
            got += [lane_id] * take
            left -= take
        made.claimed += slots
        for lane_id in got[-slots:]:
            made.charge(made.heads[lane_id].lane.tenant, made.estimate_us("k"))
    return got


@pytest.mark.parametrize("slots", [1, 4, 16, 100])
def test_one_claim_in_sixteen_goes_to_the_oldest(slots):
    """S3-35: a flood of high priority does not starve what has waited over a minute."""
    made = board(head(1, priority=10, age_s=1), head(2, priority=1, age_s=61))
    got = Counter(claims(made, 1600 // slots, slots))
    assert got[2] == 1600 // AGEING_PERIOD


def test_nothing_ages_within_a_minute():
    made = board(head(1, priority=10), head(2, priority=1, age_s=AGEING_AFTER_US / SECOND_US))
    assert Counter(claims(made, 160)) == {1: 160}


def test_the_oldest_of_the_old():
    made = board(head(1, priority=10, age_s=1), head(2, age_s=70), head(3, priority=1, age_s=90))
    assert Counter(claims(made, 160)) == {1: 150, 3: 10}


def test_ageing_does_not_open_a_closed_lane():
    made = board(head(1, priority=10, age_s=1), head(2, queue="shut", age_s=900))
    made.paused = frozenset({"shut"})
    assert Counter(claims(made, 160)) == {1: 160}


def test_a_backlog_of_the_highest_priority_takes_no_turn_of_the_old():
    """S3-35: it is served anyway, and its head is the oldest of all."""
    made = board(head(1, priority=10, age_s=900), head(2, priority=1, age_s=61))
    assert Counter(claims(made, 160)) == {1: 150, 2: 10}


# --- fairness ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 2, 10])
@pytest.mark.parametrize("weights", [(1, 1), (1, 3), (0.5, 2), (1, 2, 5)])
def test_tenants_share_by_weight(weights, slots):
    """S3-35: whoever has more waiting gets no more than its share."""
    made = board(*[head(n, tenant=str(n), age_s=n) for n in range(len(weights))])
    made.shares = {str(n): Share(weight) for n, weight in enumerate(weights)}
    got = Counter(claims(made, 2000 // slots, slots))
    for n, weight in enumerate(weights):
        assert got[n] / 2000 == pytest.approx(weight / sum(weights), abs=0.02)


def test_many_lanes_are_no_larger_share():
    made = board(*[head(n, tenant="many", key=str(n)) for n in range(1, 10)], head(100, tenant="one"))
    assert Counter(claims(made, 1000))[100] == pytest.approx(500, abs=10)


def test_dear_tasks_count_for_more():
    """Shares are of worker time, not of tasks."""
    made = board(head(1, tenant="slow", kind="dear"), head(2, tenant="fast", kind="cheap"))
    made.learn("dear", 9.0 * SECOND_US)
    made.learn("cheap", 1.0 * SECOND_US)
    got = Counter()
    for _ in range(1000):
        lane_id = rank(made, Wanted(frozenset({"dear", "cheap"})), 1, NOW)[0].lane_id
        lane = made.heads[lane_id].lane
        made.charge(lane.tenant, made.estimate_us(lane.kind))
        got[lane.kind] += 1
    assert got["cheap"] / got["dear"] == pytest.approx(9, abs=0.5)


@pytest.mark.parametrize("lanes_of_the_other", [1, 2])
def test_a_tenant_that_returns_starts_with_the_others(lanes_of_the_other):
    """It can neither hoard credit while it is away nor be punished for it."""
    made = board(*[head(n, tenant="stays", key=str(n)) for n in range(1, lanes_of_the_other + 1)])
    made.shares = {"stays": Share(), "returns": Share()}
    claims(made, 500)
    made.add([head(100, tenant="returns")])
    assert Counter(claims(made, 200))[100] == pytest.approx(100, abs=5)


def test_a_tenant_that_paid_in_advance_is_not_forgotten():
    """One that has just used much time waits its turn, for as long as the others stay."""
    made = board(head(1, tenant="a"), head(2, tenant="b"))
    made.shares = {"a": Share(1.0, 50.0 * SECOND_US), "b": Share(1.0, 0.0)}
    assert set(claims(made, 50)) == {2}


def test_fairness_is_within_a_priority():
    made = board(head(1, tenant="a", priority=9), head(2, tenant="b"))
    made.shares = {"a": Share(1.0, 1e12)}
    assert order(made) == [1, 2]


def test_a_charge_counts_by_weight_from_the_floor():
    made = Board()
    made.shares = {"a": Share(2.0, 10.0)}
    made.floor_us = 100.0
    made.charge("a", 30.0)
    made.charge("b", 30.0)
    assert (made.shares["a"].virtual_us, made.shares["b"].virtual_us) == (115.0, 130.0)


# --- the board ---------------------------------------------------------------------------------------


def test_a_known_head_stays_and_an_empty_lane_goes():
    made = board(head(1, age_s=9))
    made.add([head(1, age_s=1), head(2)])
    assert made.heads[1] == head(1, age_s=9)
    made.drop([1, 77])
    assert list(made.heads) == [2]


lanes = st.builds(
    head,
    st.integers(1, 10_000),
    queue=st.sampled_from("ab"),
    kind=st.sampled_from(["k", "x"]),
    tenant=st.sampled_from("rstu"),
    priority=st.integers(1, 10),
    key=st.sampled_from(["", "y", "z"]),
    age_s=st.floats(0, 1000),
)


@given(
    heads=st.lists(lanes, max_size=30, unique_by=lambda at: at.lane_id),
    slots=st.integers(1, 50),
    claimed=st.integers(0, 100),
    paused=st.sampled_from([frozenset(), frozenset("a")]),
    limit=st.none() | st.integers(0, 3),
    shares=st.dictionaries(st.sampled_from("rstu"), st.builds(Share, st.floats(0.1, 9), st.floats(0, 1e9))),
)
def test_every_ranking(heads, slots, claimed, paused, limit, shares):
    """Only lanes that may be claimed, never none where there is one, and priority in order."""
    made = board(*heads)
    made.paused, made.claimed, made.shares = paused, claimed, shares
    made.rules = {} if limit is None else {"key:*": LimitRule(max_running=limit)}
    may = {
        at.lane_id
        for at in heads
        if at.lane.kind == "k" and at.lane.queue not in paused and not (limit == 0 and at.lane.key)
    }
    quotas = rank(made, ANY, slots, NOW)
    assert {quota.lane_id for quota in quotas} <= may
    assert bool(quotas) == bool(may)
    assert all(1 <= quota.limit <= slots for quota in quotas)
    best = max((at.lane.priority for at in heads if at.lane_id in may), default=None)
    lower = [at for at in heads if at.lane_id in may and at.lane.priority < best]
    aged = sum(at.seq < NOW - AGEING_AFTER_US for at in lower)
    turns = (claimed + slots) // AGEING_PERIOD - claimed // AGEING_PERIOD
    ranked = [made.heads[quota.lane_id].lane.priority for quota in quotas][min(turns, aged) :]
    assert ranked == sorted(ranked, reverse=True)
    assert best is None or best in ranked


def test_an_estimate_that_was_too_high_is_given_back_in_full():
    """The floor must not rise over what a tenant may be corrected to, or it pays for time it did not use."""
    made = board(head(1, tenant="short"), head(2, tenant="long"))
    takes_us = {"short": 1 * SECOND_US, "long": 33 * SECOND_US}
    used_us = Counter()
    for _ in range(200):
        tenant = made.heads[rank(made, ANY, 1, NOW)[0].lane_id].lane.tenant
        made.charge(tenant, 17 * SECOND_US)
        made.advance(tenant, 17 * SECOND_US)
        rank(made, ANY, 1, NOW)
        made.advance(tenant, -17 * SECOND_US)
        made.charge(tenant, takes_us[tenant] - 17 * SECOND_US)
        used_us[tenant] += takes_us[tenant]
    assert {tenant: made.shares[tenant].virtual_us for tenant in takes_us} == used_us
    assert used_us["short"] == pytest.approx(used_us["long"], abs=34 * SECOND_US)
