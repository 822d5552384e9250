"""What everybody reads: a task as JSON. The lease token is never in it: it is the worker's alone."""

from datetime import datetime
from functools import lru_cache

import msgspec

from mainspring.core.model import Attempt, NewTask, State, Task, decode_policy
from mainspring.wire.fields import moment, seconds

Number = int | float
_NULL = msgspec.Raw(b"null")
_NO_LABELS = msgspec.Raw(b"{}")


class RetryView(msgspec.Struct):
    """How a failed attempt is retried; durations in seconds."""

    strategy: str
    delay: Number
    factor: float
    max_delay: Number
    jitter: float
    delays: list[Number]
    only: list[str]
    never: list[str]


class AttemptView(msgspec.Struct):
    """One run that did not end the task well."""

    attempt: int
    outcome: str
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    error: msgspec.Raw


class TaskView(msgspec.Struct):
    """The whole record. Times are RFC 3339 in UTC, durations seconds; `null` means none."""

    id: str
    kind: str
    state: str
    queue: str
    priority: int
    tenant: str
    key: str | None
    name: str | None
    payload: msgspec.Raw
    labels: msgspec.Raw
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    deadline: datetime | None
    timeout: Number | None
    soft_timeout: Number | None
    max_retries: int
    retry: msgspec.Raw
    max_losses: int
    depends_on: tuple[str, ...]
    on_parent_failure: str
    workflow: str | None
    attempt: int
    retries: int
    losses: int
    snoozes: int
    worker: str | None
    lease_until: datetime | None
    timeout_at: datetime | None
    progress: msgspec.Raw
    checkpoint: msgspec.Raw
    result: msgspec.Raw
    error: msgspec.Raw
    attempts: list[AttemptView]
    schedule_id: str | None
    fire_at: datetime | None
    version: int


class TasksView(msgspec.Struct):
    tasks: list[TaskView]


class PageView(msgspec.Struct):
    """Newest first. `next_page_token` is `null` after the last page; a page may be short, even empty."""

    tasks: list[TaskView]
    next_page_token: str | None


_encoder = msgspec.json.Encoder()
encode = _encoder.encode
_attempts = msgspec.json.Decoder(list[Attempt])


def task_view(task: Task) -> TaskView:
    max_retries, retry, max_losses, soft_timeout, on_parent_failure = policy_views(task.policy)
    lane = task.lane
    created_at = moment(task.created_at_us)
    return TaskView(
        task.id,
        lane.kind,
        task.state.label,
        lane.queue,
        lane.priority,
        lane.tenant,
        lane.key or None,
        task.name,
        msgspec.Raw(task.payload),
        msgspec.Raw(task.labels) if task.labels else _NO_LABELS,
        created_at,
        created_at if task.run_at_us is None else moment(task.run_at_us),
        _moment(task.started_at_us),
        _moment(task.finished_at_us),
        _moment(task.cancel_requested_at_us),
        _moment(task.deadline_us),
        None if task.timeout_us is None else seconds(task.timeout_us),
        soft_timeout,
        max_retries,
        retry,
        max_losses,
        task.depends_on,
        on_parent_failure,
        task.workflow,
        task.attempt,
        task.retries,
        task.losses,
        task.snoozes,
        task.worker,
        _moment(task.lease_until_us),
        _moment(task.timeout_at_us),
        _raw(task.progress),
        _raw(task.checkpoint),
        _raw(task.result),
        _raw(task.error),
        [_attempt(run) for run in _attempts.decode(task.attempts)] if task.attempts else [],
        task.schedule_id,
        _moment(task.fire_at_us),
        task.version,
    )


def new_task_view(task: NewTask, state: State, version: int, created_at_us: int) -> TaskView:
    """What a just accepted task looks like, without asking the store for it again."""
    run_at_us = task.run_at_us
    if task.delay_us:
        run_at_us = created_at_us + task.delay_us
    return task_view(
        Task(
            task.id,
            task.lane,
            state,
            task.payload,
            created_at_us,
            version,
            run_at_us,
            task.policy,
            task.timeout_us,
            task.deadline_us,
            task.labels,
            task.name,
            depends_on=task.depends_on,
        )
    )


def _moment(instant_us: int | None) -> datetime | None:
    return None if instant_us is None else moment(instant_us)


def _raw(text: bytes | None) -> msgspec.Raw:
    return _NULL if text is None else msgspec.Raw(text)


def _attempt(run: Attempt) -> AttemptView:
    started_at, finished_at = _moment(run.started_at_us), _moment(run.finished_at_us)
    return AttemptView(run.attempt, run.outcome, started_at, finished_at, run.worker, run.error)


@lru_cache(1024)
def policy_views(stored: bytes | None) -> tuple[int, msgspec.Raw, int, Number | None, str]:
    """The policy as shown; a workload has few different ones."""
    policy = decode_policy(stored)
    retry = policy.retry
    shown = RetryView(
        retry.strategy,
        _short(retry.delay_s),
        retry.factor,
        _short(retry.max_delay_s),
        retry.jitter,
        [_short(delay_s) for delay_s in retry.delays_s],
        list(retry.only),
        list(retry.never),
    )
    soft_s = policy.soft_timeout_s
    return (
        policy.max_retries,
        msgspec.Raw(encode(shown)),
        policy.max_losses,
        None if soft_s is None else _short(soft_s),
        policy.on_parent_failure.name.lower(),
    )


def _short(value_s: float) -> Number:
    return int(value_s) if value_s.is_integer() else value_s
