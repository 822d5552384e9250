"""A schedule as its owner writes it: when it fires, what becomes of a fire, and the task that it makes."""

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mainspring.core import durations
from mainspring.core.schedules import MOST_AT_ONCE, Schedule, check_schedule, parse_misfire
from mainspring.core.templates import Template
from mainspring.core.timing import Timing, check_timing
from mainspring.core.zoned import DST_RULES
from mainspring.errors import InvalidInput
from mainspring.ports import NewSchedule
from mainspring.wire import fields
from mainspring.wire.bounds import BOUNDS, Bounds
from mainspring.wire.patches import change
from mainspring.wire.strict import Shape
from mainspring.wire.tasks import ACCEPTED as TASK_ACCEPTED
from mainspring.wire.tasks import Duration, RetryIn, TaskIn, command_payload, new_task

ID_ACCEPTED = "1 to 200 characters of A-Z a-z 0-9 _ . : -, the first a letter, digit or _"
RESERVED_IDS = ("preview",)
"""Steps of a path below /schedules that name no schedule."""
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}", re.ASCII)
# What the schedule itself says of its tasks, or what means nothing for a task that is made again and again.
_NOT_IN_TEMPLATES = {
    "run_at": "the schedule says when its tasks run",
    "delay": "the schedule says when its tasks run; jitter spreads them",
    "deadline": "a time that is the same for every fire; timeout limits a run",
    "depends_on": "each fire makes a task of its own; overlap says whether it waits for earlier ones",
    "on_parent_failure": "a schedule's task has no parents",
    "unique": "overlap says what a fire does while earlier tasks are unfinished",
    "ref": "only tasks of a batch have one",
    "id": "each fire makes a task with an id of its own",
}


class RulesIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """When a schedule fires (exactly one of `cron`, `every` and `at`), and what becomes of a fire."""

    id: str | None = None
    name: str | None = None
    cron: str | None = None
    every: Duration | None = None
    at: str | None = None
    anchor: str | None = None
    zone: str | None = None
    dst: str | None = None
    start: str | None = None
    end: str | None = None
    misfire: str | None = None
    misfire_grace: Duration | None = None
    overlap: str | None = None
    jitter: Duration | None = None
    paused: bool | None = None


class ScheduleIn(RulesIn, forbid_unknown_fields=True, kw_only=True):
    """A schedule to store. `null` is the same as absent; `name` is another word for `id`."""

    task: TaskIn


class PreviewIn(RulesIn, forbid_unknown_fields=True, kw_only=True):
    """Rules to try out. A task may be given and is checked, but nothing is made of it."""

    task: TaskIn | None = None


class TemplatePatchIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The fields of a schedule's task that may change."""

    kind: str | UnsetType = UNSET
    command: str | list[str] | UnsetType = UNSET
    payload: msgspec.Raw | UnsetType = UNSET
    queue: str | UnsetType | None = UNSET
    priority: int | str | UnsetType | None = UNSET
    tenant: str | UnsetType | None = UNSET
    key: str | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    max_retries: int | UnsetType | None = UNSET
    retry: RetryIn | UnsetType | None = UNSET
    max_losses: int | UnsetType | None = UNSET
    timeout: Duration | UnsetType | None = UNSET
    soft_timeout: Duration | UnsetType | None = UNSET
    labels: dict[str, str] | UnsetType | None = UNSET


class SchedulePatchIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes to a schedule: what is absent stays, `null` sets it back to the default. Naming one of `cron`,
    `every` and `at` takes away the others. Of `task` only the fields that are named change."""

    cron: str | UnsetType | None = UNSET
    every: Duration | UnsetType | None = UNSET
    at: str | UnsetType | None = UNSET
    anchor: str | UnsetType | None = UNSET
    zone: str | UnsetType | None = UNSET
    dst: str | UnsetType | None = UNSET
    start: str | UnsetType | None = UNSET
    end: str | UnsetType | None = UNSET
    misfire: str | UnsetType | None = UNSET
    misfire_grace: Duration | UnsetType | None = UNSET
    overlap: str | UnsetType | None = UNSET
    jitter: Duration | UnsetType | None = UNSET
    paused: bool | UnsetType | None = UNSET
    task: TemplatePatchIn | UnsetType = UNSET


ACCEPTED = {
    **TASK_ACCEPTED,
    "every": durations.ACCEPTED,
    "misfire_grace": durations.ACCEPTED,
    "jitter": durations.ACCEPTED,
    "at": fields.TIME_ACCEPTED,
    "anchor": fields.TIME_ACCEPTED,
    "start": fields.TIME_ACCEPTED,
    "end": fields.TIME_ACCEPTED,
    "dst": ", ".join(DST_RULES),
    "task": "the task that each fire makes: kind, payload, queue, ...",
}
SCHEDULE = Shape(ScheduleIn, envelope=2, accepted=ACCEPTED)
PREVIEW = Shape(PreviewIn, envelope=2, accepted=ACCEPTED)
SCHEDULE_PATCH = Shape(SchedulePatchIn, envelope=2, accepted=ACCEPTED)

_DEFAULTS = Schedule(Timing())


def schedule_id(given: RulesIn) -> str | None:
    """The id that a new schedule shall have, if its owner chose one. Raises `InvalidInput`."""
    if given.id is not None and given.name is not None and given.id != given.name:
        raise InvalidInput("name", "differs from id", "one of id and name")
    field = "id" if given.name is None else "name"
    chosen = given.name if given.id is None else given.id
    return None if chosen is None else checked_id(chosen, field)


def checked_id(text: str, field: str = "id") -> str:
    """An id for a new schedule. Raises `InvalidInput`."""
    if not _ID.fullmatch(text):
        raise InvalidInput(field, f"not a schedule's id: {text[:40]!r}", ID_ACCEPTED)
    if text in RESERVED_IDS:
        raise InvalidInput(field, f"{text} is taken by the interface itself", "another id")
    return text


def new_schedule(given: ScheduleIn, bounds: Bounds = BOUNDS) -> NewSchedule:
    """Everything that can be said without a clock is checked here; whether it ever fires, when it is stored.

    Raises `InvalidInput` naming the field.
    """
    return NewSchedule(schedule_rules(given), template(given.task, bounds))


def schedule_rules(given: RulesIn) -> Schedule:
    """Raises `InvalidInput` naming the field."""
    named = {name: getattr(given, name) for name in _READERS}
    changes = _read({name: value for name, value in named.items() if value is not None})
    timing = Timing(**{name: changes.pop(name) for name in Timing.__struct_fields__ if name in changes})
    # The timing first: what a misfire or an overlap is of no timing, nobody wants to know.
    check_timing(timing)
    rules = Schedule(timing, **changes)
    check_schedule(rules)
    return rules


def template(given: TaskIn, bounds: Bounds = BOUNDS) -> Template:
    """The task that each fire makes. Raises `InvalidInput` naming the field below `task`."""
    for name, why in _NOT_IN_TEMPLATES.items():
        if getattr(given, name) is not None:
            raise InvalidInput(f"task.{name}", f"not part of a schedule's task: {why}")
    try:
        task = new_task(given, _no_id, bounds)
    except InvalidInput as error:
        raise error.under("task") from None
    return Template(task.lane, task.payload, task.policy, task.timeout_us, task.labels, task.name)


def _no_id() -> str:
    """A template has none: each of its tasks gets one when it is made."""
    return ""


def schedule_changes(given: SchedulePatchIn, bounds: Bounds = BOUNDS) -> dict[str, Any]:
    """The changes, by the names of the record's fields (`every_us`, ...): what a `SchedulePatch` is made of.

    Raises `InvalidInput` naming the field.
    """
    named = {name: getattr(given, name) for name in _READERS if getattr(given, name) is not UNSET}
    found = _read(named)
    if given.task is not UNSET:
        try:
            found |= _template_changes(given.task, bounds)
        except InvalidInput as error:
            raise error.under("task") from None
    if not found:
        raise InvalidInput("body", "changes nothing", ", ".join(given.__struct_fields__))
    return found


# --- rules ------------------------------------------------------------------------------------------


def _instant(text: str, field: str) -> dict[str, Any]:
    return {f"{field}_us": fields.time_us(text, field)}


def _duration(value: Duration, field: str) -> dict[str, Any]:
    return {f"{field}_us": fields.duration_us(value, field)}


def _as_it_is(value: Any, field: str) -> dict[str, Any]:
    return {field: value}


def _misfire(text: str, field: str) -> dict[str, Any]:
    policy, limit = parse_misfire(text)
    return {"misfire": policy, "misfire_limit": fields.whole(limit, field, 1, MOST_AT_ONCE)}


_READERS: dict[str, Callable[[Any, str], dict[str, Any]]] = {
    "cron": _as_it_is,
    "every": _duration,
    "at": _instant,
    "anchor": _instant,
    "zone": _as_it_is,
    "dst": _as_it_is,
    "start": _instant,
    "end": _instant,
    "misfire": _misfire,
    "misfire_grace": _duration,
    "overlap": _as_it_is,
    "jitter": _duration,
    "paused": _as_it_is,
}


def _read(named: dict[str, Any]) -> dict[str, Any]:
    """Values by the names of the rules' fields; `None` becomes the default."""
    found: dict[str, Any] = {}
    for name, value in named.items():
        found |= _default(name) if value is None else _READERS[name](value, name)
    return found


def _default(name: str) -> dict[str, Any]:
    if name == "misfire":
        return {"misfire": _DEFAULTS.misfire, "misfire_limit": _DEFAULTS.misfire_limit}
    for field in (name, f"{name}_us"):
        for rules in (_DEFAULTS, _DEFAULTS.timing):
            if field in rules.__struct_fields__:
                return {field: getattr(rules, field)}
    raise KeyError(name)


# --- the task ---------------------------------------------------------------------------------------


def _template_changes(given: TemplatePatchIn, bounds: Bounds) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in given.__struct_fields__:
        value = getattr(given, name)
        if value is UNSET:
            continue
        if name == "command":
            if given.kind not in (UNSET, "command") or given.payload is not UNSET:
                raise InvalidInput("command", "given beside another kind or payload", "command alone")
            found |= {"kind": "command", "payload": command_payload(value)}
        elif name == "kind":
            found["kind"] = fields.name(value, "kind")
        elif name == "name":
            found["name"] = None if value is None else fields.title(value, "name")
        else:
            target, changed = change(name, value, bounds)
            found[target] = changed
    return found
