"""What becomes of fire times: every one is decided once, and a skip says why."""

import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mainspring.core import schedules
from mainspring.core.model import SECOND_US
from mainspring.core.schedules import (
    Decision,
    Schedule,
    Skip,
    Standing,
    begin,
    decide,
    edit,
    skip_next,
    skip_until,
)
from mainspring.core.timing import Timing, count_fires, next_fires, next_us
from mainspring.errors import InvalidInput, WrongState

MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
EVERY_5 = Timing(cron="*/5 * * * *")


def us(text: str) -> int:
    return int(datetime.fromisoformat(f"2027-03-01T{text}+00:00").timestamp()) * SECOND_US


def times(fires: list[int]) -> list[str]:
    return [datetime.fromtimestamp(fire // SECOND_US, UTC).strftime("%H:%M") for fire in fires]


def made(decision: Decision) -> list[str]:
    return times([fire.fire_us for fire in decision.fires])


def skipped(decision: Decision) -> list[tuple[str, str, str, int]]:
    return [(skip.reason, *times([skip.first_us, skip.last_us]), skip.count) for skip in decision.skips]


def standing(cursor: str = "12:00", **rules: object) -> Standing:
    return Standing(Schedule(**({"timing": EVERY_5} | rules)), us(cursor))


def test_a_fire_on_time():
    decision = decide(standing(), "s", us("12:05"))
    assert made(decision) == ["12:05"]
    assert decision.skips == ()
    assert decision.standing.cursor_us == us("12:05")
    assert decision.next_us == us("12:10")


@pytest.mark.parametrize(
    ("before", "reason", "next_look"),
    [
        (standing(paused=True), "paused", None),
        (replace(standing(), skip_through_us=us("12:05")), "by_hand", "12:10"),
    ],
)
def test_a_single_fire_that_something_stands_against(before, reason, next_look):
    decision = decide(before, "s", us("12:05"))
    assert decision.fires == ()
    assert skipped(decision) == [(reason, "12:05", "12:05", 1)]
    assert decision.standing.cursor_us == us("12:05")
    assert decision.next_us == (next_look and us(next_look))


def test_a_skip_that_is_over_stands_against_nothing():
    assert made(decide(replace(standing(), skip_through_us=us("12:05") - 1), "s", us("12:05"))) == ["12:05"]


def test_nothing_due_changes_nothing():
    before = standing()
    decision = decide(before, "s", us("12:05") - 1)
    assert decision == Decision((), (), before, us("12:05"))


@pytest.mark.parametrize(
    ("now", "policy", "fires", "skips"),
    [
        # All schedulers stopped from 12:00 to 15:00: 36 fires are due, the last is on time.
        ("15:00", {"misfire": "skip"}, ["15:00"], [("missed", "12:05", "14:55", 35)]),
        ("15:00", {"misfire": "fire_once"}, ["15:00"], [("coalesced", "12:05", "14:55", 35)]),
        (
            "15:00",
            {"misfire": "fire_all", "misfire_limit": 3},
            ["14:45", "14:50", "14:55", "15:00"],
            [("over_limit", "12:05", "14:40", 32)],
        ),
        # Two minutes later all of them were missed.
        ("15:02", {"misfire": "skip"}, [], [("missed", "12:05", "15:00", 36)]),
        ("15:02", {"misfire": "fire_once"}, ["15:00"], [("coalesced", "12:05", "14:55", 35)]),
        (
            "15:02",
            {"misfire": "fire_all", "misfire_limit": 3},
            ["14:50", "14:55", "15:00"],
            [("over_limit", "12:05", "14:45", 33)],
        ),
        ("12:12", {"misfire": "fire_all", "misfire_limit": 2}, ["12:05", "12:10"], []),
        ("12:07", {"misfire": "fire_once"}, ["12:05"], []),
        # A longer grace: what is not too late is on time under every policy.
        (
            "15:02",
            {"misfire": "skip", "misfire_grace_us": HOUR_US},
            times([us("14:05") + n * 5 * MINUTE_US for n in range(12)]),
            [("missed", "12:05", "14:00", 24)],
        ),
        # No grace: a fire that is late at all was missed.
        ("12:05", {"misfire": "skip", "misfire_grace_us": 0}, ["12:05"], []),
    ],
)
def test_misfires(now, policy, fires, skips):
    """Behind by three hours, exactly the fires that each policy names."""
    decision = decide(standing(**policy), "s", us(now))
    assert made(decision) == fires
    assert skipped(decision) == skips
    assert decision.next_us > us(now)


def test_the_limit_of_grace_is_on_time():
    late = standing(misfire="skip")
    assert made(decide(late, "s", us("12:05") + 30 * SECOND_US)) == ["12:05"]
    assert skipped(decide(late, "s", us("12:05") + 30 * SECOND_US + 1)) == [("missed", "12:05", "12:05", 1)]


def test_a_change_of_leaders_costs_no_fire():
    """Seconds apart and seven seconds late: within the grace, every one is made, whatever the policy."""
    for policy in schedules.MISFIRES:
        behind = standing(timing=Timing(every_us=SECOND_US), misfire=policy)
        decision = decide(behind, "s", us("12:00") + 7 * SECOND_US)
        assert [fire.fire_us - us("12:00") for fire in decision.fires] == [n * SECOND_US for n in range(1, 8)]
        assert decision.skips == ()


@pytest.mark.parametrize("policy", schedules.MISFIRES)
@pytest.mark.parametrize("grace_us", [0, schedules.LONGEST_GRACE_US])
def test_a_decision_is_bounded(policy, grace_us):
    """Ten years behind at one fire a second: 315 million fires are counted, not walked."""
    rules = Schedule(
        Timing(cron="* * * * * *", zone="Europe/Berlin"),
        misfire=policy,
        misfire_limit=1000,
        misfire_grace_us=grace_us,
    )
    behind, now = Standing(rules, us("12:00")), us("12:00") + 3650 * 86_400 * SECOND_US
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        decision = decide(behind, "s", now)
    finally:
        sys.setprofile(None)
    assert len(decision.fires) <= 2 * schedules.MOST_AT_ONCE
    assert len(decision.fires) + sum(skip.count for skip in decision.skips) == 3650 * 86_400
    assert calls < 200_000


def test_a_clock_that_goes_back_decides_nothing_twice():
    """Forward over 12:05, back before it, forward over it again: one fire."""
    first = decide(standing(), "s", us("12:06"))
    back = decide(first.standing, "s", us("12:01"))
    again = decide(back.standing, "s", us("12:07"))
    assert (made(first), made(back), made(again)) == (["12:05"], [], [])
    assert back.standing == again.standing == first.standing


def test_a_new_schedule_makes_up_for_nothing():
    """First registration does not back-fill: the first fire lies after now, and not before the start."""
    assert decide(begin(Schedule(EVERY_5), us("12:05")), "s", us("12:09")).fires == ()
    later = begin(Schedule(Timing(every_us=HOUR_US, start_us=us("14:07"))), us("12:05"))
    assert decide(later, "s", us("12:30")).next_us == us("14:07")


def test_an_instant_fires_once_and_never_again():
    new = begin(Schedule(Timing(at_us=us("12:30"))), us("12:00"))
    fired = decide(new, "s", us("12:30"))
    assert (made(fired), fired.next_us) == (["12:30"], None)
    assert decide(fired.standing, "s", us("18:00")).fires == ()


@pytest.mark.parametrize(
    ("misfire", "fires"), [("fire_once", ["11:00"]), ("fire_all", ["11:00"]), ("skip", [])]
)
def test_an_instant_that_has_passed_is_due_at_once(misfire, fires):
    late = begin(Schedule(Timing(at_us=us("11:00")), misfire=misfire), us("12:00"))
    assert made(decide(late, "s", us("12:00"))) == fires


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        (Schedule(Timing(cron="* * 31 4 *")), "cron"),
        (Schedule(Timing(cron="30 2 8-14 3 */7", zone="America/New_York", dst="skip")), "cron"),
        (Schedule(Timing(cron="@daily", end_us=us("13:00"))), "end"),
        (Schedule(Timing(every_us=HOUR_US, end_us=us("12:00"))), "end"),
        (Schedule(Timing(at_us=us("11:00"), start_us=us("11:30"))), "at"),
        (Schedule(EVERY_5, misfire="once"), "misfire"),
        (Schedule(EVERY_5, overlap="maybe"), "overlap"),
        (Schedule(EVERY_5, misfire_limit=0), "misfire_limit"),
        (Schedule(EVERY_5, misfire_limit=1001), "misfire_limit"),
        (Schedule(EVERY_5, misfire_grace_us=-1), "misfire_grace"),
        (Schedule(EVERY_5, misfire_grace_us=367 * 24 * HOUR_US), "misfire_grace"),
        (Schedule(EVERY_5, jitter_us=-1), "jitter"),
        (Schedule(EVERY_5, jitter_us=25 * HOUR_US), "jitter"),
    ],
)
def test_refused_at_creation(rules, field):
    with pytest.raises(InvalidInput) as caught:
        begin(rules, us("12:00"))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("skip", ("skip", 100)),
        ("fire_once", ("fire_once", 100)),
        ("fire_all", ("fire_all", 100)),
        (" fire_all(7) ", ("fire_all", 7)),
    ],
)
def test_misfire_as_text(text, policy):
    assert schedules.parse_misfire(text) == policy


