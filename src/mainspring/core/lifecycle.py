"""What may become of a task: one transition table, and the decisions that walk it.

    submit ─► BLOCKED ──unblock──► SCHEDULED ──promote──► READY ──claim──► RUNNING
                 │                     ▲                    ▲                 │
                 │                     └─ retry, snooze, ───┴── release ──────┤
                 │                        loss                                │
                 └─doom─► CANCELLED ◄──────────── cancel ─────────────────────┤
                          FAILED    ◄──────── fail, poison, expire ───────────┤
                          SUCCEEDED ◄──────────────────────────── succeed ────┘

Workers report, the server decides: `settle` turns a worker's `Report` into the change that is
written, and a second change for the case that cancellation was requested meanwhile. A lapsed lease
goes through the same function, as an `Outcome.LOST` report: the crash path is the failure path.
"""

from enum import IntEnum
from zlib import crc32

import msgspec

from mainspring.core.fingerprint import fingerprint
from mainspring.core.model import NO_ERROR, Attempt, Lease, State, decode_policy
from mainspring.core.retry import LOSS_BACKOFF, backoff_us, wants_retry


class Cause(IntEnum):
    """Why a task changed its state. Numbers are stored in the history."""

    SUBMIT = 1
    UNBLOCK = 2
    DOOM = 3
    PROMOTE = 4
    CLAIM = 5
    SUCCEED = 6
    RETRY = 7
    FAIL = 8
    LOSE = 9
    POISON = 10
    RELEASE = 11
    SNOOZE = 12
    CANCEL = 13
    EXPIRE = 14
    REPLAY = 15
    RESCHEDULE = 16
    SPARE = 17
    REOPEN = 18
    REJECT = 19


_B, _S, _READY, _RUN = State.BLOCKED, State.SCHEDULED, State.READY, State.RUNNING
_SUCCEEDED, _FAILED, _CANCELLED = State.SUCCEEDED, State.FAILED, State.CANCELLED

# (from, to) per cause. `None` is "not there yet". This table is the documentation's picture.
TRANSITIONS: dict[Cause, frozenset[tuple[State | None, State]]] = {
    Cause.SUBMIT: frozenset({(None, _B), (None, _S), (None, _READY)}),
    Cause.UNBLOCK: frozenset({(_B, _S), (_B, _READY)}),
    Cause.DOOM: frozenset({(_B, _CANCELLED)}),
    Cause.PROMOTE: frozenset({(_S, _READY)}),
    Cause.CLAIM: frozenset({(_READY, _RUN)}),
    Cause.SUCCEED: frozenset({(_RUN, _SUCCEEDED)}),
    Cause.RETRY: frozenset({(_RUN, _S), (_RUN, _READY)}),
    Cause.FAIL: frozenset({(_RUN, _FAILED)}),
    Cause.LOSE: frozenset({(_RUN, _READY), (_RUN, _S)}),
    Cause.POISON: frozenset({(_RUN, _FAILED)}),
    Cause.RELEASE: frozenset({(_RUN, _READY)}),
    Cause.SNOOZE: frozenset({(_RUN, _S), (_RUN, _READY)}),
    Cause.CANCEL: frozenset((state, _CANCELLED) for state in (_B, _S, _READY, _RUN)),
    Cause.EXPIRE: frozenset((state, _FAILED) for state in (_B, _S, _READY)),
    Cause.REPLAY: frozenset((old, new) for old in (_FAILED, _CANCELLED) for new in (_READY, _S)),
    Cause.RESCHEDULE: frozenset({(_S, _READY), (_READY, _S), (_S, _S)}),
    Cause.SPARE: frozenset({(_B, _CANCELLED)}),
    # A workflow's failures are retried: they, and what was to follow them, wait for their parents again.
    Cause.REOPEN: frozenset(
        {(_FAILED, _B), (_CANCELLED, _B), (_CANCELLED, _S), (_CANCELLED, _READY), (_S, _B), (_READY, _B)}
    ),
    # What was submitted in a transaction of the user's own turns out to mean nothing.
    Cause.REJECT: frozenset({(_S, _FAILED)}),
}
EDGES = frozenset((old, cause, new) for cause, pairs in TRANSITIONS.items() for old, new in pairs)

