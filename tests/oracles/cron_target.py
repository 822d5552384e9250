"""The cron rules behind the one call that replays of published tables use."""

import math
from datetime import UTC, datetime

from mainspring.core.cron import parse_cron
from mainspring.core.zoned import HORIZON_S, ZonedCron


def fires(expression: str, tz: str | None, start: datetime, n: int) -> list[datetime]:
    """Up to `n` fires strictly after `start`, in its zone; a start without a zone knows no DST."""
    zone = start.tzinfo or UTC
    zoned = ZonedCron(parse_cron(expression), zone)
    moment = math.floor(start.replace(tzinfo=zone).timestamp())
    found: list[datetime] = []
    while len(found) < n:
        following = zoned.next(moment)
        if following is None:
            break
        moment = following
        fire = datetime.fromtimestamp(moment, zone)
        found.append(fire if start.tzinfo else fire.replace(tzinfo=None))
    return found


def fires_before(expression: str, tz: str | None, start: datetime, n: int) -> list[datetime]:
    """Up to `n` fires strictly before `start`, the latest first."""
    zone = start.tzinfo or UTC
    zoned = ZonedCron(parse_cron(expression), zone)
    moment = math.ceil(start.replace(tzinfo=zone).timestamp()) - 1
    found: list[datetime] = []
    while len(found) < n:
        earlier = zoned.last(moment - HORIZON_S, moment)
        if earlier is None:
            break
        moment = earlier - 1
        fire = datetime.fromtimestamp(earlier, zone)
        found.append(fire if start.tzinfo else fire.replace(tzinfo=None))
    return found
