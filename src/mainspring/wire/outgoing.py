"""What a client sends: submits as JSON. The inverse of `tasks` and `batches`.

A task is sent with the id that its client has minted, so that a submit which got no answer may be sent again:
the server knows it by its ids. A submit under an idempotency key is known by the key alone, and its ids
would make two bodies that mean the same differ; so it names its tasks by their place instead.
"""

import hashlib
import json
from datetime import datetime

import msgspec

from mainspring.core.model import (
    PRIORITY_DEFAULT,
    SECOND_US,
    NewTask,
    RetryPolicy,
    UniqueRule,
    decode_policy,
)
from mainspring.ports import Group, NewSchedule, ScheduleRecord
from mainspring.wire.bounds import DEFAULT_QUEUE, DEFAULT_TENANT
from mainspring.wire.fields import moment, seconds
from mainspring.wire.schedule_views import WRITABLE, schedule_view

Number = int | float


class RetryOut(msgspec.Struct, omit_defaults=True):
    strategy: str
    jitter: float
    delay: Number | None = None
    factor: float | None = None
    max_delay: Number | None = None
    delays: tuple[float, ...] = ()
    only: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


class UniqueOut(msgspec.Struct, omit_defaults=True):
    fields: tuple[str, ...]
    states: list[str]
    period: Number | None = None


class TaskOut(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A `tasks.TaskIn`, with what differs from the defaults."""

    kind: str
    payload: msgspec.Raw
    queue: str = DEFAULT_QUEUE
    priority: int = PRIORITY_DEFAULT
    tenant: str = DEFAULT_TENANT
    key: str = ""
    name: str | None = None
    run_at: datetime | None = None
    delay: Number | None = None
    max_retries: int | None = None
    retry: RetryOut | None = None
    max_losses: int | None = None
    timeout: Number | None = None
    soft_timeout: float | None = None
    deadline: datetime | None = None
    depends_on: list[str] | None = None
    on_parent_failure: str | None = None
    labels: msgspec.Raw | None = None
    unique: UniqueOut | None = None
    ref: str | None = None
    id: str | None = None


class BatchOut(msgspec.Struct):
    tasks: list[TaskOut]


_encode = msgspec.json.Encoder().encode


def write_submit(group: Group) -> bytes:
    """The body for `POST /tasks` of a group of one, for `POST /tasks/batch` of a larger one."""
    keyed = group.idempotency is not None
    documents = [_document(task) for task in group.tasks]
    if keyed:
        _name_by_place(group, documents)
    else:
        for document, task in zip(documents, group.tasks, strict=True):
            document.id = task.id
    return _encode(documents[0] if len(documents) == 1 else BatchOut(documents))


def write_schedule(id: str, new: NewSchedule) -> bytes:
    """The body for `PUT /schedules/{id}`: what is shown of a schedule may be sent back."""
    shown = schedule_view(ScheduleRecord(id, new.rules, new.template, 0))
    return _encode({name: getattr(shown, name) for name in WRITABLE})


def digest(group: Group) -> bytes:
    """Equal for two submits under one key that mean the same."""
    documents = [_document(task) for task in group.tasks]
    _name_by_place(group, documents)
    meaning = json.dumps(json.loads(_encode(documents)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(meaning.encode()).digest()


def _name_by_place(group: Group, documents: list[TaskOut]) -> None:
    """Let siblings that depend on each other do so by names that are the same in every try."""
    refs = {task.id: f"task-{place}" for place, task in enumerate(group.tasks)}
    wanted: set[str] = set()
    for document in documents:
        if document.depends_on is not None:
            document.depends_on = [refs.get(parent, parent) for parent in document.depends_on]
            wanted.update(document.depends_on)
    for document, ref in zip(documents, refs.values(), strict=True):
        if ref in wanted:
            document.ref = ref


def _document(task: NewTask) -> TaskOut:
    lane = task.lane
    document = TaskOut(
        kind=lane.kind,
        payload=msgspec.Raw(task.payload),
        queue=lane.queue,
        priority=lane.priority,
        tenant=lane.tenant,
        key=lane.key,
        name=task.name,
    )
    if task.run_at_us is not None:
        document.run_at = moment(task.run_at_us)
    if task.delay_us:
        document.delay = seconds(task.delay_us)
    if task.timeout_us is not None:
        document.timeout = seconds(task.timeout_us)
    if task.deadline_us is not None:
        document.deadline = moment(task.deadline_us)
    if task.depends_on:
        document.depends_on = list(task.depends_on)
    if task.labels is not None:
        document.labels = msgspec.Raw(task.labels)
    if task.unique is not None:
        document.unique = _unique(task.unique)
    if task.policy is not None:
        _add_policy(document, task.policy)
    return document


def _add_policy(document: TaskOut, stored: bytes) -> None:
    policy = decode_policy(stored)
    document.max_retries = policy.max_retries
    document.max_losses = policy.max_losses
    document.soft_timeout = policy.soft_timeout_s
    document.on_parent_failure = policy.on_parent_failure.name.lower()
    document.retry = _retry(policy.retry)


def _retry(policy: RetryPolicy) -> RetryOut:
    return RetryOut(
        policy.strategy,
        policy.jitter,
        policy.delay_s,
        policy.factor,
        policy.max_delay_s,
        policy.delays_s,
        policy.only,
        policy.never,
    )


def _unique(rule: UniqueRule) -> UniqueOut:
    period = None if rule.period_us is None else rule.period_us / SECOND_US
    return UniqueOut(rule.fields, sorted(state.label for state in rule.states), period)
