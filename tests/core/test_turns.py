"""What one claim would take, and how many tasks start before another."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.limits import LimitRule, LimitState, start
from mainspring.core.model import SECOND_US, Lane
from mainspring.core.order import Board, LaneHead, Share, Wanted, rank
from mainspring.core.turns import ahead, taken

NOW = 1_000_000 * SECOND_US
ANY = Wanted(frozenset({"k"}))


def head(number, *, queue="q", kind="k", tenant="t", priority=5, key="", age_s=1.0):
    return LaneHead(number, Lane(queue, kind, tenant, priority, key), NOW - int(age_s * SECOND_US))


def board(*heads, **fields):
    made = Board()
    made.add(heads)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


# --- one claim ---------------------------------------------------------------------------------------


def test_a_claim_takes_from_the_lanes_in_order_until_its_slots_are_full():
    made = board(head(1, priority=9), head(2), head(3, priority=2))
    assert taken(made, ANY, 5, {1: 2, 2: 9, 3: 9}, NOW) == {1: 2, 2: 3}


def test_no_lane_gives_more_than_it_has():
    assert taken(board(head(1)), ANY, 5, {1: 3}, NOW) == {1: 3}
    assert taken(board(head(1)), ANY, 5, {}, NOW) == {}


def test_lanes_share_the_room_under_one_limit():
    """Each may have room for two alone; together they have not."""
    made = board(head(1, priority=9), head(2, kind="x", priority=8), head(3, queue="other"))
    made.rules = {"queue:q": LimitRule(max_running=2)}
    wanted = Wanted(frozenset({"k", "x"}))
    assert taken(made, wanted, 9, {1: 1, 2: 5, 3: 1}, NOW) == {1: 1, 2: 1, 3: 1}
    assert made.usage == {}


def test_a_rate_lets_a_burst_start():
    made = board(head(1))
    made.rules = {"kind:k": LimitRule(rate=3, per_s=60.0)}
    state = LimitState()
    start(made.rules["kind:k"], state, 1, NOW)
    made.usage = {"kind:k": state}
    assert taken(made, ANY, 9, {1: 9}, NOW) == {1: 2}


def test_what_the_worker_cannot_take_is_not_taken():
    made = board(head(1, kind="x"), head(2, queue="a"), head(3, queue="b"))
    made.paused = frozenset({"b"})
    assert taken(made, Wanted(frozenset({"k"}), frozenset({"a", "b"})), 9, {1: 1, 2: 1, 3: 1}, NOW) == {2: 1}


lanes = st.builds(
    head,
    st.integers(1, 1000),
    queue=st.sampled_from("ab"),
    tenant=st.sampled_from("tu"),
    priority=st.integers(1, 10),
    key=st.sampled_from(["", "y"]),
    age_s=st.floats(0, 100),
)


@given(
    heads=st.lists(lanes, max_size=10, unique_by=(lambda at: at.lane_id, lambda at: at.lane)),
    slots=st.integers(1, 30),
    counts=st.lists(st.integers(0, 9), min_size=10, max_size=10),
    limit=st.none() | st.integers(0, 5),
)
def test_a_claim_keeps_every_promise(heads, slots, counts, limit):
    """Never over its slots, a lane's tasks or a limit; and it leaves no slot free that it could fill."""
    made = board(*heads)
    made.rules = {} if limit is None else {"queue:a": LimitRule(max_running=limit)}
    waiting = dict(zip((at.lane_id for at in heads), counts, strict=False))
    got = taken(made, ANY, slots, waiting, NOW)
    assert all(0 < count <= waiting[lane_id] for lane_id, count in got.items())
    assert sum(got.values()) <= slots
    in_a = sum(count for lane_id, count in got.items() if made.heads[lane_id].lane.queue == "a")
    assert limit is None or in_a <= limit
    if len(heads) == 1 and limit is None:
        assert sum(got.values()) == min(slots, *waiting.values())


# --- further than one claim --------------------------------------------------------------------------


def before(made, own, place, waiting, wanted=ANY):
    return ahead(made, made.heads[own], place, [wanted], waiting, NOW)


def test_first_in_its_lane_and_alone():
    assert before(board(head(1)), 1, 0, {1: 9}) == 0
    assert before(board(head(1)), 1, 812, {1: 900}) == 812


def test_all_of_a_higher_priority_and_none_of_a_lower():
    made = board(head(1), head(2, priority=9), head(3, priority=6), head(4, priority=2, age_s=50))
    assert before(made, 1, 3, {1: 9, 2: 100, 3: 20, 4: 1000}) == 123


def test_lanes_that_nobody_takes_or_that_are_closed_do_not_count():
    made = board(
        head(1), head(2, kind="x", priority=9), head(3, queue="p", priority=9), head(4, priority=9, key="y")
    )
    made.paused, made.rules = frozenset({"p"}), {"key:*": LimitRule(max_running=2)}
    assert before(made, 1, 0, {1: 1, 2: 50, 3: 50, 4: 50}) == 2


def simulated(made, own, place, waiting):
    """Claims of one slot each, charged as a node charges them, until it is the task's turn."""
    made, waiting, started = deepcopy(made), dict(waiting), 0
    while True:
        (lane_id, _), *_ = rank(made, ANY, 1, NOW)
        if lane_id == own and place == 0:
            return started
        started += 1
        place -= lane_id == own
        waiting[lane_id] -= 1
        lane = made.heads[lane_id].lane
        made.charge(lane.tenant, made.estimate_us(lane.kind))
        made.heads[lane_id] = LaneHead(lane_id, lane, NOW + started)
        if not waiting[lane_id]:
            made.drop([lane_id])


@pytest.mark.parametrize(
    ("shares", "counts", "place"),
    [
        ({"t": Share(), "u": Share()}, (50, 50), 20),
        ({"t": Share(), "u": Share()}, (50, 5), 20),
        ({"t": Share(4.0), "u": Share()}, (50, 50), 20),
        ({"t": Share(), "u": Share(4.0)}, (50, 500), 20),
        ({"t": Share(1.0, 10e6), "u": Share(1.0, 0.0)}, (50, 50), 5),
        ({"t": Share(1.0, 0.0), "u": Share(1.0, 30e6)}, (50, 50), 40),
    ],
)
def test_tenants_share_by_weight_and_by_what_they_have_used(shares, counts, place):
    """The estimate is near to what the ranking does, task by task."""
    made = board(head(1), head(2, tenant="u"), shares=shares)
    waiting = dict(zip((1, 2), counts, strict=True))
    assert before(made, 1, place, waiting) == pytest.approx(simulated(made, 1, place, waiting), abs=2)


def test_a_tenants_own_lanes_take_turns():
    made = board(head(1), head(2, key="a", age_s=9), head(3, key="b", age_s=0.1))
    waiting = {1: 50, 2: 3, 3: 50}
    assert before(made, 1, 10, waiting) == pytest.approx(simulated(made, 1, 10, waiting), abs=2)
