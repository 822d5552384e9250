"""Durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.durations import LONGEST_S, parse_duration_s, spelled
from mainspring.errors import InvalidInput


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0, 0.0), (5, 5.0), (1.5, 1.5), ("5", 5.0), (" 10s ", 10.0), ("250ms", 0.25), ("1h30m", 5400.0),
        ("1.5h", 5400.0), (".5s", 0.5), ("2d", 172800.0), ("1m30.5s", 90.5), ("7us", 7e-6), ("7µs", 7e-6),
        ("3ns", 3e-9), ("0s", 0.0), ("876000h", LONGEST_S),
    ],
)  # fmt: skip
def test_accepted(written, seconds):
    """S1-25, S1-28: seconds as numbers, or Go's spelling."""
    assert parse_duration_s(written, "delay") == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    [
        "", " ", "s", "5 s", "5x", "1h-3m", "-5s", "--5", "1e3", "١s", "5s5", None, True, [], {}, b"5s",
        -1, -0.001, float("nan"), float("inf"), 10**400, "1" * 400 + "h", LONGEST_S * 2,
    ],
)  # fmt: skip
def test_refused_by_name(written):
    with pytest.raises(InvalidInput) as caught:
        parse_duration_s(written, "delay")
    assert caught.value.field == "delay"
    assert caught.value.accepted
    assert len(str(caught.value)) < 200


@given(st.integers(0, 10_000), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_parts_add_up(hours, minutes, seconds, millis):
    text = f"{hours}h{minutes}m{seconds}s{millis}ms"
    assert parse_duration_s(text, "d") == pytest.approx(hours * 3600 + minutes * 60 + seconds + millis / 1e3)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0 ms"),
        (0.0, "0 ms"),
        (0.25, "250 ms"),
        (1.0, "1 s"),
        (1.23, "1.2 s"),
        (60.0, "1 m"),
        (200.0, "3 m 20 s"),
        (3600.0, "1 h"),
        (7500.0, "2 h 5 m"),
        (86_400.0, "1 d"),
        (4 * 86_400.0 + 3 * 3600.0 + 59.0, "4 d 3 h"),
        (86_400.0 + 60.0, "1 d"),
    ],
)
def test_spelled_for_people(seconds, text):
    assert spelled(seconds) == text
