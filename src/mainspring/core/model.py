"""The record: one task, its states, and the values that travel with it.

Times are microseconds since the Unix epoch (`_us`, int); durations are microseconds too (`_us`),
seconds (`_s`, float) only where a person wrote them. Payloads and results are JSON text as bytes:
validated once at a door, opaque everywhere else.
"""

from enum import IntEnum
from typing import NamedTuple

import msgspec

PRIORITY_LOWEST, PRIORITY_DEFAULT, PRIORITY_HIGHEST = 1, 5, 10
PRIORITY_WORDS = {"high": 8, "medium": 5, "low": 2}

SECOND_US = 1_000_000


class State(IntEnum):
    """The seven states. Numbers are stored; names are shown (lower case)."""

    BLOCKED = 1
    SCHEDULED = 2
    READY = 3
    RUNNING = 4
    SUCCEEDED = 5
    FAILED = 6
    CANCELLED = 7

    @property
    def label(self) -> str:
        return self.name.lower()

    @property
    def is_final(self) -> bool:
        return self >= State.SUCCEEDED


WAITING = frozenset({State.BLOCKED, State.SCHEDULED, State.READY})
FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


class OnParentFailure(IntEnum):
    """What becomes of a task when one it depends on ends failed or cancelled. A task under `ONLY` waits for
    the end of all of them, and runs only if one ended so."""

    CANCEL = 1
    RUN = 2
    BLOCK = 3
    ONLY = 4


class Lane(NamedTuple):
    """All that a claim filters on. Inside one lane tasks run first in, first out.

    `key` is the task's concurrency key ("" for none). It is part of the lane so that a task whose
    key is at its limit holds up only its own key, never the tasks behind it.
    """

    queue: str
    kind: str
    tenant: str
    priority: int
    key: str = ""


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a failed attempt is tried again; see `retry.backoff_us`.

    `strategy` is `exponential`, `fixed`, `linear` or `list`. `jitter` 0.2 spreads a delay by +-20 %.
    `only` and `never` filter by error type name (`ValueError`); empty `only` means every error.
    """

    strategy: str = "exponential"
    delay_s: float = 1.0
    factor: float = 2.0
    max_delay_s: float = 3600.0
    jitter: float = 0.2
    delays_s: tuple[float, ...] = ()
    only: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


class Policy(msgspec.Struct, frozen=True, omit_defaults=True):
    """The rules a task brought along. Stored only where it differs from the default."""

    max_retries: int = 3
    retry: RetryPolicy = RetryPolicy()
    max_losses: int = 3
    soft_timeout_s: float | None = None
    on_parent_failure: OnParentFailure = OnParentFailure.CANCEL


DEFAULT_POLICY = Policy()
_policy_decoder = msgspec.json.Decoder(Policy)
_policies: dict[bytes, Policy] = {}
_POLICIES_KEPT = 1024


def encode_policy(policy: Policy) -> bytes | None:
    """`None` for the default policy, so that the usual task stores nothing."""
    return None if policy == DEFAULT_POLICY else msgspec.json.encode(policy)


def decode_policy(stored: bytes | None) -> Policy:
    """The inverse of `encode_policy`; the few distinct policies of a workload are decoded once. One that is
    damaged counts as the default: else a single row would stop whoever looks after all of them."""
    if stored is None:
        return DEFAULT_POLICY
    policy = _policies.get(stored)
    if policy is None:
        if len(_policies) >= _POLICIES_KEPT:
            _policies.clear()
        try:
            policy = read_policy(stored)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            policy = DEFAULT_POLICY
        _policies[stored] = policy
    return policy


def read_policy(stored: bytes) -> Policy:
    """Raises `msgspec.MsgspecError` or `UnicodeDecodeError` for what is no policy."""
    return _policy_decoder.decode(stored)


class UniqueRule(msgspec.Struct, frozen=True):
    """At most one task with `digest` among `states`, made within `period_us` (None: ever). `fields` are
    what the digest is made of, for who has to say the rule again; stores need them not."""

    digest: bytes
    states: frozenset[State]
    period_us: int | None = None
    fields: tuple[str, ...] = ()


class NewTask(msgspec.Struct, gc=False):
    """A task as a door hands it in: valid, with its id minted, not yet stored.

    `delay_us` counts from the store's clock, `run_at_us` is a user's absolute time; at most one is set.
    `depends_on` names tasks that exist or stand earlier in the same group.
    """

    id: str
    lane: Lane
    payload: bytes
    delay_us: int = 0
    run_at_us: int | None = None
    policy: bytes | None = None
    timeout_us: int | None = None
    deadline_us: int | None = None
    depends_on: tuple[str, ...] = ()
    labels: bytes | None = None
    unique: UniqueRule | None = None
    name: str | None = None


NO_ERROR = msgspec.Raw(b"null")


class Attempt(msgspec.Struct, omit_defaults=True):
    """One run that did not end the task well; kept for analysis. `error` is JSON text."""

    attempt: int
    outcome: str
    started_at_us: int | None = None
    finished_at_us: int | None = None
    worker: str | None = None
    error: msgspec.Raw = NO_ERROR  # not `Raw | None`: that decodes nothing but null


class Task(msgspec.Struct):
    """The whole record, as stores return it to readers. `attempts` and `error` are JSON text.

    `fire_at_us` is the nominal time of the fire that made the task, if it is one of schedule `schedule_id`.
    `workflow` is the workflow that it belongs to, as a member or as a callback.
    """

    id: str
    lane: Lane
    state: State
    payload: bytes
    created_at_us: int
    version: int
    run_at_us: int | None = None
    policy: bytes | None = None
    timeout_us: int | None = None
    deadline_us: int | None = None
    labels: bytes | None = None
    name: str | None = None
    token: int = 0
    attempt: int = 0
    retries: int = 0
    losses: int = 0
    snoozes: int = 0
    worker: str | None = None
    lease_until_us: int | None = None
    timeout_at_us: int | None = None
    started_at_us: int | None = None
    finished_at_us: int | None = None
    cancel_requested_at_us: int | None = None
    result: bytes | None = None
    error: bytes | None = None
    attempts: bytes | None = None
    checkpoint: bytes | None = None
    progress: bytes | None = None
    seq: int | None = None
    open_parents: int = 0
    depends_on: tuple[str, ...] = ()
    schedule_id: str | None = None
    fire_at_us: int | None = None
    workflow: str | None = None


class Lease(msgspec.Struct, gc=False):
    """One claimed task: what a worker needs to run it and the server needs to judge its report.

    `token` fences every later write: a write with an older token is refused and changes nothing.
    """

    task: str
    token: int
    lane_id: int
    lane: Lane
    payload: bytes
    attempt: int
    retries: int = 0
    losses: int = 0
    snoozes: int = 0
    policy: bytes | None = None
    timeout_us: int | None = None
    deadline_us: int | None = None
    checkpoint: bytes | None = None
    attempts: bytes | None = None
    labels: bytes | None = None
    started_at_us: int | None = None
    lease_until_us: int = 0
    worker: str = ""
    fire_at_us: int | None = None

    @property
    def size_bytes(self) -> int:
        """Of what may be large."""
        return len(self.payload) + len(self.checkpoint or b"") + len(self.attempts or b"")
