"""Changes to a waiting task (PATCH): a field that is absent stays, `null` sets it back to none."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mainspring.core.model import DEFAULT_POLICY
from mainspring.errors import InvalidInput
from mainspring.wire import fields
from mainspring.wire.bounds import BOUNDS, DEFAULT_PAYLOAD, DEFAULT_QUEUE, DEFAULT_TENANT, Bounds
from mainspring.wire.strict import Shape, check_size
from mainspring.wire.tasks import (
    ACCEPTED,
    Duration,
    RetryIn,
    max_losses,
    max_retries,
    retry_policy,
    soft_timeout_s,
)


class PatchIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The fields of a waiting task that may change."""

    priority: int | str | UnsetType | None = UNSET
    queue: str | UnsetType | None = UNSET
    tenant: str | UnsetType | None = UNSET
    key: str | UnsetType | None = UNSET
    payload: msgspec.Raw | UnsetType = UNSET
    run_at: str | UnsetType | None = UNSET
    delay: Duration | UnsetType = UNSET
    labels: dict[str, str] | UnsetType | None = UNSET
    max_retries: int | UnsetType | None = UNSET
    retry: RetryIn | UnsetType | None = UNSET
    max_losses: int | UnsetType | None = UNSET
    timeout: Duration | UnsetType | None = UNSET
    soft_timeout: Duration | UnsetType | None = UNSET
    deadline: str | UnsetType | None = UNSET


PATCH = Shape(PatchIn, accepted=ACCEPTED)


def changes(given: PatchIn, bounds: Bounds = BOUNDS) -> dict[str, Any]:
    """The changes, by the names of the record's fields (`timeout_us`, ...): what a `Patch` is made of.

    Raises `InvalidInput` naming the field.
    """
    if given.run_at is not UNSET and given.delay is not UNSET:
        raise InvalidInput("delay", "given beside run_at", "one of run_at and delay")
    found: dict[str, Any] = {}
    for name in given.__struct_fields__:
        value = getattr(given, name)
        if value is not UNSET:
            target, value = change(name, value, bounds)
            found[target] = value
    if not found:
        raise InvalidInput("body", "changes nothing", ", ".join(given.__struct_fields__))
    return found


def change(name: str, value: Any, bounds: Bounds) -> tuple[str, Any]:
    """One change: the record's field, and its new value. Raises `InvalidInput`."""
    match name:
        case "priority":
            return name, fields.priority(value)
        case "queue":
            return name, DEFAULT_QUEUE if value is None else fields.name(value, name)
        case "tenant":
            return name, DEFAULT_TENANT if value is None else fields.key(value, name)
        case "key":
            return name, "" if value is None else fields.key(value, name)
        case "payload":
            payload = bytes(value) or DEFAULT_PAYLOAD
            check_size(payload, bounds.payload_bytes, name)
            return name, payload
        case "labels":
            return name, msgspec.json.encode(fields.labels(value, bounds.labels)) if value else None
        case "run_at" | "deadline":
            return f"{name}_us", None if value is None else fields.time_us(value, name)
        case "delay":
            return "delay_us", fields.duration_us(value, name)
        case "timeout":
            return "timeout_us", None if value is None else fields.duration_us(value, name) or None
    return _policy_change(name, value, bounds)


def _policy_change(name: str, value: Any, bounds: Bounds) -> tuple[str, Any]:
    match name:
        case "max_retries":
            return name, max_retries(value, bounds)
        case "max_losses":
            return name, max_losses(value, bounds)
        case "retry":
            return name, DEFAULT_POLICY.retry if value is None else retry_policy(value)
    return "soft_timeout_s", soft_timeout_s(value, None)