@pytest.mark.parametrize(
    "text", ["", "all", "skip(3)", "fire_all()", "fire_all(-1)", "fire_all(3", "fire_all(٣)"]
)
def test_misfire_that_is_no_policy(text):
    with pytest.raises(InvalidInput, match="misfire"):
        schedules.parse_misfire(text)


def test_pause_and_resume():
    """What was due before the pause is made, what comes during it is skipped on record, and no more."""
    rules = standing().rules
    pause = edit(standing(), "s", Schedule(EVERY_5, paused=True), us("12:06"))
    assert (made(pause), pause.next_us) == (["12:05"], None)
    resume = edit(pause.standing, "s", rules, us("12:31"))
    assert (made(resume), skipped(resume)) == ([], [("paused", "12:10", "12:30", 5)])
    assert resume.next_us == us("12:35")


def test_an_edit_loses_no_fire_and_makes_none_twice():
    """12:05 is due when the edit comes: the old rule makes it. The new rule starts after the edit."""
    changed = edit(standing(), "s", Schedule(Timing(cron="*/3 * * * *")), us("12:06"))
    assert made(changed) == ["12:05"]
    assert changed.standing.cursor_us == us("12:06")  # so 12:03 is not made up for, nor 12:06 made
    assert changed.next_us == us("12:09")


