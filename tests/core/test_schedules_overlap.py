"""When a fire meets unfinished tasks of its schedule; and how jitter sets many schedules apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.model import SECOND_US
from mainspring.core.schedules import (
    LONGEST_QUEUE,
    OVERLAPS,
    Fire,
    Schedule,
    Skip,
    Standing,
    Start,
    decide,
    jitter_us,
    overlap,
)
from mainspring.core.timing import Timing

A, B, C = (Fire(number * SECOND_US, number * SECOND_US) for number in (10, 20, 30))


@pytest.mark.parametrize("policy", OVERLAPS)
def test_nothing_unfinished(policy):
    assert overlap(policy, [A], ["a"], []) == ([Start(A, "a")], [])
    assert overlap(policy, [], [], ["x"]) == ([], [])


def test_allow():
    assert overlap("allow", [A, B], ["a", "b"], ["x"]) == ([Start(A, "a"), Start(B, "b")], [])


def test_skip():
    """One record for neighbours; of several fires at once the first one starts and the others meet it."""
    assert overlap("skip", [A, B], ["a", "b"], ["x"]) == ([], [Skip("overlap", A.fire_us, B.fire_us, 2)])
    assert overlap("skip", [A, B, C], ["a", "b", "c"], []) == (
        [Start(A, "a")],
        [Skip("overlap", B.fire_us, C.fire_us, 2)],
    )


def test_queue():
    """Each waits for all before it, so that two never run at once, also after a change from `allow`."""
    starts, skips = overlap("queue", [A, B], ["a", "b"], ["x", "y"])
    assert [start.waits_for for start in starts] == [("x", "y"), ("x", "y", "a")]
    assert all(start.cancels == () for start in starts)
    assert skips == []


def test_a_queue_has_an_end():
    """One runs and a hundred wait: what comes then is skipped, on record."""
    unfinished = [f"x{number}" for number in range(LONGEST_QUEUE)]
    starts, skips = overlap("queue", [A, B, C], ["a", "b", "c"], unfinished)
    assert [start.task for start in starts] == ["a"]
    assert skips == [Skip("queue_full", B.fire_us, C.fire_us, 2)]


def test_cancel():
    """The latest replaces all, and starts when they have stopped."""
    starts, skips = overlap("cancel", [A, B, C], ["a", "b", "c"], ["x", "y"])
    assert starts == [Start(C, "c", cancels=("x", "y"), waits_for=("x", "y"))]
    assert skips == [Skip("superseded", A.fire_us, B.fire_us, 2)]


@given(policy=st.sampled_from(OVERLAPS), count=st.integers(0, 150), unfinished=st.integers(0, 130))
def test_every_fire_starts_or_is_skipped(policy, count, unfinished):
    fires = [Fire(number * SECOND_US, number * SECOND_US) for number in range(count)]
    tasks = [f"t{number}" for number in range(count)]
    starts, skips = overlap(policy, fires, tasks, [f"x{number}" for number in range(unfinished)])
    assert len(starts) + sum(skip.count for skip in skips) == count
    assert all(start.task == f"t{start.fire.fire_us // SECOND_US}" for start in starts)
    gone = {
        second
        for skip in skips
        for second in range(skip.first_us // SECOND_US, skip.last_us // SECOND_US + 1)
    }
    assert gone.isdisjoint(start.fire.fire_us // SECOND_US for start in starts)


HOURLY = Timing(cron="@hourly")
HOUR_US = 3600 * SECOND_US


def test_jitter_is_stable_and_differs():
    """By schedule and by fire: fixed numbers, because another version must not move a fire."""
    rules = Schedule(HOURLY, jitter_us=600 * SECOND_US)
    assert jitter_us(rules, "a", HOUR_US) == 343_356_458
    assert jitter_us(rules, "b", HOUR_US) == 497_800_059
    assert jitter_us(rules, "a", 2 * HOUR_US) == 434_914_153


def test_jitter_spreads():
    rules = Schedule(HOURLY, jitter_us=600 * SECOND_US)
    tenths = [jitter_us(rules, f"schedule-{number}", HOUR_US) // (60 * SECOND_US) for number in range(1000)]
    assert min(tenths.count(tenth) for tenth in range(10)) > 60


@given(
    timing=st.sampled_from(
        [HOURLY, Timing(cron="* * * * * *"), Timing(every_us=SECOND_US), Timing(at_us=10**15)]
    ),
    jitter=st.integers(0, 86_400 * SECOND_US),
    name=st.text(max_size=5),
)
def test_jitter_stays_below_the_next_fire(timing, jitter, name):
    """The nominal time stays on record, and tasks keep the order of their fire times."""
    start = 10**15 - 5 * HOUR_US
    late = Standing(Schedule(timing, misfire="fire_all", jitter_us=jitter), start)
    fires = decide(late, name, 10**15).fires
    assert fires
    for fire, following in zip(fires, [*fires[1:], None], strict=True):
        assert fire.fire_us <= fire.run_us <= fire.fire_us + jitter
        assert following is None or fire.run_us < following.fire_us


def test_the_latest_moment_of_jitter_comes_before_the_next_fire():
    """With two microseconds between fires, all that jitter may be is met: none, and one."""
    rules = Schedule(Timing(every_us=2), jitter_us=60 * SECOND_US)
    assert {jitter_us(rules, "a", fire_us) for fire_us in range(0, 200, 2)} == {0, 1}


def test_no_jitter():
    assert decide(Standing(Schedule(HOURLY), 0), "s", HOUR_US).fires == (Fire(HOUR_US, HOUR_US),)
