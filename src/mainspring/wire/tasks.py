"""A submitted task: from what a user wrote to the `NewTask` that stores understand."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mainspring.core import durations
from mainspring.core.model import (
    DEFAULT_POLICY,
    SECOND_US,
    Lane,
    NewTask,
    OnParentFailure,
    Policy,
    RetryPolicy,
    State,
    UniqueRule,
    encode_policy,
)
from mainspring.core.retry import STRATEGIES
from mainspring.errors import InvalidInput
from mainspring.wire import fields
from mainspring.wire.bounds import (
    BOUNDS,
    DEFAULT_KIND,
    DEFAULT_PAYLOAD,
    DEFAULT_QUEUE,
    DEFAULT_TENANT,
    Bounds,
)
from mainspring.wire.strict import Shape, check_size

Duration = int | float | str
NewId = Callable[[], str]

UNFINISHED = frozenset({State.BLOCKED, State.SCHEDULED, State.READY, State.RUNNING})
UNIQUE_ACCEPTED = "queue, key, name, payload, payload.MEMBER"
# The fourth, `only`, is for a workflow's `on_failure`: what it spares would look cancelled in a graph.
PARENT_FAILURE = {rule.name.lower(): rule for rule in OnParentFailure if rule is not OnParentFailure.ONLY}
PARENT_FAILURE_ACCEPTED = "cancel, run, block"


class RetryIn(msgspec.Struct, forbid_unknown_fields=True):
    """How a failed attempt is retried. Durations are seconds or text such as `1h30m`."""

    strategy: str | None = None
    delay: Duration | None = None
    factor: float | None = None
    max_delay: Duration | None = None
    jitter: float | None = None
    delays: list[Duration] | None = None
    only: list[str] | None = None
    never: list[str] | None = None


class UniqueIn(msgspec.Struct, forbid_unknown_fields=True):
    """At most one task that is equal in `fields`, among `states`, within `period`."""

    fields: list[str] | None = None
    states: list[str] | None = None
    period: Duration | None = None


class TaskIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A task to submit. Every field is optional; `null` is the same as absent."""

    kind: str | None = None
    type: str | None = None
    command: str | list[str] | None = None
    payload: msgspec.Raw | UnsetType = UNSET
    queue: str | None = None
    priority: int | str | None = None
    tenant: str | None = None
    key: str | None = None
    name: str | None = None
    run_at: str | None = None
    delay: Duration | None = None
    max_retries: int | None = None
    retry: RetryIn | None = None
    max_losses: int | None = None
    timeout: Duration | None = None
    soft_timeout: Duration | None = None
    deadline: str | None = None
    depends_on: list[str] | None = None
    on_parent_failure: str | None = None
    labels: dict[str, str] | None = None
    unique: bool | UniqueIn | None = None
    ref: str | None = None
    id: str | None = None


ACCEPTED = {
    "kind": fields.NAME_ACCEPTED,
    "queue": fields.NAME_ACCEPTED,
    "tenant": fields.KEY_ACCEPTED,
    "key": fields.KEY_ACCEPTED,
    "priority": fields.PRIORITY_ACCEPTED,
    "run_at": fields.TIME_ACCEPTED,
    "deadline": fields.TIME_ACCEPTED,
    "delay": durations.ACCEPTED,
    "timeout": durations.ACCEPTED,
    "soft_timeout": durations.ACCEPTED,
    "labels": fields.LABELS_ACCEPTED,
    "on_parent_failure": PARENT_FAILURE_ACCEPTED,
}
TASK = Shape(TaskIn, accepted=ACCEPTED)


def new_task(given: TaskIn, new_id: NewId, bounds: Bounds = BOUNDS) -> NewTask:
    """Everything about one task is checked here. Raises `InvalidInput` naming the field.

    `depends_on` is checked for its form only: whether the parents exist is for the store to say.
    """
    payload = DEFAULT_PAYLOAD if given.payload is UNSET else bytes(given.payload)
    if len(payload) > bounds.payload_bytes:
        check_size(payload, bounds.payload_bytes, "payload")
    kind, payload = _kind(given, payload)
    delay_us, run_at_us = _due(given)
    task = NewTask(
        _id(given, new_id),
        Lane(
            fields.name(given.queue, "queue") if given.queue is not None else DEFAULT_QUEUE,
            kind,
            fields.key(given.tenant, "tenant") if given.tenant is not None else DEFAULT_TENANT,
            fields.priority(given.priority),
            fields.key(given.key, "key") if given.key is not None else "",
        ),
        payload,
        delay_us,
        run_at_us,
    )
    _add_rules(task, given, bounds)
    if given.depends_on:
        task.depends_on = _parents(given.depends_on, given.id if given.ref is None else None, bounds)
    if given.labels:
        task.labels = msgspec.json.encode(fields.labels(given.labels, bounds.labels))
    if given.name is not None:
        task.name = fields.title(given.name, "name")
    if given.unique:
        task.unique = unique_rule(given.unique, task)
    return task