def test_an_edit_at_a_fire_time_of_both_rules():
    changed = edit(standing(), "s", Schedule(Timing(cron="* * * * *")), us("12:05"))
    assert (made(changed), changed.next_us) == (["12:05"], us("12:06"))


def test_an_edit_after_the_clock_went_back():
    """12:10 was made before the clock went back to 12:03: no edit makes it again."""
    ahead = decide(standing("12:05"), "s", us("12:10")).standing
    changed = edit(ahead, "s", Schedule(Timing(cron="* * * * *")), us("12:03"))
    assert changed.next_us == us("12:11")


def test_an_edit_of_something_else_than_the_timing():
    fired = decide(begin(Schedule(Timing(at_us=us("12:30"))), us("12:00")), "s", us("12:30")).standing
    changed = edit(fired, "s", Schedule(Timing(at_us=us("12:30")), overlap="skip"), us("13:00"))
    assert changed.next_us is None
    assert changed.standing.rules.overlap == "skip"


@pytest.mark.parametrize("at", ["12:45", "15:00"])
def test_an_instant_is_moved(at):
    """To the past: due at once, as at creation. To the future: due then."""
    fired = decide(begin(Schedule(Timing(at_us=us("12:30"))), us("12:00")), "s", us("12:30")).standing
    changed = edit(fired, "s", Schedule(Timing(at_us=us(at))), us("13:00"))
    assert changed.next_us == us(at)


def test_an_edit_mends_rules_that_cannot_be_read():
    """A zone that the system lost: deciding fails with the field's name, the edit does not."""
    broken = Standing(Schedule(Timing(cron="@hourly", zone="Gone/Zone")), us("12:00"))
    with pytest.raises(InvalidInput, match="zone"):
        decide(broken, "s", us("15:00"))
    mended = edit(broken, "s", Schedule(Timing(cron="@hourly")), us("15:10"))
    assert (mended.fires, mended.next_us) == ((), us("16:00"))


def test_an_edit_is_checked():
    with pytest.raises(InvalidInput, match="jitter"):
        edit(standing(), "s", Schedule(EVERY_5, jitter_us=-1), us("12:01"))


