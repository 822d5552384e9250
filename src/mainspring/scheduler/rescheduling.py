"""Changing a schedule: a patch names what changes; rules and template are made of it and the record."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mainspring.core.model import RetryPolicy, decode_policy, encode_policy
from mainspring.ports import NewSchedule, ScheduleRecord


class SchedulePatch(msgspec.Struct, frozen=True):
    """The fields a caller wants changed; those left `UNSET` stay as they are.

    Naming one of `cron`, `every_us` and `at_us` takes away the others, and the anchor unless it is named,
    too. The rules are checked when they are written; names, sizes and the policy by the door.
    """

    cron: str | UnsetType | None = UNSET
    every_us: int | UnsetType | None = UNSET
    at_us: int | UnsetType | None = UNSET
    anchor_us: int | UnsetType | None = UNSET
    zone: str | UnsetType = UNSET
    dst: str | UnsetType = UNSET
    start_us: int | UnsetType | None = UNSET
    end_us: int | UnsetType | None = UNSET
    misfire: str | UnsetType = UNSET
    misfire_limit: int | UnsetType = UNSET
    misfire_grace_us: int | UnsetType = UNSET
    overlap: str | UnsetType = UNSET
    jitter_us: int | UnsetType = UNSET
    paused: bool | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    queue: str | UnsetType = UNSET
    tenant: str | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    key: str | UnsetType = UNSET
    payload: bytes | UnsetType = UNSET
    name: str | UnsetType | None = UNSET
    labels: bytes | UnsetType | None = UNSET
    timeout_us: int | UnsetType | None = UNSET
    max_retries: int | UnsetType = UNSET
    retry: RetryPolicy | UnsetType = UNSET
    max_losses: int | UnsetType = UNSET
    soft_timeout_s: float | UnsetType | None = UNSET


_SOURCES = ("cron", "every_us", "at_us")
_TIMING = (*_SOURCES, "anchor_us", "zone", "dst", "start_us", "end_us")
_RULES = ("misfire", "misfire_limit", "misfire_grace_us", "overlap", "jitter_us", "paused")
_LANE = ("kind", "queue", "tenant", "priority", "key")
_POLICY = ("max_retries", "retry", "max_losses", "soft_timeout_s")
_TEMPLATE = ("payload", "name", "labels", "timeout_us")


def patched(record: ScheduleRecord, patch: SchedulePatch) -> NewSchedule:
    """What the schedule shall be."""
    timing_changes = _set(patch, _TIMING)
    if any(timing_changes.get(source) is not None for source in _SOURCES):
        timing_changes = {**dict.fromkeys((*_SOURCES, "anchor_us")), **timing_changes}
    replace = msgspec.structs.replace
    rules = replace(
        record.rules, timing=replace(record.rules.timing, **timing_changes), **_set(patch, _RULES)
    )
    template = record.template
    policy = replace(decode_policy(template.policy), **_set(patch, _POLICY))
    return NewSchedule(
        rules,
        replace(
            template,
            lane=template.lane._replace(**_set(patch, _LANE)),
            policy=encode_policy(policy),
            **_set(patch, _TEMPLATE),
        ),
    )


def _set(patch: SchedulePatch, fields: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in fields if (value := getattr(patch, name)) is not UNSET}
