"""Intervals, instants, start and end: one line of fire times, whoever asks."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.model import SECOND_US
from mainspring.core.timing import (
    LAST_US,
    LONGEST_INTERVAL_US,
    Timing,
    check_timing,
    count_fires,
    last_us,
    next_fires,
    next_us,
)
from mainspring.errors import InvalidInput

MINUTE_US = 60 * SECOND_US


def us(text: str) -> int:
    return int(datetime.fromisoformat(text + "+00:00").timestamp()) * SECOND_US


def clock(fires: list[int]) -> list[str]:
    return [f"{datetime.fromtimestamp(fire // SECOND_US, UTC):%d %H:%M}" for fire in fires]


NOON = us("2027-03-01T12:00")


@pytest.mark.parametrize(
    ("timing", "fires"),
    [
        (
            Timing(every_us=25 * MINUTE_US, anchor_us=us("2027-03-01T11:50")),
            ["01 12:15", "01 12:40", "01 13:05"],
        ),
        (Timing(every_us=15 * MINUTE_US), ["01 12:15", "01 12:30", "01 12:45"]),
        (
            Timing(every_us=60 * MINUTE_US, start_us=us("2027-03-01T12:07")),
            ["01 12:07", "01 13:07", "01 14:07"],
        ),
        (
            Timing(every_us=60 * MINUTE_US, start_us=us("2027-02-01T12:07")),
            ["01 12:07", "01 13:07", "01 14:07"],
        ),
        (
            Timing(every_us=60 * MINUTE_US, anchor_us=us("2027-03-09T12:07")),
            ["01 12:07", "01 13:07", "01 14:07"],
        ),
        (Timing(every_us=15 * MINUTE_US, end_us=us("2027-03-01T12:30")), ["01 12:15"]),
        (Timing(at_us=us("2027-03-01T12:01")), ["01 12:01"]),
        (Timing(at_us=NOON), []),
        (Timing(at_us=us("2027-03-01T12:01"), end_us=us("2027-03-01T12:01")), []),
        (Timing(cron="0 12 * * *", start_us=us("2027-03-05T12:00")), ["05 12:00", "06 12:00", "07 12:00"]),
        (Timing(cron="0 12 * * *", end_us=us("2027-03-03T12:00")), ["02 12:00"]),
        (Timing(cron="0 12 * * *", zone="Asia/Tokyo"), ["02 03:00", "03 03:00", "04 03:00"]),
    ],
)
def test_next_fires(timing, fires):
    """S1-11: strictly after noon; the start belongs to the schedule, the end does not."""
    check_timing(timing)
    assert clock(next_fires(timing, NOON, 3)) == fires


@pytest.mark.parametrize(
    ("dst", "march", "november"),
    [
        ("debian", ["13 07:30", "14 07:00", "15 06:30"], ["06 05:30", "07 05:30", "08 06:30"]),
        ("skip", ["13 07:30", "15 06:30", "16 06:30"], ["06 05:30", "07 05:30", "08 06:30"]),
        ("both", ["13 07:30", "15 06:30", "16 06:30"], ["06 05:30", "07 05:30", "07 06:30"]),
    ],
)
def test_fixed_times_at_the_changes(dst, march, november):
    """02:30 does not exist on 14 March 2027 in New York; 01:30 comes twice on 7 November."""
    timing = Timing(cron="30 2 * * *", zone="America/New_York", dst=dst)
    assert clock(next_fires(timing, us("2027-03-13T00:00"), 3)) == march
    timing = Timing(cron="30 1 * * *", zone="America/New_York", dst=dst)
    assert clock(next_fires(timing, us("2027-11-06T00:00"), 3)) == november


@pytest.mark.parametrize(
    ("dst", "march", "november"), [("debian", 46, 50), ("skip", 46, 48), ("both", 46, 50)]
)
def test_wildcards_at_the_changes(dst, march, november):
    timing = Timing(cron="*/30 * * * *", zone="America/New_York", dst=dst)
    assert count_fires(timing, us("2027-03-14T05:00") - 1, us("2027-03-15T04:00") - 1) == march
    assert count_fires(timing, us("2027-11-07T04:00") - 1, us("2027-11-08T05:00") - 1) == november


def test_a_time_that_its_rule_always_skips():
    """The second Sunday of March, 02:30: under `skip` it fires nowhere in New York, and the search ends."""
    timing = Timing(cron="30 2 8-14 3 */7", zone="America/New_York", dst="skip")
    assert next_us(timing, us("2027-01-01T00:00")) is None
    assert last_us(timing, us("2027-01-01T00:00"), us("2077-01-01T00:00")) is None
    assert count_fires(timing, us("2027-01-01T00:00"), us("2077-01-01T00:00")) == 0


@pytest.mark.parametrize(
    ("timing", "field"),
    [
        (Timing(), "cron"),
        (Timing(cron="* * * * *", every_us=MINUTE_US), "every"),
        (Timing(every_us=MINUTE_US, at_us=1), "at"),
        (Timing(cron="* * * * * *  *"), "cron"),
        (Timing(cron=""), "cron"),
        (Timing(every_us=SECOND_US - 1), "every"),
        (Timing(every_us=0), "every"),
        (Timing(every_us=LONGEST_INTERVAL_US + 1), "every"),
        (Timing(at_us=-1), "at"),
        (Timing(at_us=LAST_US), "at"),
        (Timing(cron="@daily", anchor_us=0), "anchor"),
        (Timing(every_us=MINUTE_US, anchor_us=-1), "anchor"),
        (Timing(cron="@daily", start_us=LAST_US), "start"),
        (Timing(cron="@daily", start_us=5, end_us=5), "end"),
        (Timing(cron="@daily", end_us=-1), "end"),
        (Timing(cron="@daily", zone="Mars/Base"), "zone"),
        (Timing(at_us=1, zone=""), "zone"),
        (Timing(cron="@daily", dst="never"), "dst"),
    ],
)
def test_refused(timing, field):
    with pytest.raises(InvalidInput) as caught:
        check_timing(timing)
    assert caught.value.field == field


def test_a_year_that_no_clock_can_write_is_not_reached():
    timing = Timing(cron="@hourly", zone="Pacific/Kiritimati")
    assert next_fires(timing, LAST_US - 2 * 3600 * SECOND_US, 9) == [
        LAST_US - 6400 * SECOND_US,
        LAST_US - 2800 * SECOND_US,
    ]
    assert next_us(timing, LAST_US) is None


@pytest.mark.parametrize(
    "timing", [{"cron": "@hourly"}, {"every_us": 60 * MINUTE_US, "anchor_us": 0}, {"at_us": NOON}]
)
def test_start_and_end_bound_what_is_looked_back_at(timing):
    bounded = Timing(**timing, start_us=NOON, end_us=NOON + 1)
    assert (last_us(bounded, 0, 2 * NOON), count_fires(bounded, 0, 2 * NOON)) == (NOON, 1)
    ended = Timing(**timing, start_us=NOON - 1, end_us=NOON)
    assert (last_us(ended, 0, 2 * NOON), count_fires(ended, 0, 2 * NOON)) == (None, 0)
    to_come = Timing(**timing, start_us=NOON + 1, end_us=NOON + 2)
    assert (last_us(to_come, 0, 2 * NOON), count_fires(to_come, 0, 2 * NOON)) == (None, 0)


timings = st.one_of(
    st.builds(
        Timing,
        cron=st.sampled_from(["* * * * *", "*/7 * * * *", "30 2 * * *", "0 */3 * * 1-5", "*/40 * 1 * * *"]),
        zone=st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"]),
        dst=st.sampled_from(["debian", "skip", "both"]),
    ),
    st.builds(Timing, every_us=st.integers(SECOND_US, 90 * MINUTE_US), anchor_us=st.integers(0, 2 * NOON)),
    st.builds(Timing, at_us=st.integers(NOON - 90 * MINUTE_US, NOON + 90 * MINUTE_US)),
)
moments = st.integers(us("2010-01-01T00:00"), us("2037-01-01T00:00"))


@given(timing=timings, after=moments, span=st.integers(0, 6 * 60 * MINUTE_US), cut=st.floats(0, 1))
def test_next_last_and_count_tell_the_same_story(timing, after, span, cut):
    until, middle = after + span, after + int(span * cut)
    fires, moment = [], after
    while (moment := next_us(timing, moment)) is not None and moment <= until:
        fires.append(moment)
    assert count_fires(timing, after, until) == len(fires)
    assert count_fires(timing, after, middle) + count_fires(timing, middle, until) == len(fires)
    backwards, moment = [], until
    while (found := last_us(timing, after, moment)) is not None:
        backwards.append(found)
        moment = found - 1
    assert backwards[::-1] == fires
