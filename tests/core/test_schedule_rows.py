"""Rows that people write: what rules become as columns, they become again; what means nothing is named."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.model import SECOND_US, Lane, Policy, encode_policy
from mainspring.core.schedule_rows import Row, read_row, write_row
from mainspring.core.schedules import MISFIRES, MOST_AT_ONCE, OVERLAPS, Schedule
from mainspring.core.templates import Template
from mainspring.core.timing import LAST_US, Timing

texts = st.text(max_size=20)
instants = st.integers(0, LAST_US - 1)
# Whole microseconds up to 71 years are exact in a float of seconds.
durations = st.integers(0, 2**51)
optional = st.none()
timings = st.builds(
    Timing,
    cron=optional | texts,
    every_us=optional | durations,
    at_us=optional | instants,
    anchor_us=optional | instants,
    zone=texts,
    dst=texts,
    start_us=optional | instants,
    end_us=optional | instants,
)
schedules = st.builds(
    Schedule,
    timings,
    st.sampled_from(MISFIRES),
    st.integers(1, MOST_AT_ONCE),
    durations,
    st.sampled_from(OVERLAPS) | texts,
    durations,
    st.booleans(),
)
templates = st.builds(
    Template,
    st.builds(Lane, texts, texts, texts, st.integers(1, 10), texts),
    st.sampled_from([b"null", b'{"a":"\xc3\xa9"}', b"12345678901234567890.0"]),
    st.sampled_from([None, encode_policy(Policy(max_retries=9))]),
    optional | durations,
    st.sampled_from([None, b'{"a":"b"}']),
    optional | texts,
)


@given(schedules, templates)
def test_what_is_written_is_read_back(rules, template):
    assert read_row(write_row(rules, template)) == (rules, template, None)


def test_a_row_of_defaults_is_the_default():
    rules, template, problem = read_row(Row(cron="* * * * *"))
    assert (rules, problem) == (Schedule(Timing(cron="* * * * *")), None)
    assert template == Template(Lane("default", "echo", "default", 5))


@pytest.mark.parametrize(
    ("text", "instant_us"),
    [
        ("1970-01-01T00:00:01Z", SECOND_US),
        ("1970-01-01 00:00:01", SECOND_US),
        (" 1970-01-01T02:00:01.5+02:00 ", 1_500_000),
        ("1970-01-02", 86_400 * SECOND_US),
        ("1969-12-31T23:59:59Z", -SECOND_US),
    ],
)
def test_times(text, instant_us):
    """One that lies outside of all calendars is for `check_timing` to refuse."""
    rules, _, problem = read_row(Row(at=text))
    assert (rules.timing.at_us, problem) == (instant_us, None)


@pytest.mark.parametrize("text", ["", "now", "12:00", "1970-13-01", "-1", "9" * 400, "1970-01-01T00:00:01X"])
def test_what_is_no_time_is_left_out_and_named(text):
    rules, _, problem = read_row(Row(at=text))
    assert rules.timing.at_us is None
    assert problem.field == "at"


@pytest.mark.parametrize(
    ("misfire", "limit", "read"),
    [
        ("fire_all", 7, ("fire_all", 7)),
        ("fire_all(9)", 7, ("fire_all", 9)),
        (" skip ", 100, ("skip", 100)),
    ],
)
def test_misfire(misfire, limit, read):
    rules, _, problem = read_row(Row(every_s=1.0, misfire=misfire, misfire_limit=limit))
    assert ((rules.misfire, rules.misfire_limit), problem) == (read, None)


@pytest.mark.parametrize(
    ("column", "value", "field"),
    [
        ("every_s", -0.5, "every"),
        ("every_s", float("inf"), "every"),
        ("every_s", float("nan"), "every"),
        ("jitter_s", -1.0, "jitter"),
        ("misfire_grace_s", 1e300, "misfire_grace"),
        ("timeout_s", -1.0, "timeout"),
        ("misfire", "never", "misfire"),
        ("misfire", "skip(3)", "misfire"),
        ("priority", 0, "priority"),
        ("priority", 1 << 62, "priority"),
        ("policy", "{", "policy"),
        ("policy", '{"max_retries":"x"}', "policy"),
        ("labels", '{"a":1}', "labels"),
    ],
)
def test_what_means_nothing_is_named(column, value, field):
    _, _, problem = read_row(msgspec.structs.replace(Row(cron="* * * * *"), **{column: value}))
    assert problem.field == field


def test_the_first_complaint_is_kept():
    _, _, problem = read_row(Row(every_s=-1.0, at="x", priority=99))
    assert problem.field == "every"