# A run that ended through no doing of the task leaves it where it stood in line: neither a worker's
# restart nor its crash may send a task behind all those that came later.
KEEPS_PLACE = frozenset({Cause.RELEASE, Cause.LOSE})

# What the record says when a store ends a task that never ran.
EXPIRED_ERROR = b'{"type":"DeadlineExceeded","message":"the deadline passed before the task could run"}'
DOOMED_ERROR = b'{"type":"ParentFailed","message":"a task that this one depends on failed or was cancelled"}'
SPARED_ERROR = b'{"type":"NothingFailed","message":"it runs only after a failure, and its parents succeeded"}'

ATTEMPTS_KEPT_AT_EACH_END = 20


def allows(old: State | None, cause: Cause, new: State) -> bool:
    return (old, new) in TRANSITIONS[cause]


class Outcome(IntEnum):
    """How a run ended, as its worker (or, for LOST, the reaper) tells it."""

    SUCCEEDED = 1
    FAILED = 2
    RELEASED = 3
    SNOOZED = 4
    CANCELLED = 5
    LOST = 6


class Report(msgspec.Struct, gc=False):
    """A worker's word on one run. `error` is a JSON object with at least `type` and `message`."""

    task: str
    token: int
    outcome: Outcome
    result: bytes | None = None
    error: bytes | None = None
    error_type: str = ""
    retryable: bool = True
    delay_us: int | None = None
    duration_us: int = 0


class Change(msgspec.Struct, gc=False):
    """What a store writes into the row when a lease ends. Counters are the new absolute values:
    the token guards the row, so nobody else can have moved them.

    `delay_us` matters for SCHEDULED only and counts from the store's clock. `fingerprint` is what killed a
    task that FAILED, and `None` for every other state.
    """

    state: State
    cause: Cause
    attempt: int
    retries: int = 0
    losses: int = 0
    snoozes: int = 0
    delay_us: int = 0
    result: bytes | None = None
    error: bytes | None = None
    attempts: bytes | None = None
    fingerprint: int | None = None


def digest(report: Report) -> int:
    """Tells a repeated report from a different one. Stable across processes, unlike `hash`."""
    return crc32(report.error or b"", crc32(report.result or b"", int(report.outcome)))


# No report's digest: the run was settled in a transaction of the user's own.
IN_TRANSACTION = -1


def is_repeated(token: int, told: int, settled_token: int, settled_digest: int) -> bool:
    """Whether a report under `token` with the digest `told` was accepted before. A run that was completed in
    the user's transaction has ended there: whatever its worker reports later was accepted with it."""
    return token == settled_token and settled_digest in (told, IN_TRANSACTION)


def settle(report: Report, lease: Lease, unit: float) -> tuple[Change, Change]:
    """The change to write, and the one to write if cancellation was requested meanwhile.

    A success stays a success even then: the work is done, and saying otherwise would be a lie.
    Everything else ends cancelled, and is never retried. `unit` is a random number in [0, 1).
    """
    outcome = report.outcome
    if outcome is Outcome.SUCCEEDED:
        done = Change(
            State.SUCCEEDED, Cause.SUCCEED, lease.attempt, lease.retries, lease.losses, lease.snoozes,
            0, report.result, None, lease.attempts,
        )  # fmt: skip
        return done, done
    cancelled = _change(
        lease, State.CANCELLED, Cause.CANCEL, error=report.error, attempts=_kept(report, lease)
    )
    if outcome is Outcome.CANCELLED:
        return cancelled, cancelled
    return _unfinished(report, lease, unit), cancelled


