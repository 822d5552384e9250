"""Dead letters: filters with a group, replays at a rate, groups as shown."""

import re
from datetime import datetime

import msgspec

from mainspring.core.durations import parse_duration_s
from mainspring.core.fingerprint import failing
from mainspring.core.model import SECOND_US, State
from mainspring.errors import InvalidInput
from mainspring.ports import DeadGroup, Query
from mainspring.wire import fields
from mainspring.wire.queries import FilterIn, filter_query
from mainspring.wire.strict import Shape

RATE_ACCEPTED = "so many per unit or duration, such as 10/s, 100/m, 5/30s; at most 1000000/s, at least 1/d"
MESSAGE_CHARS = 300
DAY_US = 86_400 * SECOND_US
_RATE = re.compile(r"(\d{1,9})/(.{1,20})", re.ASCII)
_DEAD = frozenset({State.FAILED})


class DeadFilterIn(FilterIn):
    """Which dead letters a bulk action is for. `fingerprint` names a group. An empty filter is refused
    unless `all` is true."""

    fingerprint: str | None = None


class ReplayIn(DeadFilterIn):
    """With a `rate` the first one runs at once, and the others are scheduled behind each other."""

    rate: str | None = None


class DeadGroupView(msgspec.Struct):
    """Dead letters that failed alike. `message` and `sample` are of the one that failed last."""

    fingerprint: str
    kind: str
    error_type: str
    place: str
    count: int
    first_seen: datetime
    last_seen: datetime
    message: str
    sample: str


class DeadGroupsView(msgspec.Struct):
    """The largest group first. `next_page_token` is `null` after the last page."""

    groups: list[DeadGroupView]
    next_page_token: str | None


FILTER = Shape(DeadFilterIn)
REPLAY = Shape(ReplayIn)


def read_filter(body: bytes) -> Query:
    return dead_query(FILTER.read(body) if body else DeadFilterIn())


def read_replay(body: bytes) -> tuple[Query, float]:
    """Which dead letters to replay, and the time between two of them."""
    given = REPLAY.read(body) if body else ReplayIn()
    return dead_query(given), 0.0 if given.rate is None else interval_us(given.rate)


def dead_query(given: DeadFilterIn) -> Query:
    """Raises `InvalidInput`, for a filter that matches what is not dead too."""
    mark = None if given.fingerprint is None else fields.fingerprint(given.fingerprint, "fingerprint")
    given.all = given.all or mark is not None
    query = filter_query(given)
    if query.states - _DEAD:
        raise InvalidInput("state", "not dead letters", "failed, or none")
    query.states, query.fingerprint = _DEAD, mark
    return query


def interval_us(text: str, field: str = "rate") -> float:
    """The time between two starts at this rate."""
    parts = _RATE.fullmatch(text.strip())
    if parts is None:
        raise InvalidInput(field, f"not a rate: {text[:40]!r}", RATE_ACCEPTED)
    count, per = int(parts[1]), parts[2].strip()
    try:
        per_s = parse_duration_s(per if per[:1].isdigit() else f"1{per}", field)
    except InvalidInput as error:
        raise InvalidInput(field, error.problem, RATE_ACCEPTED) from None
    if not count or not 1.0 <= per_s * SECOND_US / count <= DAY_US:
        raise InvalidInput(field, f"out of range: {text[:40]!r}", RATE_ACCEPTED)
    return per_s * SECOND_US / count


def group_view(group: DeadGroup) -> DeadGroupView:
    told = failing(group.error)
    return DeadGroupView(
        f"{group.fingerprint:016x}",
        group.kind,
        told.type,
        told.place,
        group.count,
        fields.moment(group.first_us),
        fields.moment(group.last_us),
        told.message[:MESSAGE_CHARS],
        group.sample,
    )
