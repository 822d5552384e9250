"""What everybody reads of schedules: the record, what became of its fires, and the fires to come."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from mainspring.core.schedules import Schedule, jitter_us
from mainspring.core.templates import Template
from mainspring.ports import FirePage, FireRecord, ScheduleRecord
from mainspring.wire.fields import moment, seconds
from mainspring.wire.views import Number, encode, policy_views

__all__ = ["encode"]
_NO_LABELS = msgspec.Raw(b"{}")


class TemplateView(msgspec.Struct):
    """The task that each fire makes, as it may be submitted. Durations are seconds. A payload that SQL wrote
    and that is no JSON is shown as a text; the schedule is in quarantine for it."""

    kind: str
    payload: msgspec.Raw
    queue: str
    priority: int
    tenant: str
    key: str | None
    name: str | None
    max_retries: int
    retry: msgspec.Raw
    max_losses: int
    timeout: Number | None
    soft_timeout: Number | None
    labels: msgspec.Raw


class ScheduleView(msgspec.Struct):
    """A schedule. The fields up to `task` may be sent back as they are; the rest is what has become of it.

    `next_fire_at` is the next fire, also if it is to be skipped; `null` if there is none: paused, over or in
    quarantine. `skip_until`: fires up to this time become no task. `quarantine` says why the schedule
    cannot be obeyed.
    """

    id: str
    cron: str | None
    every: Number | None
    at: datetime | None
    anchor: datetime | None
    zone: str
    dst: str
    start: datetime | None
    end: datetime | None
    misfire: str
    misfire_grace: Number
    overlap: str
    jitter: Number
    paused: bool
    task: TemplateView
    next_fire_at: datetime | None
    skip_until: datetime | None
    last_fire_at: datetime | None
    last_task: str | None
    quarantine: str | None
    created_at: datetime | None
    updated_at: datetime | None
    version: int


WRITABLE = ScheduleView.__struct_fields__[: ScheduleView.__struct_fields__.index("task") + 1]
"""What of a schedule its owner writes; the rest has become of it."""


class SchedulesView(msgspec.Struct):
    """By id. `next_page_token` is `null` after the last page."""

    schedules: list[ScheduleView]
    next_page_token: str | None


class FireView(msgspec.Struct):
    """What became of a fire: `task`; or of `count` fires in a row, up to `last_fire_at`, that were skipped
    for `reason`."""

    fire_at: datetime
    last_fire_at: datetime
    count: int
    task: str | None
    reason: str | None
    decided_at: datetime


class FiresView(msgspec.Struct):
    """The newest decision first. `next_page_token` is `null` after the last page."""

    fires: list[FireView]
    next_page_token: str | None


class ComingView(msgspec.Struct):
    """A fire to come: its nominal time, and, `jitter` later, when its task may run."""

    fire_at: datetime
    run_at: datetime


class NextView(msgspec.Struct):
    next: list[ComingView]


def schedule_view(record: ScheduleRecord) -> ScheduleView:
    rules, timing, standing = record.rules, record.rules.timing, record.standing
    skip_us = 0 if standing is None else standing.skip_through_us
    return ScheduleView(
        record.id,
        timing.cron,
        None if timing.every_us is None else seconds(timing.every_us),
        _moment(timing.at_us),
        _moment(timing.anchor_us),
        timing.zone,
        timing.dst,
        _moment(timing.start_us),
        _moment(timing.end_us),
        misfire_text(rules),
        seconds(rules.misfire_grace_us),
        rules.overlap,
        seconds(rules.jitter_us),
        rules.paused,
        template_view(record.template),
        _moment(record.next_us),
        moment(skip_us) if record.next_us is not None and skip_us >= record.next_us else None,
        _moment(record.last_fire_us),
        record.last_task,
        record.quarantine,
        _moment(record.created_at_us),
        _moment(record.updated_at_us),
        record.version,
    )


def template_view(template: Template) -> TemplateView:
    max_retries, retry, max_losses, soft_timeout, _ = policy_views(template.policy)
    lane = template.lane
    return TemplateView(
        lane.kind,
        _payload(template.payload),
        lane.queue,
        lane.priority,
        lane.tenant,
        lane.key or None,
        template.name,
        max_retries,
        retry,
        max_losses,
        None if template.timeout_us is None else seconds(template.timeout_us),
        soft_timeout,
        msgspec.Raw(template.labels) if template.labels else _NO_LABELS,
    )


def _payload(written: bytes) -> msgspec.Raw:
    """Plain SQL writes what it likes. What is no JSON is shown as a text: one such row, put into the answer
    as it is, would make a whole list unreadable."""
    try:
        return msgspec.json.decode(written, type=msgspec.Raw)
    except msgspec.DecodeError:
        return msgspec.Raw(msgspec.json.encode(written.decode()))


def misfire_text(rules: Schedule) -> str:
    return f"fire_all({rules.misfire_limit})" if rules.misfire == "fire_all" else rules.misfire


def fires_view(page: FirePage, token: str | None) -> FiresView:
    return FiresView([_fire_view(fire) for fire in page.fires], token)


def _fire_view(fire: FireRecord) -> FireView:
    first_at, last_at = moment(fire.first_us), moment(fire.last_us)
    return FireView(first_at, last_at, fire.count, fire.task, fire.reason, moment(fire.decided_at_us))


def next_view(record: ScheduleRecord, fires: Sequence[int]) -> NextView:
    rules, id = record.rules, record.id
    return NextView([ComingView(moment(fire), moment(fire + jitter_us(rules, id, fire))) for fire in fires])


def _moment(instant_us: int | None) -> datetime | None:
    return None if instant_us is None else moment(instant_us)
