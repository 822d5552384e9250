"""The second opinion on schedules agrees with the rules that it judges, and both are written apart."""

import random

import pytest

from mainspring.core.model import SECOND_US
from mainspring.core.schedules import MISFIRES, OVERLAPS, Schedule, Standing, decide, overlap
from mainspring.core.timing import Timing, next_fires
from mainspring.testing.checks.calendar import become, fires, following, overlapping
from mainspring.testing.planned import CRONS, ZONES

START_US = 1_700_000_000 * SECOND_US
TIMINGS = [
    *(Timing(cron=cron, zone=zone) for cron in CRONS for zone in ZONES),
    Timing(cron="5 */2 * * * *", start_us=START_US + 7, end_us=START_US + 400 * SECOND_US),
    Timing(every_us=1_500_000),
    Timing(every_us=SECOND_US, anchor_us=START_US - 3),
    Timing(every_us=3 * SECOND_US, start_us=START_US + 5, end_us=START_US + 50 * SECOND_US),
    Timing(at_us=START_US + 9),
]


@pytest.mark.parametrize("timing", TIMINGS, ids=lambda timing: timing.cron or str(timing.every_us))
def test_fire_times_are_counted_alike(timing):
    until_us = START_US + 130 * SECOND_US
    for after_us in (START_US - 1, START_US, START_US + 2_345_678):
        expected = [one for one in next_fires(timing, after_us, 200) if one <= until_us]
        assert fires(timing, after_us, until_us) == expected
        if expected:
            assert following(timing, after_us) == expected[0]


def test_decisions_are_made_alike():
    dice = random.Random(7)
    for _ in range(500):
        rules = Schedule(
            dice.choice(TIMINGS),
            dice.choice(MISFIRES),
            dice.randint(1, 4),
            dice.randint(0, 20 * SECOND_US),
            dice.choice(OVERLAPS),
            paused=dice.random() < 0.1,
        )
        cursor_us = START_US + dice.randint(0, 10 * SECOND_US)
        skip_us = cursor_us + dice.randint(0, 5 * SECOND_US) if dice.random() < 0.3 else 0
        now_us = cursor_us + dice.randint(0, 40 * SECOND_US)
        decision = decide(Standing(rules, cursor_us, skip_us), "s", now_us)
        unfinished = dice.choice(([], ["earlier"]))
        ids = [str(number) for number in range(len(decision.fires))]
        starts, stops = overlap(rules.overlap, decision.fires, ids, unfinished)
        survivors, skipped = become(rules, cursor_us, skip_us, now_us)
        made, stopped = overlapping(rules.overlap, survivors, bool(unfinished))
        assert [fire.fire_us for fire in decision.fires] == survivors
        assert [start.fire.fire_us for start in starts] == made
        assert _one_by_one(rules.timing, decision.skips) == skipped
        assert _one_by_one(rules.timing, stops) == stopped


def _one_by_one(timing, skips):
    found = {}
    for skip in skips:
        times = fires(timing, skip.first_us - 1, skip.last_us)
        assert len(times) == skip.count
        found |= dict.fromkeys(times, skip.reason)
    return found
