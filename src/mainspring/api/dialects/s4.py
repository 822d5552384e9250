"""The jobs dialect: typed jobs that workers fetch and complete over four plain HTTP calls.

A job is a task: `type` is its kind, `status` its state. A failed job is tried again after its timeout, as
users of this dialect expect, and its worker need not renew anything: the lease lasts as long as the job may.
"""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mainspring.core.lifecycle import Outcome, Report
from mainspring.core.model import SECOND_US, NewTask, State, Task, decode_policy
from mainspring.errors import InvalidInput
from mainspring.wire import fields
from mainspring.wire.bounds import BOUNDS, Bounds
from mainspring.wire.leases import Token
from mainspring.wire.strict import Shape
from mainspring.wire.tasks import ACCEPTED, Duration, NewId, RetryIn, TaskIn, new_task

TYPES = ("http", "sleep", "file", "command", "echo")
LEASE_SPARE_US = 60 * SECOND_US
UNTIMED_LEASE_US = 3600 * SECOND_US


class JobIn(msgspec.Struct, forbid_unknown_fields=True):
    """A job to submit, such as `{"type": "sleep", "payload": {"duration": 5}, "priority": 7}`."""

    type: str | None = None
    payload: msgspec.Raw | UnsetType = UNSET
    priority: int | str | None = None
    timeout: Duration | None = None
    max_retries: int | None = None
    delay: Duration | None = None


class JobView(msgspec.Struct, omit_defaults=True):
    """A job. `token` is shown to the worker that fetched it, and to nobody else."""

    id: str
    type: str
    payload: msgspec.Raw
    priority: int
    status: str
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    worker_id: str | None
    attempts: int
    retries: int
    max_retries: int
    timeout: int | float | None
    result: msgspec.Raw
    error: msgspec.Raw
    token: int | UnsetType = UNSET


class CompletionIn(msgspec.Struct):
    """How a job ended. Without `error`, `success: false` or a failed `status` it succeeded. Members that
    are not known are ignored: workers of this dialect send what they like."""

    success: bool | None = None
    status: str | None = None
    result: msgspec.Raw | UnsetType = UNSET
    error: Any = None
    token: Token | None = None
    worker_id: str | None = None


JOB = Shape(JobIn, accepted=ACCEPTED)
_COMPLETION = Shape(CompletionIn)
_FAILED = ("failed", "failure", "error")
_NULL = msgspec.Raw(b"null")


def parse_job(body: bytes, new_id: NewId, default_timeout_s: float, bounds: Bounds = BOUNDS) -> NewTask:
    """Raises `InvalidInput` naming the field."""
    given = JOB.read(body)
    kind = given.type
    if kind is not None and kind.lower() in TYPES:
        kind = kind.lower()
    timeout = default_timeout_s if given.timeout is None else given.timeout
    retry_s = fields.duration_us(timeout, "timeout") / SECOND_US or default_timeout_s
    task = TaskIn(
        kind=kind,
        payload=given.payload,
        priority=given.priority,
        delay=given.delay,
        timeout=timeout,
        max_retries=given.max_retries,
        retry=RetryIn(strategy="fixed", delay=retry_s, max_delay=max(retry_s, 3600.0), jitter=0.0),
    )
    try:
        return new_task(task, new_id, bounds)
    except InvalidInput as error:
        # The field is called by the name that the caller used.
        raise type(error)(
            "type" if error.field == "kind" else error.field, error.problem, error.accepted
        ) from None


def render_job(task: Task, token: int | UnsetType = UNSET) -> JobView:
    started, finished = task.started_at_us, task.finished_at_us
    return JobView(
        task.id,
        task.lane.kind,
        msgspec.Raw(task.payload),
        task.lane.priority,
        task.state.label,
        fields.moment(task.created_at_us),
        None if started is None else fields.moment(started),
        None if finished is None else fields.moment(finished),
        task.worker,
        task.attempt,
        task.retries,
        decode_policy(task.policy).max_retries,
        None if task.timeout_us is None else fields.seconds(task.timeout_us),
        _NULL if task.result is None else msgspec.Raw(task.result),
        _NULL if task.error is None else msgspec.Raw(task.error),
        token,
    )


def render_new_job(task: NewTask, state: State, created_at_us: int) -> JobView:
    """A job that was just accepted."""
    return render_job(
        Task(
            task.id,
            task.lane,
            state,
            task.payload,
            created_at_us,
            0,
            policy=task.policy,
            timeout_us=task.timeout_us,
        )
    )


def parse_types(text: str | None) -> tuple[str, ...]:
    """Which types a worker fetches: those of the dialect, unless it says. Raises `InvalidInput`."""
    if text is None:
        return TYPES
    return tuple(fields.name(kind.strip(), "type") for kind in text.split(","))


def lease_us(timeout_us: int | None) -> int:
    """How long a fetched job is its worker's: the scheduler watches its timeout, so a little longer."""
    return UNTIMED_LEASE_US if timeout_us is None else timeout_us + LEASE_SPARE_US


def parse_completion(body: bytes) -> CompletionIn:
    """Raises `InvalidInput`. No body at all is a plain success."""
    return _COMPLETION.read(body) if body else CompletionIn()


def report(completion: CompletionIn, task: str, token: int) -> Report:
    """The worker's word as the scheduler takes it."""
    failed = (
        completion.error not in (None, "", False)
        or completion.success is False
        or (completion.status or "").lower() in _FAILED
    )
    if not failed:
        result = None if completion.result is UNSET else bytes(completion.result)
        return Report(task, token, Outcome.SUCCEEDED, result=result)
    error = completion.error
    if not isinstance(error, dict):
        error = {"message": str(error or "the worker reported a failure")}
    members = {"type": "JobFailed", "message": "the worker reported a failure", **error}
    return Report(
        task,
        token,
        Outcome.FAILED,
        error=msgspec.json.encode(members),
        error_type=str(members["type"])[:200],
    )
