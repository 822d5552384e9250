"""Single values as people write them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.clock import SystemClock
from mainspring.core.model import State
from mainspring.errors import InvalidInput
from mainspring.wire import fields


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2031-05-01T12:00:00Z", "2031-05-01T12:00:00+00:00"),
        ("2031-05-01t12:00:00z", "2031-05-01T12:00:00+00:00"),
        ("2031-05-01 12:00:00+02:00", "2031-05-01T10:00:00+00:00"),
        ("2031-05-01T12:00:00.5-00:30", "2031-05-01T12:30:00.500000+00:00"),
        ("2031-05-01T12:00:00.1234567891Z", "2031-05-01T12:00:00.123456+00:00"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999+00:00"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00+00:00"),
    ],
)
def test_times(text, iso):
    assert fields.moment(fields.time_us(text, "run_at")) == datetime.fromisoformat(iso)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2031-05-01T12:00:00", "without offset"),
        ("2031-05-01", "without offset"),
        ("2031-05-01T12:00Z", "not a time"),
        ("2031-05-01T24:00:00Z", "no such time"),
        ("2031-05-01T12:00:60Z", "no such time"),
        ("2031-02-29T12:00:00Z", "no such time"),
        ("2031-05-01T12:00:00+24:00", "no such time"),
        ("0000-01-01T00:00:00Z", "no such time"),
        ("0001-01-01T00:00:00+23:59", "out of range"),
        ("9999-12-31T23:59:59-23:59", "out of range"),
        ("1969-12-31T23:59:59Z", "out of range"),
        ("٢٠٣١-05-01T12:00:00Z", "not a time"),
        ("2031-05-01T12:00:00+00:60", "not a time"),
        ("tomorrow", "not a time"),
        ("1700000000", "not a time"),
        ("", "not a time"),
    ],
)
def test_times_refused(text, problem):
    """Protocol check D-51: 24:00, leap seconds, years 0000 and 9999 never fail otherwise."""
    with pytest.raises(InvalidInput, match=problem):
        fields.time_us(text, "run_at")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (SystemClock().new_id(), True),
        ("01a1fe09-27c2-7000-85f0-280dd56e7f97", True),
        ("00000000-0000-7000-8000-000000000000", True),
        ("01a1fe09-27c2-4000-85f0-280dd56e7f97", False),
        ("01a1fe09-27c2-7000-05f0-280dd56e7f97", False),
        ("01a1fe09-27c2-7000-c5f0-280dd56e7f97", False),
        ("01A1FE09-27C2-7000-85F0-280DD56E7F97", False),
        ("01a1fe0927c2700085f0280dd56e7f97", False),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", False),
    ],
)
def test_ids_of_ones_own(text, is_one):
    """RFC 9562: a UUIDv7 has its version and its variant."""
    assert fields.is_uuid7(text) is is_one


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)))
def test_times_come_back(moment):
    text = moment.replace(tzinfo=UTC).isoformat()
    if "." not in text:
        text = text.replace("+", ".0+")
    assert fields.moment(fields.time_us(text, "run_at")) == moment.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1), (10, 10), ("high", 8), ("Medium", 5), (" LOW ", 2), ("7", 7), (0, 5), ("0", 5), (None, 5)],
)
def test_priorities(value, number):
    """Words and numbers on every surface; 0 and nothing mean unset (S0-02, contract 1.6-B)."""
    assert fields.priority(value) == number


@pytest.mark.parametrize("value", [11, -1, "urgent", "", "1.5", "٣", True, 1 << 80])
def test_priorities_refused(value):
    with pytest.raises(InvalidInput, match="not a priority"):
        fields.priority(value)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        *((state.label, {state.label}) for state in State),
        ("SUCCEEDED", {"succeeded"}),
        ("completed", {"succeeded"}),
        ("Pending", {"blocked", "scheduled", "ready"}),
        ("dead", {"failed"}),
        ("canceled", {"cancelled"}),
    ],
)
def test_states_in_every_spelling(text, labels):
    """S0-21: filters accept every source's spelling, in any case (contract 1.6-A)."""
    assert {state.label for state in fields.states(text)} == labels


def test_unknown_state_names_what_is_accepted():
    with pytest.raises(InvalidInput, match="not a state") as caught:
        fields.states("done")
    assert "completed" in caught.value.accepted


@pytest.mark.parametrize("text", ["", "a b", "a\nb", "é", "x" * 201, 'a"b', "a\\b"])
def test_names_refused(text):
    with pytest.raises(InvalidInput, match="not a name"):
        fields.name(text, "queue")


@pytest.mark.parametrize(
    ("value", "us"), [(1.5, 1_500_000), ("1h30m", 5_400_000_000), ("250ms", 250_000), (0, 0)]
)
def test_durations(value, us):
    """Go's spelling everywhere (contract 1.6-O)."""
    assert fields.duration_us(value, "delay") == us


@pytest.mark.parametrize("value", ["-1s", "1x", "", -1, True, None, float("inf"), 1e300])
def test_durations_refused(value):
    with pytest.raises(InvalidInput, match="delay"):
        fields.duration_us(value, "delay")


def test_seconds_are_short():
    assert [fields.seconds(us) for us in (30_000_000, 1_500_000, 0)] == [30, 1.5, 0]
    assert isinstance(fields.seconds(30_000_000), int)


@pytest.mark.parametrize("given_labels", [{"a b": "x"}, {"a": "x" * 201}, {"a": "line\nbreak"}, {"": "x"}])
def test_labels_refused(given_labels):
    with pytest.raises(InvalidInput):
        fields.labels(given_labels, 32)