def another(model: NewTask, new_id: NewId, payload: bytes) -> NewTask:
    """A task of the same kind and with the same rules as one that was checked; its payload was checked, too.
    The model has no unique rule: that may be about the payload."""
    return NewTask(
        new_id(), model.lane, payload, model.delay_us, model.run_at_us, model.policy, model.timeout_us,
        model.deadline_us, model.depends_on, model.labels, None, model.name,
    )  # fmt: skip


def _id(given: TaskIn, new_id: NewId) -> str:
    if given.id is None:
        return new_id()
    if not fields.is_uuid7(given.id):
        raise InvalidInput("id", f"not a UUIDv7: {given.id[:40]!r}", "a UUIDv7 in lower case, or none")
    return given.id


class _Peek(msgspec.Struct):
    command: Any = None
    type: Any = None
    handler: Any = None


_peek = msgspec.json.Decoder(_Peek)


def _kind(given: TaskIn, payload: bytes) -> tuple[str, bytes]:
    """The kind, said or understood from the payload, as submitters without kinds expect."""
    kind = given.kind
    if given.type is not None:
        if kind is not None and kind != given.type:
            raise InvalidInput("type", "differs from kind", "one of kind and type")
        kind = given.type
    if given.command is not None:
        if kind not in (None, "command") or given.payload is not UNSET:
            raise InvalidInput("command", "given beside another kind or payload", "command alone")
        return "command", command_payload(given.command)
    if kind is not None:
        return fields.name(kind, "kind"), payload
    if payload[:1] == b"{":
        peek = _peek.decode(payload)
        if peek.command is not None:
            return "command", payload
        handler = peek.type if peek.type is not None else peek.handler
        if isinstance(handler, str):
            return fields.name(
                handler, "payload.type" if peek.type is not None else "payload.handler"
            ), payload
    return DEFAULT_KIND, payload


def command_payload(command: str | list[str]) -> bytes:
    return msgspec.json.encode({"command": command})


def _due(given: TaskIn) -> tuple[int, int | None]:
    if given.run_at is None:
        return (0 if given.delay is None else fields.duration_us(given.delay, "delay")), None
    if given.delay is not None:
        raise InvalidInput("delay", "given beside run_at", "one of run_at and delay")
    return 0, fields.time_us(given.run_at, "run_at")


def _parents(given: list[str], child: str | None, bounds: Bounds) -> tuple[str, ...]:
    if len(given) > bounds.parents:
        raise InvalidInput("depends_on", f"has {len(given)} tasks", f"at most {bounds.parents}")
    for place, parent in enumerate(given):
        if not fields.is_id(parent):
            raise InvalidInput(f"depends_on[{place}]", f"no such task: {parent[:40]!r}", fields.ID_ACCEPTED)
        if parent == child:
            raise InvalidInput(f"depends_on[{place}]", "is the task itself", "other tasks")
    return tuple(dict.fromkeys(given))


# --- rules ------------------------------------------------------------------------------------------


def _add_rules(task: NewTask, given: TaskIn, bounds: Bounds) -> None:
    if given.timeout is not None:
        task.timeout_us = fields.duration_us(given.timeout, "timeout") or None
    if given.deadline is not None:
        task.deadline_us = fields.time_us(given.deadline, "deadline")
    if (
        given.max_retries is None
        and given.retry is None
        and given.max_losses is None
        and given.soft_timeout is None
        and given.on_parent_failure is None
    ):
        return
    task.policy = encode_policy(_policy(given, task.timeout_us, bounds))


def _policy(given: TaskIn, timeout_us: int | None, bounds: Bounds) -> Policy:
    default = DEFAULT_POLICY
    return Policy(
        max_retries=max_retries(given.max_retries, bounds),
        retry=default.retry if given.retry is None else retry_policy(given.retry),
        max_losses=max_losses(given.max_losses, bounds),
        soft_timeout_s=soft_timeout_s(given.soft_timeout, timeout_us),
        on_parent_failure=_on_parent_failure(given.on_parent_failure),
    )


