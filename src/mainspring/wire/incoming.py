"""What a client reads: records, as the server shows them. The inverse of `views`.

What a server keeps to itself (tokens, places in line) is not there and stays at its default.
"""

from datetime import UTC, datetime, timedelta

import msgspec

from mainspring.core.model import (
    NO_ERROR,
    Attempt,
    Lane,
    OnParentFailure,
    Policy,
    RetryPolicy,
    State,
    Task,
    encode_policy,
)
from mainspring.ports import ScheduleRecord
from mainspring.wire.schedule_views import WRITABLE, ScheduleView
from mainspring.wire.schedules import SCHEDULE, new_schedule
from mainspring.wire.views import AttemptView, RetryView, TaskView

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NULL, _NO_LABELS = b"null", b"{}"
_STATES = {state.label: state for state in State}
_retry = msgspec.json.Decoder(RetryView)
_encode = msgspec.json.Encoder().encode


class StoredView(msgspec.Struct):
    """The answer to a submitted batch, as much as a client needs of it."""

    tasks: list["IdView"]


class IdView(msgspec.Struct):
    id: str


schedule_decoder = msgspec.json.Decoder(ScheduleView)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
task_decoder = msgspec.json.Decoder(TaskView)
stored_decoder = msgspec.json.Decoder(StoredView)
id_decoder = msgspec.json.Decoder(IdView)


def read_task(body: bytes) -> Task:
    """Raises `msgspec.MsgspecError` or `KeyError` for what is not a task."""
    view = task_decoder.decode(body)
    return Task(
        view.id,
        Lane(view.queue, view.kind, view.tenant, view.priority, view.key or ""),
        _STATES[view.state],
        bytes(view.payload),
        _us(view.created_at),
        view.version,
        _us(view.run_at),
        _policy(view),
        None if view.timeout is None else round(view.timeout * 1e6),
        _maybe_us(view.deadline),
        _bytes(view.labels, _NO_LABELS),
        view.name,
        attempt=view.attempt,
        retries=view.retries,
        losses=view.losses,
        snoozes=view.snoozes,
        worker=view.worker,
        lease_until_us=_maybe_us(view.lease_until),
        timeout_at_us=_maybe_us(view.timeout_at),
        started_at_us=_maybe_us(view.started_at),
        finished_at_us=_maybe_us(view.finished_at),
        cancel_requested_at_us=_maybe_us(view.cancel_requested_at),
        result=_bytes(view.result),
        error=_bytes(view.error),
        attempts=_attempts(view.attempts),
        checkpoint=_bytes(view.checkpoint),
        progress=_bytes(view.progress),
        depends_on=view.depends_on,
        workflow=view.workflow,
        schedule_id=view.schedule_id,
        fire_at_us=_maybe_us(view.fire_at),
    )


def read_schedule(body: bytes) -> ScheduleRecord:
    """Raises `msgspec.MsgspecError` or `InvalidInput` for what is not a schedule. Where it stands is the
    server's alone, but for the next fire."""
    view = schedule_decoder.decode(body)
    written = {name: value for name, value in _members.decode(body).items() if name in WRITABLE}
    new = new_schedule(SCHEDULE.read(_encode(written)))
    return ScheduleRecord(
        view.id,
        new.rules,
        new.template,
        view.version,
        next_us=_maybe_us(view.next_fire_at),
        last_fire_us=_maybe_us(view.last_fire_at),
        last_task=view.last_task,
        quarantine=view.quarantine,
        created_at_us=_maybe_us(view.created_at),
        updated_at_us=_maybe_us(view.updated_at),
    )


def _policy(view: TaskView) -> bytes | None:
    retry = _retry.decode(view.retry)
    return encode_policy(
        Policy(
            view.max_retries,
            RetryPolicy(
                retry.strategy,
                retry.delay,
                retry.factor,
                retry.max_delay,
                retry.jitter,
                tuple(retry.delays),
                tuple(retry.only),
                tuple(retry.never),
            ),
            view.max_losses,
            view.soft_timeout,
            OnParentFailure[view.on_parent_failure.upper()],
        )
    )


def _attempts(views: list[AttemptView]) -> bytes | None:
    runs = [
        Attempt(
            view.attempt,
            view.outcome,
            _maybe_us(view.started_at),
            _maybe_us(view.finished_at),
            view.worker,
            view.error if bytes(view.error) != _NULL else NO_ERROR,
        )
        for view in views
    ]
    return _encode(runs) if runs else None


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _maybe_us(moment: datetime | None) -> int | None:
    return None if moment is None else _us(moment)


def _bytes(text: msgspec.Raw, none: bytes = _NULL) -> bytes | None:
    written = bytes(text)  # a `Raw` equals nothing but another one
    return None if written == none else written