def _unfinished(report: Report, lease: Lease, unit: float) -> Change:
    if report.outcome is Outcome.RELEASED:
        # The task never ran, or was handed back whole: the attempt is returned and nothing is recorded.
        return _change(lease, State.READY, Cause.RELEASE, attempt=lease.attempt - 1, attempts=lease.attempts)
    if report.outcome is Outcome.SNOOZED:
        delay_us = max(0, report.delay_us or 0)
        return _change(
            lease, _later(delay_us), Cause.SNOOZE, delay_us=delay_us, attempts=lease.attempts,
            attempt=lease.attempt - 1, snoozes=lease.snoozes + 1,
        )  # fmt: skip
    if report.outcome is Outcome.LOST:
        return _lost(report, lease, unit)
    return _failed(report, lease, unit)


def _lost(report: Report, lease: Lease, unit: float) -> Change:
    policy, losses, attempts = decode_policy(lease.policy), lease.losses + 1, _kept(report, lease)
    if losses >= policy.max_losses:
        return _change(
            lease, State.FAILED, Cause.POISON, losses=losses, error=report.error, attempts=attempts
        )
    # One crash is most likely the machine's fault, a second one the task's: only then wait.
    delay_us = 0 if losses == 1 else backoff_us(LOSS_BACKOFF, losses - 1, unit)
    return _change(lease, _later(delay_us), Cause.LOSE, losses=losses, delay_us=delay_us, attempts=attempts)


def _failed(report: Report, lease: Lease, unit: float) -> Change:
    policy, retries, attempts = decode_policy(lease.policy), lease.retries + 1, _kept(report, lease)
    may_retry = report.retryable and retries <= policy.max_retries
    if not may_retry or not wants_retry(policy.retry, report.error_type):
        return _change(lease, State.FAILED, Cause.FAIL, error=report.error, attempts=attempts)
    chosen = report.delay_us
    delay_us = chosen if chosen is not None and chosen > 0 else backoff_us(policy.retry, retries, unit)
    return _change(
        lease, _later(delay_us), Cause.RETRY, retries=retries, delay_us=delay_us, attempts=attempts
    )


def _later(delay_us: int) -> State:
    return State.SCHEDULED if delay_us > 0 else State.READY


def _change(
    lease: Lease,
    state: State,
    cause: Cause,
    *,
    attempt: int | None = None,
    retries: int | None = None,
    losses: int | None = None,
    snoozes: int | None = None,
    delay_us: int = 0,
    error: bytes | None = None,
    attempts: bytes | None = None,
) -> Change:
    return Change(
        state=state,
        cause=cause,
        attempt=lease.attempt if attempt is None else attempt,
        retries=lease.retries if retries is None else retries,
        losses=lease.losses if losses is None else losses,
        snoozes=lease.snoozes if snoozes is None else snoozes,
        delay_us=delay_us,
        error=error,
        attempts=attempts,
        fingerprint=fingerprint(lease.lane.kind, error) if state is State.FAILED else None,
    )


def _kept(report: Report, lease: Lease) -> bytes:
    """The record's `attempts`, with this run added: the first and the last 20 are kept. A list that is
    damaged begins anew, so that its task can still end."""
    try:
        kept = msgspec.json.decode(lease.attempts, type=list[Attempt]) if lease.attempts else []
    except (msgspec.MsgspecError, UnicodeDecodeError):
        kept = []
    kept.append(
        Attempt(
            attempt=lease.attempt,
            outcome=report.outcome.name.lower(),
            started_at_us=lease.started_at_us,
            finished_at_us=_finished_at_us(report, lease),
            worker=lease.worker or None,
            error=msgspec.Raw(report.error) if report.error else NO_ERROR,
        )
    )
    if len(kept) > 2 * ATTEMPTS_KEPT_AT_EACH_END:
        del kept[ATTEMPTS_KEPT_AT_EACH_END]
    return msgspec.json.encode(kept)


def _finished_at_us(report: Report, lease: Lease) -> int | None:
    """The run's end by the store's clock; nobody knows when a lost run ended."""
    if lease.started_at_us is None or report.outcome is Outcome.LOST:
        return None
    return lease.started_at_us + report.duration_us