def max_retries(value: int | None, bounds: Bounds) -> int:
    if value is None:
        return DEFAULT_POLICY.max_retries
    return fields.whole(value, "max_retries", 0, bounds.max_retries)


def max_losses(value: int | None, bounds: Bounds) -> int:
    return (
        DEFAULT_POLICY.max_losses
        if value is None
        else fields.whole(value, "max_losses", 1, bounds.max_losses)
    )


def soft_timeout_s(value: Duration | None, timeout_us: int | None) -> float | None:
    """0 means none, as for `timeout`."""
    if value is None:
        return None
    soft_us = fields.duration_us(value, "soft_timeout")
    if timeout_us is not None and soft_us > timeout_us:
        raise InvalidInput("soft_timeout", "longer than timeout", "at most timeout")
    return soft_us / SECOND_US or None


def _on_parent_failure(value: str | None) -> OnParentFailure:
    if value is None:
        return DEFAULT_POLICY.on_parent_failure
    found = PARENT_FAILURE.get(value)
    if found is None:
        raise InvalidInput("on_parent_failure", f"not a rule: {value[:40]!r}", PARENT_FAILURE_ACCEPTED)
    return found


def retry_policy(given: RetryIn) -> RetryPolicy:
    """Raises `InvalidInput` naming the field below `retry`."""
    default = RetryPolicy()
    delays_s = tuple(
        fields.duration_us(delay, f"retry.delays[{place}]") / SECOND_US
        for place, delay in enumerate(given.delays or ())
    )
    strategy = given.strategy or ("list" if delays_s else default.strategy)
    if strategy not in STRATEGIES:
        raise InvalidInput("retry.strategy", f"not a strategy: {strategy[:40]!r}", ", ".join(STRATEGIES))
    if (strategy == "list") != bool(delays_s) or len(delays_s) > 100:
        raise InvalidInput("retry.delays", "1 to 100 delays belong to strategy list, and to no other")
    return RetryPolicy(
        strategy=strategy,
        delay_s=_retry_s(given.delay, "delay", default.delay_s),
        factor=default.factor if given.factor is None else fields.real(given.factor, "retry.factor", 1, 1000),
        max_delay_s=_retry_s(given.max_delay, "max_delay", default.max_delay_s),
        jitter=default.jitter if given.jitter is None else fields.real(given.jitter, "retry.jitter", 0, 1),
        delays_s=delays_s,
        only=_error_names(given.only, "retry.only"),
        never=_error_names(given.never, "retry.never"),
    )


def _retry_s(value: Duration | None, name: str, default_s: float) -> float:
    return default_s if value is None else fields.duration_us(value, f"retry.{name}") / SECOND_US


def _error_names(given: list[str] | None, field: str) -> tuple[str, ...]:
    if given and len(given) > 100:
        raise InvalidInput(field, f"has {len(given)} names", "at most 100")
    return tuple(fields.name(error, f"{field}[{place}]") for place, error in enumerate(given or ()))


# --- uniqueness -------------------------------------------------------------------------------------


def unique_rule(given: bool | UniqueIn, task: NewTask) -> UniqueRule:
    """`true` means: no second unfinished task of this kind, tenant, queue and payload.

    Kind and tenant always count. The order of a payload's keys never does.
    """
    rule = UniqueIn() if isinstance(given, bool) else given
    names = sorted(set(rule.fields)) if rule.fields else ["payload", "queue"]
    parts = [(name, _unique_part(name, task)) for name in names]
    text = json.dumps([task.lane.kind, task.lane.tenant, parts], sort_keys=True, separators=(",", ":"))
    among = UNFINISHED
    if rule.states:
        found = (fields.states(state, f"unique.states[{n}]") for n, state in enumerate(rule.states))
        among = frozenset[State]().union(*found)
    period_us = None if rule.period is None else fields.duration_us(rule.period, "unique.period")
    if period_us == 0:
        raise InvalidInput("unique.period", "is zero", "more than 0, or none")
    return UniqueRule(hashlib.sha256(text.encode()).digest(), among, period_us, tuple(names))


def _unique_part(name: str, task: NewTask) -> Any:
    if name == "queue":
        return task.lane.queue
    if name == "key":
        return task.lane.key
    if name == "name":
        return task.name
    head, *path = name.split(".")
    if head != "payload":
        raise InvalidInput("unique.fields", f"no such field: {name[:40]!r}", UNIQUE_ACCEPTED)
    value = json.loads(task.payload)
    for member in path:
        # An absent member differs from every value, null included.
        if not isinstance(value, dict) or member not in value:
            return {"absent": path}
        value = value[member]
    return [value]
