"""Every change of offset is found, to the second: the ground that the DST rules stand on."""

import os
from datetime import UTC, timedelta, timezone
from zoneinfo import ZoneInfo, available_timezones

import pytest

from mainspring.core.cron import parse_cron
from mainspring.core.timing import zone_of
from mainspring.core.zoned import ZonedCron, changes_between
from mainspring.errors import InvalidInput
from tests.oracles.tzif import written_changes

SAMPLE = 1 if os.environ.get("MAINSPRING_CRON_FULL") else 20
NAMES = sorted(name for name in available_timezones() if name not in ("Factory", "localtime"))


def test_changes_are_those_of_the_zone_files():
    """All zones since 1970 with `MAINSPRING_CRON_FULL=1`; 30,000 changes."""
    compared = 0
    for name in NAMES[::SAMPLE]:
        written = written_changes(name)
        if written:
            found = changes_between(ZoneInfo(name), written[0][0], written[-1][0] + 1)
            assert [tuple(change) for change in found] == written, name
            compared += len(written)
    assert compared > 1000


@pytest.mark.parametrize("margin", [0, 1])
@pytest.mark.parametrize(
    "name", ["Europe/Berlin", "Africa/Windhoek"]
)  # one of whose changes lies on a block's edge
def test_bounds_of_the_search(name, margin):
    """A change belongs to [low, high): found if it lies at `low`, not if it lies at `high`."""
    zone = ZoneInfo(name)
    for change in changes_between(zone, 0, 2_000_000_000):
        assert [*changes_between(zone, change.at - margin, change.at + 1)] == [change]
        assert [*changes_between(zone, change.at - margin, change.at)] == []


@pytest.mark.parametrize(
    ("zone", "first"),
    [(UTC, 24), (timezone(timedelta(hours=5)), 19), (ZoneInfo("Etc/GMT+5"), 5)],
)
def test_a_fixed_zone_never_changes(zone, first):
    assert list(changes_between(zone, 0, 4_000_000_000)) == []
    assert ZonedCron(parse_cron("@daily"), zone).next(0) == first * 3600


UNKNOWN = [
    "",
    "Europe",
    "Europe/",
    "/Europe/Berlin",
    "europe/berlin ",
    "Europe/Berlin\n",
    "Mars/Base",
    "A" * 65,
]
HOSTILE = ["../../etc/passwd", "UTC\0", "zone.tab", "Ü", "+01:00", "right/UTC", "posix/UTC", "localtime"]


@pytest.mark.parametrize("name", UNKNOWN + HOSTILE)
def test_no_zone(name):
    with pytest.raises(InvalidInput) as caught:
        zone_of(name)
    assert caught.value.field == "zone"


@pytest.mark.parametrize(
    "name", ["UTC", "Etc/GMT-14", "America/Argentina/Buenos_Aires", "US/Eastern", "EST5EDT"]
)
def test_zones(name):
    assert zone_of(name) == ZoneInfo(name)
