"""How a task is to be run, as its submitter says it: checked once, then used for any number of submits."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypedDict

import msgspec

from mainspring.errors import InvalidInput
from mainspring.wire.tasks import TASK, TaskIn

Duration: TypeAlias = float | str | timedelta
PARENTS_ACCEPTED = "handles, calls of the same submit, or ids"


class Parent:
    """What a task may depend on, beside an id: the handle of another, or a call that is submitted along."""

    __slots__ = ()


class RetryOptions(TypedDict, total=False):
    """`strategy` is exponential, fixed, linear or list; `only` and `never` name error types."""

    strategy: str
    delay: Duration
    factor: float
    max_delay: Duration
    jitter: float
    delays: Sequence[Duration]
    only: Sequence[str]
    never: Sequence[str]


class UniqueOptions(TypedDict, total=False):
    """At most one task that is equal in `fields`, among `states`, within `period`."""

    fields: Sequence[str]
    states: Sequence[str]
    period: Duration


class TaskOptions(TypedDict, total=False):
    """What a submit may say about a task. Durations are seconds, text such as `1h30m`, or a `timedelta`;
    times carry their offset. `None` stands for the default."""

    queue: str | None
    priority: int | str | None
    tenant: str | None
    key: str | None
    name: str | None
    labels: Mapping[str, str] | None
    delay: Duration | None
    run_at: datetime | str | None
    deadline: datetime | str | None
    timeout: Duration | None
    soft_timeout: Duration | None
    max_retries: int | None
    retry: RetryOptions | None
    max_losses: int | None
    unique: bool | UniqueOptions | None
    depends_on: Sequence[Parent | str] | None
    on_parent_failure: str | None
    idempotency_key: str | None


class Plan:
    """Checked options. `template` is the task without its payload and its `parents`; `is_repeatable` says
    that nothing in it is about one task alone."""

    __slots__ = ("idempotency_key", "is_repeatable", "options", "parents", "template")

    def __init__(self, options: TaskOptions) -> None:
        """Raises `InvalidInput` that names the option."""
        self.options = options
        given = {name: value for name, value in options.items() if value is not None}
        self.parents = _parents(given.pop("depends_on", ()))
        self.idempotency_key = checked_key(given.pop("idempotency_key", None))
        self.template: TaskIn = TASK.read(encoded(given))
        own = self.parents, self.idempotency_key, self.template.unique, self.template.id, self.template.ref
        self.is_repeatable = not any(own)

    def having(self, options: TaskOptions) -> "Plan":
        """The same, but for what `options` say."""
        return Plan({**self.options, **options})


def encoded(given: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode({name: _plain(value) for name, value in given.items()})
    except (TypeError, ValueError) as error:
        raise InvalidInput("options", f"cannot be written as JSON: {error}") from None


def _plain(value: Any) -> Any:
    """`timedelta`s as seconds: as JSON they would become text that no duration is written in."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _parents(given: Any) -> tuple[Parent | str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise InvalidInput("depends_on", f"not a list of tasks: {given!r:.60}", PARENTS_ACCEPTED)
    return tuple(given)


def checked_key(key: object) -> str | None:
    if key is None:
        return None
    if not isinstance(key, str) or not 0 < len(key) <= 200 or not (key.isascii() and key.isprintable()):
        raise InvalidInput(
            "idempotency_key", f"not a key: {key!r:.60}", "1 to 200 printable ASCII characters"
        )
    return key
