"""Where the clock is put forward and back, against an oracle that looks at every minute.

`MAINSPRING_CRON_FULL=1` compares all changes of all zones, and a longer time around each.
"""

import os
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mainspring.core.cron import parse_cron
from mainspring.core.zoned import DST_RULES, ZonedCron
from tests.oracles.cron_by_minutes import Job, changes, fires, walk

FULL = bool(os.environ.get("MAINSPRING_CRON_FULL"))
SAMPLE = 1 if FULL else 12
AROUND = timedelta(hours=15) if FULL else timedelta(hours=10)
ZONES = {
    "America/New_York": "one hour at 02:00",
    "Europe/London": "one hour at 01:00, to and from UTC",
    "Europe/Dublin": "winter time is the negative shift",
    "Europe/Moscow": "lasting shifts in 2011 and 2014",
    "Africa/Casablanca": "four changes a year around Ramadan",
    "Africa/Cairo": "at midnight, given up and taken up again",
    "Asia/Gaza": "at 00:00, 00:01, 01:00 and 02:00, by the year",
    "Asia/Tehran": "at midnight, given up in 2022",
    "Asia/Pyongyang": "half an hour, in 2018 over midnight",
    "America/Sao_Paulo": "the day begins at 01:00",
    "America/St_Johns": "at 00:01 until 2011: the repeated hour lies in the day before",
    "Australia/Lord_Howe": "half an hour each time",
    "Antarctica/Casey": "three hours: the limit between DST and a correction",
    "Antarctica/Troll": "two hours",
    "Pacific/Apia": "a whole day left out in 2011",
}
EXPRESSIONS = """
* * * * *
*/15 * * * *
*/30 2 * * *
7,37 * * * *
0 * * * *
30 */2 * * *
0 */3 * * *
15 1-4 * * *
0 0 * * *
30 0 * * *
1 0 * * *
30 1 * * *
0 2 * * *
15 2 * * *
30 2 * * *
59 2 * * *
0 3 * * *
30 3 * * *
0,30 0,1,2,3 * * *
0 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23 * * *
45 23 * * *
30 23 * * 6
0-30 1 * * *
10-50/20 0-4/2 * * *
5 2 * * sun
15 2 * mar,apr,oct,nov sun
30 2 1-7 * 0
0 1 25-31 3,10 */7
30 1 */2 * *
0 12 1,15 * mon-fri
""".strip().splitlines()
JOBS = [(Job(expression), parse_cron(expression)) for expression in EXPRESSIONS]


def test_the_size_of_the_comparison():
    assert (len(ZONES), len(EXPRESSIONS)) == (15, 30)


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.limit(600)
def test_oracle(name):
    """S1-11, S1-58: searching forwards, backwards and counting agree with looking at every minute."""
    zone = ZoneInfo(name)
    found = changes(zone, 2010, 2037)
    assert found
    step = max(1, min(SAMPLE, len(found) // 4))
    for change in found[first_of_sample(name) % step :: step]:
        minutes = walk(zone, change - AROUND, change + AROUND)
        settled = minutes[4 * 60][0]  # by now the oracle has seen enough of the clock
        before_end = minutes[-1][0]
        edge = int(change.timestamp())
        for job, cron in JOBS:
            for rule in DST_RULES:
                expected = [fire for fire in fires(job, minutes, rule) if fire > settled]
                zoned = ZonedCron(cron, zone, rule)
                assert forwards(zoned, settled, before_end) == expected, (cron.text, rule, change)
                assert backwards(zoned, settled, before_end) == expected, (cron.text, rule, change)
                assert zoned.count(settled, before_end) == len(expected), (cron.text, rule, change)
                # Asked from inside the missing or repeated time: what came before the question counts, too.
                for moment in range(edge - 4200, edge + 12_000, 2400):
                    following = next((fire for fire in expected if fire > moment), None)
                    assert following is None or zoned.next(moment) == following, (cron.text, rule, moment)


@pytest.mark.parametrize(
    ("name", "text", "after", "fires"),
    [
        # Three hours forward: a correction. Nothing is made up for.
        (
            "Antarctica/Casey",
            "0 1 * * *",
            "2016-10-21T00:00",
            ["2016-10-21T01:00+08:00", "2016-10-23T01:00+11:00"],
        ),
        # Three hours back: still held back.
        (
            "Antarctica/Casey",
            "0 3 * * *",
            "2018-03-10T12:00",
            ["2018-03-11T03:00+11:00", "2018-03-12T03:00+08:00"],
        ),
        # 30 December was left out.
        (
            "Pacific/Apia",
            "0 9 * * *",
            "2011-12-29T00:00",
            ["2011-12-29T09:00-10:00", "2011-12-31T09:00+14:00"],
        ),
        # 02:00 exists on Lord Howe; 02:15 does not, and the clock then shows 02:30.
        (
            "Australia/Lord_Howe",
            "*/15 2 * * *",
            "2027-10-03T00:00",
            ["2027-10-03T02:30+11:00", "2027-10-03T02:45+11:00"],
        ),
        (
            "Australia/Lord_Howe",
            "15 2 * * *",
            "2027-10-03T00:00",
            ["2027-10-03T02:30+11:00", "2027-10-04T02:15+11:00"],
        ),
        (
            "Australia/Lord_Howe",
            "0 */3 * * *",
            "2027-04-03T23:30",
            ["2027-04-04T00:00+11:00", "2027-04-04T03:00+10:30"],
        ),
    ],
)
def test_rare_shifts(name, text, after, fires):
    zone = ZoneInfo(name)
    zoned = ZonedCron(parse_cron(text), zone)
    moment = int(datetime.fromisoformat(after).replace(tzinfo=zone).timestamp())
    found = []
    for _ in fires:
        moment = zoned.next(moment)
        found.append(datetime.fromtimestamp(moment, zone).isoformat(timespec="minutes"))
    assert found == fires


def first_of_sample(name: str) -> int:
    """Each zone's sample begins elsewhere, so that both directions and all years are met."""
    return sum(name.encode())


def forwards(zoned: ZonedCron, after: int, until: int) -> list[int]:
    found = []
    while (fire := zoned.next(after)) is not None and fire <= until:
        found.append(fire)
        after = fire
    return found


def backwards(zoned: ZonedCron, after: int, until: int) -> list[int]:
    found = []
    while (fire := zoned.last(after, until)) is not None:
        found.append(fire)
        until = fire - 1
    return found[::-1]
