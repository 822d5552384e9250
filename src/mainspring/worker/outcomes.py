"""What a handler returned or raised, as the report that the server judges.

A result is stored as JSON. One that JSON cannot hold (an open file, a lone surrogate) is stored as text, its
`repr`; NaN and the infinities become null, as in every JSON encoder that follows the standard. One over
the cap fails the task with `ResultTooLarge`, for running again would make it no smaller.

An error is a JSON object: `type` (the exception's class name, which retry filters match), `message`,
`place` (where it was raised: `file.py:function:line`, to group equal failures), `traceback` (capped).
"""

import traceback
from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

from mainspring.core.lifecycle import Outcome, Report
from mainspring.core.model import SECOND_US, Lease
from mainspring.sdk.handlers import BadPayload
from mainspring.sdk.signals import Cancel, Fatal, Retry, Snooze
from mainspring.worker.places import place_of
from mainspring.worker.runs import Reason


class DetailedError(Exception):
    """An error of a built-in kind. Its `details` are recorded; its traceback would tell nobody anything.

    `retryable` says whether running again can help, `after_s` when, if not the task's own policy shall.
    `place` tells failures of one type apart, as a place in the code does for others.
    """

    details: Mapping[str, Any] = {}
    retryable = True
    after_s: float | None = None
    place = ""


RESULT_BYTES = 1024 * 1024
TRACEBACK_CHARS = 8_000
TRACEBACK_FRAMES = 30
MESSAGE_CHARS = 4_000
PLACE_CHARS = 300
_encode = msgspec.json.Encoder().encode

_ENDED_BY = {
    Reason.CANCEL: Outcome.CANCELLED,
    Reason.DRAIN: Outcome.RELEASED,
    Reason.TIMEOUT: Outcome.FAILED,
    Reason.DEADLINE: Outcome.FAILED,
}


def succeeded(lease: Lease, value: Any, duration_us: int, cap_bytes: int = RESULT_BYTES) -> Report:
    """A handler returned `value`."""
    if value is None:
        return Report(lease.task, lease.token, Outcome.SUCCEEDED, None, None, "", True, None, duration_us)
    result = encode_result(value)
    if len(result) > cap_bytes:
        message = f"the result has {len(result)} bytes; at most {cap_bytes} are kept"
        return _failure(lease, "ResultTooLarge", message, duration_us, retryable=False)
    return Report(lease.task, lease.token, Outcome.SUCCEEDED, result, None, "", True, None, duration_us)


def raised(lease: Lease, error: BaseException, duration_us: int, max_retries: int | None = None) -> Report:
    """A handler let `error` pass. `max_retries` is the handler's own, for a lease without a policy."""
    if isinstance(error, Snooze):
        return _report(lease, Outcome.SNOOZED, duration_us, delay_us=_delay_us(error.after_s) or 0)
    report = _report(lease, Outcome.FAILED, duration_us)
    report.error_type, report.error = type(error).__name__, encode_error(error)
    if isinstance(error, Cancel):
        report.outcome = Outcome.CANCELLED
    elif isinstance(error, Fatal | BadPayload):
        report.retryable = False
    elif isinstance(error, Retry):
        report.delay_us = _delay_us(error.after_s)
    elif isinstance(error, DetailedError):
        report.retryable, report.delay_us = error.retryable, _delay_us(error.after_s)
    if max_retries is not None and lease.policy is None and lease.retries >= max_retries:
        report.retryable = False
    return report


def interrupted(
    lease: Lease, reason: Reason, duration_us: int, limit_s: float | None = None
) -> Report | None:
    """A run was ended early by its worker. A lost lease is nobody's to report: `None`."""
    if reason is Reason.TIMEOUT:
        return _failure(lease, "Timeout", f"timed out after {limit_s or 0:g} s", duration_us)
    if reason is Reason.DEADLINE:
        return _failure(lease, "DeadlineExceeded", "ran past its deadline", duration_us, retryable=False)
    outcome = _ENDED_BY.get(reason)
    return None if outcome is None else _report(lease, outcome, duration_us)


def no_handler(lease: Lease) -> Report:
    """The source gave a kind that was not asked for. Another worker may know it, so it is retried."""
    return _failure(lease, "NoHandler", f"this worker has no handler for {lease.lane.kind!r}", 0)


def lost(lease: Lease, message: str) -> Report:
    """The process that ran the task died under it."""
    report = _failure(lease, "WorkerLost", message, 0)
    report.outcome = Outcome.LOST
    return report


def refused(report: Report, code: str, message: str) -> Report:
    """The server does not accept this report for what it carries: the task fails with the reason."""
    error = _encode({"type": code, "message": message[:MESSAGE_CHARS]})
    return Report(
        report.task, report.token, Outcome.FAILED, None, error, code, False, None, report.duration_us
    )


def encode_result(value: Any) -> bytes:
    """JSON if it can be, else the value's `repr` as a JSON text."""
    try:
        return _encode(value)
    except Exception:
        return _encode(_clean(_text(value)))


def encode_error(error: BaseException) -> bytes:
    if isinstance(error, DetailedError):
        told = {"type": type(error).__name__, "message": _clean(str(error))}
        if error.place:
            told["place"] = _clean(error.place)[:PLACE_CHARS]
        return _encode({**told, **error.details})
    if isinstance(error, BadPayload):  # it came from outside: where it was noticed says nothing
        return _encode({"type": type(error).__name__, "message": _clean(str(error))[:MESSAGE_CHARS]})
    frames = traceback.extract_tb(error.__traceback__)
    body = {"type": type(error).__name__, "message": _clean(_message(error))[:MESSAGE_CHARS]}
    if frames:
        body["place"] = _clean(place_of(frames))[:PLACE_CHARS]
    try:
        text = "".join(traceback.format_exception(error, limit=-TRACEBACK_FRAMES))
    except Exception:  # an exception whose own text cannot be made
        text = "".join(traceback.format_list(frames))
    body["traceback"] = _clean(_capped(text))
    return _encode(body)


def _report(lease: Lease, outcome: Outcome, duration_us: int, delay_us: int | None = None) -> Report:
    return Report(lease.task, lease.token, outcome, delay_us=delay_us, duration_us=duration_us)


def _failure(lease: Lease, kind: str, message: str, duration_us: int, retryable: bool = True) -> Report:
    report = _report(lease, Outcome.FAILED, duration_us)
    report.error, report.error_type = _encode({"type": kind, "message": message}), kind
    report.retryable = retryable
    return report


def _delay_us(after_s: float | None) -> int | None:
    """A nonsense choice (not a number, endless) is no choice: the task's own policy decides."""
    if not isinstance(after_s, int | float) or not isfinite(after_s):
        return None
    return int(after_s * SECOND_US)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(an error without a readable text)"


def _text(value: Any) -> str:
    try:
        return repr(value)
    except Exception:
        return f"(a {type(value).__name__} without a readable text)"


def _clean(text: str) -> str:
    """Lone surrogates, which no JSON text may carry, in their escaped spelling."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _capped(text: str) -> str:
    if len(text) <= TRACEBACK_CHARS:
        return text
    half = TRACEBACK_CHARS // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
