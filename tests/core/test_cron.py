"""What an expression may be, what it means on a plain calendar, and what reading it costs."""

import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import example, given
from hypothesis import strategies as st

from mainspring.core.cron import LONGEST_TEXT, MACROS, parse_cron
from mainspring.core.zoned import ZonedCron
from mainspring.errors import InvalidInput
from tests.oracles.cron_by_minutes import Job

DAY_S = 86_400


def second(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def first_fires(text: str, after: str, count: int) -> list[str]:
    zoned, moment, found = ZonedCron(parse_cron(text), UTC), second(after), []
    for _ in range(count):
        moment = zoned.next(moment)
        found.append(f"{datetime.fromtimestamp(moment, UTC):%m-%d %H:%M:%S}")
    return found


@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("@yearly", ["01-01 00:00:00", "01-01 00:00:00"]),
        ("@annually", ["01-01 00:00:00", "01-01 00:00:00"]),
        ("@monthly", ["02-01 00:00:00", "03-01 00:00:00"]),
        ("@weekly", ["01-19 00:00:00", "01-26 00:00:00"]),
        ("@daily", ["01-16 00:00:00", "01-17 00:00:00"]),
        ("@midnight", ["01-16 00:00:00", "01-17 00:00:00"]),
        ("@hourly", ["01-15 12:00:00", "01-15 13:00:00"]),
        ("@Daily ", ["01-16 00:00:00", "01-17 00:00:00"]),
        ("*/15 * * * *", ["01-15 11:45:00", "01-15 12:00:00"]),
        ("*/45 * * * *", ["01-15 11:45:00", "01-15 12:00:00"]),
        ("*/90 * * * *", ["01-15 12:00:00", "01-15 13:00:00"]),
        ("50/5 12 * * *", ["01-15 12:50:00", "01-15 12:55:00"]),
        ("50-50/5 12 * * *", ["01-15 12:50:00", "01-16 12:50:00"]),
        ("0 0 * * sun-0/2", ["01-19 00:00:00", "01-26 00:00:00"]),
        ("  09,39\t03 \t* * *\t", ["01-16 03:09:00", "01-16 03:39:00"]),
        ("0 9 * * MON-Fri", ["01-16 09:00:00", "01-17 09:00:00"]),
        ("0 9 * FEB,mar sun", ["02-02 09:00:00", "02-09 09:00:00"]),
        ("0 9 * * 7", ["01-19 09:00:00", "01-26 09:00:00"]),
        ("0 9 * * 5-7", ["01-17 09:00:00", "01-18 09:00:00"]),
        ("0 9 1-7 * 1", ["01-20 09:00:00", "01-27 09:00:00"]),  # or: any Monday, and the first week
        ("0 9 1-7 * */7", ["02-02 09:00:00", "03-02 09:00:00"]),  # and: the first Sunday
        ("0 9 */2 * sat", ["01-25 09:00:00", "02-01 09:00:00"]),
        ("*/20 * * * * *", ["01-15 11:40:20", "01-15 11:40:40"]),
        ("30 0 12 * * *", ["01-15 12:00:30", "01-16 12:00:30"]),
        ("0 0 29 2 *", ["02-29 00:00:00", "02-29 00:00:00"]),
    ],
)
def test_meaning(text, fires):
    """S1-58: after Wednesday 15 January 2025, 11:40."""
    assert first_fires(text, "2025-01-15T11:40", 2) == fires


def test_the_rarest_expression_is_found():
    """29 February on a Sunday: 2088, then not before 2128, because 2100 is no leap year."""
    zoned = ZonedCron(parse_cron("0 0 29 2 */7"), UTC)
    assert zoned.next(second("2088-02-28")) == second("2088-02-29")
    assert zoned.next(second("2088-02-29")) == second("2128-02-29")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "0 fields"),
        ("   ", "0 fields"),
        ("* * * *", "4 fields"),
        ("* * * * * * *", "7 fields"),
        ("60 * * * *", "bad minute: '60'"),
        ("60 * * * * *", "bad second: '60'"),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * 32 * *", "bad day-of-month"),
        ("* * * 13 *", "bad month"),
        ("* * * * 8", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("5-5/0 * * * *", "bad minute"),
        ("* * * jan-xyz/2 *", "bad month"),
        ("5-1 * * * *", "bad minute: '5-1'"),
        ("* * * * fri-sun", "bad day-of-week"),
        ("* * * * sunday", "bad day-of-week"),
        ("* * mon * *", "bad day-of-month"),
        ("1,,2 * * * *", "bad minute"),
        ("1, * * * *", "bad minute"),
        ("1-2-3 * * * *", "bad minute"),
        ("*/2/2 * * * *", "bad minute"),
        ("+1 * * * *", "bad minute"),
        ("1_0 * * * *", "bad minute"),
        ("-1 * * * *", "bad minute"),
        ("*5 * * * *", "bad minute"),
        ("* * L * *", "bad day-of-month"),
        ("* * LW * *", "bad day-of-month"),
        ("* * * * 5L", "bad day-of-week"),
        ("* * * * 5#3", "bad day-of-week"),
        ("* * ? * *", "bad day-of-month"),
        ("19 19 * * =4", "bad day-of-week"),
        ("* * * * ſun", "bad day-of-week"),  # its upper case is SUN
        ("١ * * * *", "bad minute"),
        ("¹ * * * *", "bad minute"),
        ("0\xa00 * * *", "4 fields"),
        ("0 0 * * *\n", "bad day-of-week"),
        ("0\v0 * * *", "4 fields"),
        ("0 0 * * \0", "bad day-of-week"),
        ("99999999999999999999 * * * *", "bad minute"),
        ("@reboot", "no moment of starting"),
        ("@", "no such macro"),
        ("@dai1y", "no such macro"),
        ("@daily *", "no such macro"),
        ("0 0 30 2 *", "never fires: month 2 has no day 30"),
        ("0 0 31 apr,jun *", "never fires: month apr,jun has no day 31"),
        ("0 0 30,31 2 */2", "never fires: month 2 has no day 30,31"),
        ("* " * 128 + "*", "257 characters"),
    ],
)
def test_refused(text, reason):
    with pytest.raises(InvalidInput) as caught:
        parse_cron(text)
    assert caught.value.field == "cron"
    assert reason in caught.value.problem
    assert len(str(caught.value)) < 500


