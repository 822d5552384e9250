"""What records of fires must cover: all that has been decided, and nothing of what has not."""

import pytest

from mainspring.core.schedule_laws import Gap, ScheduleFacts, Span, gaps
from mainspring.core.schedules import Schedule, Standing
from mainspring.core.timing import Timing

EVERY_TEN = Schedule(Timing(every_us=10_000_000))


def facts(cursor_s, *spans, since_s=0, is_cut=False):
    told = [Span(first * 1_000_000, last * 1_000_000) for first, last in spans]
    standing = Standing(EVERY_TEN, cursor_s * 1_000_000)
    return ScheduleFacts(standing, None, since_s * 1_000_000, told, is_cut)


@pytest.mark.parametrize(
    "spans",
    [
        [(10, 10), (20, 30), (40, 40)],
        [(40, 40), (10, 30)],
        [(10, 20), (25, 25), (30, 40)],
    ],
)
def test_all_is_covered(spans):
    assert gaps(facts(40, *spans)) == []


def test_a_hole_is_found():
    assert gaps(facts(40, (10, 10), (30, 40))) == [Gap(10_000_000, 30_000_000)]
    assert gaps(facts(45, (10, 30))) == [Gap(30_000_000, 45_000_001)]


def test_what_is_not_decided_yet_needs_no_record():
    """A task made by hand is on record at once, before the fires up to it have been decided."""
    assert gaps(facts(10, (10, 10), (35, 35))) == []
    assert gaps(facts(20, (10, 10), (35, 35))) == [Gap(10_000_000, 20_000_001)]


def test_older_records_may_be_gone():
    assert gaps(facts(40, (30, 40), is_cut=True)) == []
    assert gaps(facts(40, (30, 40), since_s=20)) == []
