"""Editing a waiting task: a patch names what changes, the store is told what the task shall be."""

from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from mainspring.core.model import RetryPolicy, Task, decode_policy, encode_policy
from mainspring.ports import Edit


class Patch(msgspec.Struct):
    """The fields a caller wants changed; those left `UNSET` stay as they are.

    `run_at_us` is absolute, `None` meaning now. Values are valid: the door has checked them.
    """

    priority: int | UnsetType = UNSET
    queue: str | UnsetType = UNSET
    tenant: str | UnsetType = UNSET
    key: str | UnsetType = UNSET
    payload: bytes | UnsetType = UNSET
    run_at_us: int | UnsetType | None = UNSET
    delay_us: int | UnsetType = UNSET
    labels: bytes | UnsetType | None = UNSET
    max_retries: int | UnsetType = UNSET
    retry: RetryPolicy | UnsetType = UNSET
    max_losses: int | UnsetType = UNSET
    timeout_us: int | UnsetType | None = UNSET
    soft_timeout_s: float | UnsetType | None = UNSET
    deadline_us: int | UnsetType | None = UNSET


T = TypeVar("T")
_LANE = ("priority", "queue", "tenant", "key")
_POLICY = ("max_retries", "retry", "max_losses", "soft_timeout_s")


def edited(task: Task, patch: Patch, store_now_us: int) -> Edit:
    """What the task shall be."""
    run_at_us = _or(patch.run_at_us, task.run_at_us)
    if not isinstance(patch.delay_us, UnsetType):
        run_at_us = store_now_us + patch.delay_us
    policy = msgspec.structs.replace(decode_policy(task.policy), **_set(patch, _POLICY))
    return Edit(
        lane=task.lane._replace(**_set(patch, _LANE)),
        payload=_or(patch.payload, task.payload),
        run_at_us=run_at_us,
        policy=encode_policy(policy),
        timeout_us=_or(patch.timeout_us, task.timeout_us),
        deadline_us=_or(patch.deadline_us, task.deadline_us),
        labels=_or(patch.labels, task.labels),
    )


def _set(patch: Patch, fields: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in fields if (value := getattr(patch, name)) is not UNSET}


def _or(value: T | UnsetType, present: T) -> T:
    return present if isinstance(value, UnsetType) else value
