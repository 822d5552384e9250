"""The laws as pure rules: each breach by its name, none for what is as it should be."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.dag import Effect, effect
from mainspring.core.laws import (
    LAWS,
    LONGEST_LEASE_US,
    EdgeFacts,
    Rebuilt,
    TaskFacts,
    arrival_breach,
    breaches,
    count_breach,
    edge_breach,
    mended_state,
    rebuilt_edge,
)
from mainspring.core.limits import LimitRule, LimitState, allowance, full_at_us, is_sound, refit, start
from mainspring.core.model import FINAL, OnParentFailure, State
from mainspring.core.schedule_laws import Fate, ScheduleFacts, Span, gaps, recorded, schedule_breaches
from mainspring.core.schedules import LOST, Schedule, Standing
from mainspring.core.timing import Timing, count_fires, next_fires

TOP = 1_000

HEALTHY = {
    State.BLOCKED: TaskFacts(1, TOP, 0, 5, None, parents=2, edges=2, open_edges=1),
    State.SCHEDULED: TaskFacts(2, TOP, 0, 5, None, has_run_at=True),
    State.READY: TaskFacts(3, TOP, 0, 5, 5),
    State.RUNNING: TaskFacts(4, TOP, 7, 7, 5, held=True, started=True, lease_left_us=15, has_time_limit=True),
    State.SUCCEEDED: TaskFacts(5, TOP, 7, 8, 5, held=True, started=True, ended=True, has_settled_result=True),
    State.FAILED: TaskFacts(6, TOP, 7, 8, 5, ended=True),
    State.CANCELLED: TaskFacts(7, TOP, 0, 8, None, ended=True, cancel_wanted=True),
}


def changed(state, /, **facts):
    return msgspec.structs.replace(HEALTHY[state], **facts)


def laws(task):
    return [breach.law for breach in breaches(task)]


@pytest.mark.parametrize("state", list(State))
def test_nothing_is_wrong_with_a_healthy_task(state):
    assert breaches(HEALTHY[state]) == []
    assert mended_state(HEALTHY[state]) is state


ANY = list(State)


@pytest.mark.parametrize(
    ("law", "states", "facts"),
    [
        ("unknown_state", [State.READY], {"state": 0}),
        ("unknown_state", [State.READY], {"state": 8}),
        ("unknown_state", [State.FAILED], {"state": -1}),
        ("unknown_lane", ANY, {"lane_known": False}),
        ("damaged_field", ANY, {"damaged": ("policy",)}),
        ("negative_counter", ANY, {"lowest_counter": -1}),
        ("number_ahead", ANY, {"token": TOP + 1}),
        ("number_ahead", ANY, {"version": TOP + 1}),
        ("number_ahead", ANY, {"place": TOP + 1}),
        ("stray_member", ANY, {"has_known_part": False}),
        ("lost_payload", ANY, {"has_payload": False}),
        ("ready_without_place", [State.READY], {"place": None}),
        ("duplicate_place", [State.READY], {"place_taken": True}),
        ("not_in_line", [State.READY], {"in_line": False}),
        ("scheduled_without_time", [State.SCHEDULED], {"has_run_at": False}),
        ("running_without_holder", [State.RUNNING], {"held": False}),
        ("running_without_holder", [State.RUNNING], {"token": 0}),
        ("running_without_holder", [State.RUNNING], {"started": False}),
        ("running_without_holder", [State.RUNNING], {"lease_left_us": None}),
        ("endless_lease", [State.RUNNING], {"lease_left_us": LONGEST_LEASE_US + 1}),
        ("final_without_end", list(FINAL), {"ended": False}),
        ("held_while_waiting", [State.BLOCKED, State.SCHEDULED, State.READY], {"held": True}),
        ("held_while_waiting", [State.BLOCKED, State.SCHEDULED, State.READY], {"cancel_wanted": True}),
        (
            "stray_time_limit",
            [state for state in State if state is not State.RUNNING],
            {"has_time_limit": True},
        ),
        ("blocked_without_parent", [State.BLOCKED], {"open_edges": 0}),
        ("lost_edge", [State.BLOCKED], {"edges": 1}),
    ],
)
def test_each_breach_by_its_name(law, states, facts):
    for state in states:
        assert laws(changed(state, **facts)) == [law], state


def test_a_lapsed_lease_is_no_breach():
    assert laws(changed(State.RUNNING, lease_left_us=-1_000_000)) == []


@pytest.mark.parametrize(
    ("task", "state"),
    [
        (changed(State.SUCCEEDED, state=42), State.SUCCEEDED),
        (changed(State.FAILED, state=42), State.FAILED),
        (changed(State.READY, lane_known=False), State.FAILED),
        (changed(State.READY, has_payload=False), State.FAILED),
        (changed(State.SUCCEEDED, lane_known=False), State.SUCCEEDED),
        (changed(State.RUNNING, held=False), State.READY),
        (changed(State.RUNNING, token=TOP + 1), State.READY),
        (changed(State.RUNNING, held=False, cancel_wanted=True), State.CANCELLED),
        (changed(State.RUNNING, lease_left_us=LONGEST_LEASE_US + 1), State.RUNNING),
    ],
)
def test_the_state_a_damaged_task_belongs_into(task, state):
    assert mended_state(task) is state


@given(st.sampled_from(ANY), st.data())
def test_no_mending_makes_something_run_that_was_over(state, data):
    """Whatever is broken: what is final stays final, and nothing starts that was not to start."""
    facts = {
        "lane_known": data.draw(st.booleans()),
        "has_payload": data.draw(st.booleans()),
        "held": data.draw(st.booleans()),
        "started": data.draw(st.booleans()),
        "cancel_wanted": data.draw(st.booleans()),
        "token": data.draw(st.sampled_from([0, 7, TOP + 1])),
        "lease_left_us": data.draw(st.sampled_from([None, -1, 15])),
    }
    mended = mended_state(changed(state, **facts))
    assert (mended is state) or mended.is_final or (state, mended) == (State.RUNNING, State.READY)
    assert not state.is_final or mended is state


# --- edges ------------------------------------------------------------------------------------------

B, READY, DONE, FAILED = State.BLOCKED, State.READY, State.SUCCEEDED, State.FAILED
CANCEL, RUN, BLOCK, ONLY = OnParentFailure


@pytest.mark.parametrize(
    ("edge", "law"),
    [
        (EdgeFacts(1, READY, B, CANCEL, False), None),
        (EdgeFacts(0, DONE, B, CANCEL, False), None),
        (EdgeFacts(0, READY, READY, CANCEL, False), None),
        (EdgeFacts(1, None, B, CANCEL, False), "orphan_edge"),
        (EdgeFacts(0, DONE, None, CANCEL, False), "orphan_edge"),
        (EdgeFacts(7, READY, B, CANCEL, False), "unknown_edge_state"),
        (EdgeFacts(1, READY, READY, CANCEL, False), "stray_open_edge"),
        (EdgeFacts(1, DONE, B, CANCEL, False), "unapplied_end"),
        (EdgeFacts(1, DONE, B, CANCEL, True), None),
        (EdgeFacts(1, FAILED, B, CANCEL, False), "unapplied_end"),
        (EdgeFacts(1, FAILED, B, BLOCK, False), None),
        (EdgeFacts(1, 42, B, CANCEL, False), None),
    ],
)
def test_edges(edge, law):
    breach = edge_breach(edge)
    assert (breach and breach.law) == law


@pytest.mark.parametrize("rule", list(OnParentFailure))
def test_an_edge_that_is_built_anew_breaks_no_law(rule):
    for parent in State:
        verdict = rebuilt_edge(parent, rule)
        assert edge_breach(EdgeFacts(1, parent, B, rule, verdict is Rebuilt.NOTED)) is None
    lost = rebuilt_edge(None, rule)
    assert lost is (Rebuilt.RELEASES if effect(FAILED, rule) is Effect.RELEASE else Rebuilt.CANCELS)


# --- books and limits -------------------------------------------------------------------------------


def test_counts():
    assert count_breach(3, 3) is None
    assert count_breach(2, 3).law == "lost_count"
    assert count_breach(4, 3).law == "ghost_count"


RULES = st.builds(
    LimitRule,
    rate=st.integers(1, 1_000),
    per_s=st.floats(0.001, 86_400.0),
    burst=st.none() | st.integers(1, 1_000),
)


@given(RULES, st.lists(st.integers(0, 10_000_000), max_size=10))
def test_starts_that_a_limit_allows_are_never_booked_too_far_ahead(rule, waits_us):
    state, now_us = LimitState(), 1_700_000_000_000_000
    for wait_us in waits_us:
        now_us += wait_us
        start(rule, state, allowance(rule, state, now_us), now_us)
        assert arrival_breach(rule, state.arrival_us, now_us) is None


@given(RULES, RULES)
def test_a_change_of_a_limit_brings_its_starts_within_reach(old, new):
    state, now_us = LimitState(), 1_700_000_000_000_000
    start(old, state, allowance(old, state, now_us), now_us)
    refit(new, state, now_us)
    assert arrival_breach(new, state.arrival_us, now_us) is None
    wait_us = full_at_us(new, now_us) - now_us
    assert allowance(new, state, now_us + int(wait_us) + 1) > 0


def test_starts_far_ahead_are_a_breach_of_those_who_have_a_rate():
    rule = LimitRule(rate=10)
    assert arrival_breach(rule, 5e15, 0).law == "limit_usage"
    assert arrival_breach(LimitRule(max_running=3), 5e15, 0) is None
    assert arrival_breach(None, 5e15, 0) is None


@pytest.mark.parametrize(
    "rule",
    [
        LimitRule(max_running=-1),
        LimitRule(rate=0),
        LimitRule(rate=-5),
        LimitRule(per_s=0.0),
        LimitRule(per_s=-1.0),
        LimitRule(rate=1, burst=-1),
        LimitRule(max_waiting=-1),
    ],
)
def test_rules_that_no_door_lets_pass(rule):
    assert not is_sound(rule)
    assert is_sound(LimitRule(max_running=0, rate=1, burst=0, max_waiting=0))


# --- schedules --------------------------------------------------------------------------------------

MINUTE_US = 60_000_000
EVERY = Schedule(Timing(every_us=MINUTE_US, anchor_us=0))


def facts(spans, *, cursor=10, look=11, since=0, is_cut=False, rules=EVERY):
    spans = [Span(first * MINUTE_US, last * MINUTE_US) for first, last in spans]
    look_us = None if look is None else look * MINUTE_US
    return ScheduleFacts(Standing(rules, cursor * MINUTE_US), look_us, since * MINUTE_US, spans, is_cut)


def found(*args, **options):
    return [breach.law for breach in schedule_breaches(facts(*args, **options))]


def test_a_schedule_whose_fires_are_all_on_record():
    assert found([(1, 3), (4, 4), (5, 10)]) == []
    assert found([(5, 10), (4, 4), (1, 3)]) == []
    assert found([(7, 10)], since=6) == []
    assert found([(7, 10)], is_cut=True) == []
    assert found([], cursor=0, look=1) == []
    assert found([(1, 3), (9, 9)], cursor=3, look=4) == [], "made by hand while nobody fired"


@pytest.mark.parametrize(
    ("spans", "lost"),
    [
        ([(2, 10)], [1]),
        ([(1, 3), (5, 10)], [4]),
        ([(1, 3), (8, 9)], [4, 5, 6, 7, 10]),
        ([], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ],
)
def test_fires_that_are_on_no_record(spans, lost):
    seen = facts(spans)
    assert [breach.law for breach in schedule_breaches(seen)] == ["lost_fire"]
    fates = [fate for gap in gaps(seen) for fate in recorded(EVERY, gap, {})]
    minutes = [n for fate in fates for n in range(fate.first_us // MINUTE_US, fate.last_us // MINUTE_US + 1)]
    assert minutes == lost
    assert sum(fate.times for fate in fates) == len(lost)
    assert {fate.reason for fate in fates} == {LOST}


def test_a_lost_fire_that_made_a_task_is_recorded_with_it():
    (gap,) = gaps(facts([(1, 3), (8, 10)]))
    fates = recorded(EVERY, gap, {5 * MINUTE_US: "t5"})
    assert fates == [
        Fate(4 * MINUTE_US, 4 * MINUTE_US, 1, None, LOST),
        Fate(5 * MINUTE_US, 5 * MINUTE_US, 1, "t5", None),
        Fate(6 * MINUTE_US, 7 * MINUTE_US, 2, None, LOST),
    ]


def test_a_schedule_that_is_looked_at_too_late():
    assert found([(1, 10)], look=None) == ["forgotten_schedule"]
    assert found([(1, 10)], look=12) == ["forgotten_schedule"]
    assert found([(1, 10)], look=3) == []
    paused = msgspec.structs.replace(EVERY, paused=True)
    assert found([(1, 10)], look=None, rules=paused) == []
    over = msgspec.structs.replace(
        EVERY, timing=Timing(every_us=MINUTE_US, anchor_us=0, end_us=10 * MINUTE_US)
    )
    assert found([(1, 10)], look=None, rules=over) == []


def test_a_record_that_tells_nothing():
    seen = facts([(1, 10)])._replace(spans=[Span(MINUTE_US, 10 * MINUTE_US, False)])
    assert [breach.law for breach in schedule_breaches(seen)] == ["empty_fire"]


def test_what_the_firer_has_to_find_is_left_to_it():
    lost_zone = msgspec.structs.replace(EVERY, timing=Timing(cron="* * * * *", zone="Mars/Base"))
    assert found([(1, 2)], rules=lost_zone) == []
    assert schedule_breaches(facts([])._replace(since_us=None)) == []


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), max_size=12), st.integers(1, 45))
def test_filled_gaps_leave_none(starts, cursor):
    spans = [(first, first + more) for first, more in starts]
    seen = facts(spans, cursor=cursor, look=cursor + 1)
    fates = [fate for gap in gaps(seen) for fate in recorded(EVERY, gap, {})]
    covered = {n for first, last in spans for n in range(first, last + 1)}
    lost = [t for t in next_fires(EVERY.timing, 0, cursor) if t // MINUTE_US not in covered]
    assert sum(fate.times for fate in fates) == len(lost)
    filled = seen._replace(spans=[*seen.spans, *(Span(fate.first_us, fate.last_us) for fate in fates)])
    assert gaps(filled) == []
    assert count_fires(EVERY.timing, 0, cursor * MINUTE_US) == cursor


# --- the table --------------------------------------------------------------------------------------


def test_every_law_says_what_holds():
    for name, law in LAWS.items():
        assert name.replace("_", "").isalpha()
        assert law.meaning
