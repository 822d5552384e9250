"""Schedules as rows that people write by plain SQL: text and numbers with units, one column a rule.

    INSERT INTO schedules (id, cron, kind, payload) VALUES ('hello', '*/5 * * * *', 'command', '{...}')

Nothing stands between such a row and the firer, so reading one never fails: what cannot be understood is
left out, and the reason is told beside it.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from mainspring.core.model import (
    PRIORITY_DEFAULT,
    PRIORITY_HIGHEST,
    PRIORITY_LOWEST,
    SECOND_US,
    Lane,
    read_policy,
)
from mainspring.core.schedules import Schedule, parse_misfire
from mainspring.core.templates import Template
from mainspring.core.timing import Timing
from mainspring.errors import InvalidInput

TIME_ACCEPTED = "a time such as 2031-05-01T12:00:00Z; without an offset it is UTC"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST_S = 1e11

T = TypeVar("T")


class Row(msgspec.Struct, frozen=True, array_like=True):
    """The columns that people write, in the order of the table, with its defaults."""

    cron: str | None = None
    every_s: float | None = None
    at: str | None = None
    anchor_at: str | None = None
    zone: str = "UTC"
    dst: str = "debian"
    start_at: str | None = None
    end_at: str | None = None
    misfire: str = "fire_once"
    misfire_limit: int = 100
    misfire_grace_s: float = 30.0
    overlap: str = "allow"
    jitter_s: float = 0.0
    paused: int = 0
    kind: str = "echo"
    payload: str = "null"
    queue: str = "default"
    tenant: str = "default"
    priority: int = PRIORITY_DEFAULT
    key: str = ""
    name: str | None = None
    timeout_s: float | None = None
    labels: str | None = None
    policy: str | None = None


COLUMNS = Row.__struct_fields__


def write_row(rules: Schedule, template: Template) -> Row:
    """The row that `read_row` understands as these."""
    timing, lane = rules.timing, template.lane
    return Row(
        cron=timing.cron,
        every_s=_seconds(timing.every_us),
        at=_time(timing.at_us),
        anchor_at=_time(timing.anchor_us),
        zone=timing.zone,
        dst=timing.dst,
        start_at=_time(timing.start_us),
        end_at=_time(timing.end_us),
        misfire=rules.misfire,
        misfire_limit=rules.misfire_limit,
        misfire_grace_s=rules.misfire_grace_us / SECOND_US,
        overlap=rules.overlap,
        jitter_s=rules.jitter_us / SECOND_US,
        paused=int(rules.paused),
        kind=lane.kind,
        payload=template.payload.decode(),
        queue=lane.queue,
        tenant=lane.tenant,
        priority=lane.priority,
        key=lane.key,
        name=template.name,
        timeout_s=_seconds(template.timeout_us),
        labels=_text(template.labels),
        policy=_text(template.policy),
    )


def read_row(row: Row) -> tuple[Schedule, Template, InvalidInput | None]:
    """What the row says, and what is wrong with the first value that means nothing. Whether the rest can be
    obeyed is for `check_schedule` to say."""
    reading = _Reading()
    timing = Timing(
        cron=row.cron,
        every_us=reading.take("every", _duration_us, row.every_s),
        at_us=reading.take("at", _time_us, row.at),
        anchor_us=reading.take("anchor", _time_us, row.anchor_at),
        zone=row.zone,
        dst=row.dst,
        start_us=reading.take("start", _time_us, row.start_at),
        end_us=reading.take("end", _time_us, row.end_at),
    )
    misfire, limit = reading.take("misfire", _misfire, row) or (row.misfire, row.misfire_limit)
    default = Schedule(timing)
    grace_us = reading.take("misfire_grace", _duration_us, row.misfire_grace_s)
    rules = Schedule(
        timing,
        misfire,
        limit,
        default.misfire_grace_us if grace_us is None else grace_us,
        row.overlap,
        reading.take("jitter", _duration_us, row.jitter_s) or 0,
        bool(row.paused),
    )
    template = Template(
        Lane(
            row.queue,
            row.kind,
            row.tenant,
            reading.take("priority", _priority, row.priority) or PRIORITY_DEFAULT,
            row.key,
        ),
        row.payload.encode(),
        reading.take("policy", _policy, row.policy),
        reading.take("timeout", _duration_us, row.timeout_s),
        reading.take("labels", _labels, row.labels),
        row.name,
    )
    return rules, template, reading.problem


class _Reading:
    """Reads value after value; keeps the first complaint."""

    def __init__(self) -> None:
        self.problem: InvalidInput | None = None

    def take(self, field: str, read: Callable[[Any, str], T], value: Any) -> T | None:
        if value is None:
            return None
        try:
            return read(value, field)
        except InvalidInput as problem:
            self.problem = self.problem or problem
            return None


def _seconds(duration_us: int | None) -> float | None:
    return None if duration_us is None else duration_us / SECOND_US


def _text(json: bytes | None) -> str | None:
    return None if json is None else json.decode()


def _time(instant_us: int | None) -> str | None:
    if instant_us is None:
        return None
    return (_EPOCH + timedelta(microseconds=instant_us)).isoformat().replace("+00:00", "Z")


def _time_us(text: str, field: str) -> int:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInput(field, f"not a time: {text[:40]!r}", TIME_ACCEPTED) from None
    if moment.tzinfo is None:
        # What SQLite's own datetime() writes.
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def _duration_us(seconds: float, field: str) -> int:
    if not 0.0 <= seconds <= _LONGEST_S:
        raise InvalidInput(field, f"out of range: {seconds:g} s", "seconds, from 0 on")
    return round(seconds * SECOND_US)


def _misfire(row: Row, _: str) -> tuple[str, int]:
    """`fire_all(10)` says its limit itself."""
    policy, limit = parse_misfire(row.misfire)
    return policy, limit if "(" in row.misfire else row.misfire_limit


def _priority(value: int, field: str) -> int:
    if not PRIORITY_LOWEST <= value <= PRIORITY_HIGHEST:
        raise InvalidInput(field, f"out of range: {value}", f"{PRIORITY_LOWEST} to {PRIORITY_HIGHEST}")
    return value


def _policy(text: str, field: str) -> bytes:
    try:
        read_policy(text.encode())
    except msgspec.MsgspecError as error:
        raise InvalidInput(field, str(error), 'JSON such as {"max_retries": 1}') from None
    return text.encode()


def _labels(text: str, field: str) -> bytes:
    try:
        msgspec.json.decode(text, type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise InvalidInput(field, str(error), 'JSON such as {"team": "ops"}') from None
    return text.encode()