def test_skip_the_next():
    """What is due already still fires; only the next one does not, however often it is asked for."""
    once = skip_next(standing(), "s", us("12:06"))
    assert (made(once), once.next_us) == (["12:05"], us("12:10"))
    twice = skip_next(once.standing, "s", us("12:07"))
    assert twice.standing.skip_through_us == once.standing.skip_through_us == us("12:10")
    later = decide(twice.standing, "s", us("12:15"))
    assert (made(later), skipped(later)) == (["12:15"], [("by_hand", "12:10", "12:10", 1)])


def test_skip_the_next_after_the_clock_went_back():
    """12:10 was made before the clock went back to 12:03: the next one is 12:15."""
    ahead = decide(standing("12:05"), "s", us("12:10")).standing
    assert skip_next(ahead, "s", us("12:03")).standing.skip_through_us == us("12:15")


def test_skip_until():
    holiday = skip_until(standing(), "s", us("13:00"), us("12:01"))
    later = decide(holiday.standing, "s", us("13:06"))
    assert (made(later), skipped(later)) == (["13:05"], [("by_hand", "12:05", "13:00", 12)])


def test_a_skip_is_taken_back():
    """What it has skipped by then stays skipped."""
    holiday = skip_until(standing(), "s", us("18:00"), us("12:01"))
    longer = skip_next(holiday.standing, "s", us("12:02"))
    assert longer.standing.skip_through_us == us("18:00")
    back = skip_until(longer.standing, "s", us("12:11"), us("12:11"))
    assert skipped(back) == [("by_hand", "12:05", "12:10", 2)]
    assert made(decide(back.standing, "s", us("12:15"))) == ["12:15"]


def test_skip_until_is_no_misfire():
    holiday = skip_until(standing(misfire="skip"), "s", us("12:10"), us("12:01"))
    later = decide(holiday.standing, "s", us("12:22"))
    assert skipped(later) == [("by_hand", "12:05", "12:10", 2), ("missed", "12:15", "12:20", 2)]


def test_nothing_to_skip():
    fired = decide(begin(Schedule(Timing(at_us=us("12:30"))), us("12:00")), "s", us("12:30")).standing
    with pytest.raises(WrongState):
        skip_next(fired, "s", us("12:31"))


rules = st.builds(
    Schedule,
    timing=st.one_of(
        st.builds(Timing, every_us=st.integers(SECOND_US, 90 * MINUTE_US), anchor_us=st.integers(0, HOUR_US)),
        st.builds(
            Timing,
            cron=st.sampled_from(["* * * * *", "*/7 * * * *", "30 2 * * *", "*/20 * * * * *"]),
            zone=st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe"]),
        ),
    ),
    misfire=st.sampled_from(schedules.MISFIRES),
    misfire_limit=st.integers(1, 5),
    misfire_grace_us=st.integers(0, 600 * SECOND_US),
    paused=st.booleans(),
)
steps = st.lists(
    st.tuples(
        st.integers(-HOUR_US, 4 * HOUR_US),  # a clock may go back
        st.one_of(st.just(decide), st.just(skip_next), rules),
    ),
    min_size=1,
    max_size=12,
)


def spread(timing: Timing, skip: Skip) -> list[int]:
    return next_fires(timing, skip.first_us - 1, skip.count)


@given(first=rules, steps=steps)
def test_every_fire_time_is_decided_once(first, steps):
    """Whatever is edited, paused and skipped, and however the clock jumps: no fire lost, none twice."""
    now = us("00:30")
    stand = begin(first, now)
    everything: list[int] = []
    for gap, step in steps:
        now += gap
        old = stand
        decision = edit(stand, "s", step, now) if isinstance(step, Schedule) else step(stand, "s", now)
        timing = old.rules.timing
        decided = [fire.fire_us for fire in decision.fires]
        for skip in decision.skips:
            assert spread(timing, skip)[-1] == skip.last_us
            decided += spread(timing, skip)
        assert len(decided) == len(set(decided)) == count_fires(timing, old.cursor_us, now)
        assert all(old.cursor_us < fire <= now for fire in decided)
        assert [fire.fire_us for fire in decision.fires] == sorted(fire.fire_us for fire in decision.fires)
        everything += decided
        stand = decision.standing
        assert stand.cursor_us >= old.cursor_us
        expected = None if stand.rules.paused else next_us(stand.rules.timing, stand.cursor_us)
        assert decision.next_us == expected
        assert decide(stand, "s", now) == Decision((), (), stand, expected)
    assert len(everything) == len(set(everything))