def test_the_longest_text():
    text = "0 0 " + ",".join(["1"] * 124) + " *  *"
    assert len(text) == LONGEST_TEXT
    assert parse_cron(text).text.startswith("0 0 1,1,")


WORST = [
    ",".join(["*"] * 124) + " * * * *",
    "* * * * " + ",".join(["*/1"] * 62),
    " ".join([",".join(["0-59/1"] * 6)] * 2 + [",".join(["*"] * 24)] * 2 + ["1-12/1", "0-7/1"]),
    ",".join(["*/999999999"] * 20) + " * * * *",
    "9" * 248 + " * * * *",
    "* * * * " + "/" * 248,
    "* * * * " + "," * 248,
    "* * * * " + "-" * 248,
    "*/" * 124 + " * * * *",
    "1-" * 124 + " * * * *",
    "(" * 256,
    " " * 256,
    "@" * 256,
    "0 0 31 " + ",".join(["2,4"] * 60) + " *",
]


@pytest.mark.parametrize("text", WORST)
def test_reading_costs_by_the_length_of_the_text(text):
    """Counted in calls, which no slow machine changes: a few for each character, 217 for the calendar."""
    assert len(text) <= LONGEST_TEXT
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        parse_cron.__wrapped__(text)
    except InvalidInput:
        pass
    finally:
        sys.setprofile(None)
    assert calls < 6000


numbers = st.integers(0, 61).map(str) | st.sampled_from(
    ["mon", "SUN", "jan", "dec", "*", "07", "L", "#", "?"]
)
items = st.one_of(
    st.just("*"),
    numbers,
    st.builds("{}-{}".format, numbers, numbers),
    st.builds("{}/{}".format, numbers, numbers),
    st.builds("*/{}".format, st.integers(0, 70)),
    st.text(max_size=3),
)
texts = st.lists(st.lists(items, min_size=1, max_size=3).map(",".join), min_size=4, max_size=7).map(" ".join)


@given(text=texts | st.text(max_size=40))
@example(text="0 0 29 2 */7")
def test_what_is_accepted_fires(text):
    """Any text is refused with a reason, or names a time that comes."""
    refusal, first = None, None
    try:
        first = ZonedCron(parse_cron(text), UTC).next(0)
    except InvalidInput as error:
        refusal = error.field
    assert refusal == "cron" or first is not None


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    spans = st.tuples(number, number).map(sorted)
    item = st.one_of(
        st.just("*"),
        number.map(str),
        spans.map(lambda span: f"{span[0]}-{span[1]}"),
        st.builds("*/{}".format, st.integers(1, high + 2)),
        st.builds(lambda span, step: f"{span[0]}-{span[1]}/{step}", spans, st.integers(1, 9)),
    )
    return st.lists(item, min_size=1, max_size=2).map(",".join)


# Sparse enough for a search, dense enough that something happens within days.
expressions = st.tuples(field(0, 59), field(0, 23), field(1, 28), st.just("*"), field(0, 7)).map(" ".join)


@given(text=expressions, start=st.integers(second("1999-12-01"), second("2030-01-01")))
def test_calendar(text, start):
    """On a clock without changes, first, last and count are what looking at every minute finds."""
    job, cron = Job(text), parse_cron(text)
    end = start + DAY_S + 12_345
    minutes = range(-(-start // 60) * 60, end, 60)
    midnight = datetime(1970, 1, 1)
    expected = [minute for minute in minutes if job.matches(midnight + timedelta(seconds=minute))]
    assert cron.count(start, end) == len(expected)
    found, moment = [], start
    while (at := cron.first(moment, end)) is not None:
        found.append(at)
        moment = at + 1
    assert found == expected
    found, moment = [], end
    while (at := cron.last(start, moment)) is not None:
        found.append(at)
        moment = at
    assert found[::-1] == expected


@given(
    text=expressions,
    zone=st.sampled_from(["America/New_York", "Europe/Riga", "America/Sao_Paulo"]),
    start=st.integers(second("2010-01-01"), second("2036-01-01")),
)
def test_second_opinion(text, zone, start):
    """The library's own search agrees, in zones whose shifts of whole hours it is known to get right."""
    begin = datetime.fromtimestamp(start // 60 * 60, ZoneInfo(zone))
    if begin.fold:
        return  # asked inside a repeated hour, it answers with times before the start
    cron = parse_cron(text)
    theirs, ours = CronSim(cron.text, begin), ZonedCron(cron, ZoneInfo(zone))
    moment = start // 60 * 60
    for _ in range(5):
        moment = ours.next(moment)
        assert moment == int(next(theirs).timestamp())


def test_macros_are_the_documented_ones():
    assert set(MACROS) == {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
