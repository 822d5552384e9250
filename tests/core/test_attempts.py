"""Every attempt that did not end well stays on record, with its error or without one."""

import msgspec

from mainspring.core.lifecycle import ATTEMPTS_KEPT_AT_EACH_END, Outcome, Report, settle
from mainspring.core.model import Attempt, Lane, Lease

ERROR = b'{"type":"ValueError","message":"no such customer","code":1.0e5}'


def fail(attempts: bytes | None, attempt: int, error: bytes | None) -> bytes:
    lease = Lease("t", 1, 1, Lane("q", "k", "t", 5), b"null", attempt, attempts=attempts)
    change, _ = settle(Report("t", 1, Outcome.FAILED, error=error), lease, 0.5)
    assert change.attempts is not None
    return change.attempts


def test_errors_survive_the_next_attempt_byte_for_byte():
    attempts = None
    for number, error in ((1, ERROR), (2, None), (3, ERROR)):
        attempts = fail(attempts, number, error)
    kept = msgspec.json.decode(attempts, type=list[Attempt])
    assert [bytes(run.error) for run in kept] == [ERROR, b"null", ERROR]


def test_the_first_and_the_last_attempts_are_kept():
    attempts = None
    for number in range(1, 101):
        attempts = fail(attempts, number, ERROR)
    kept = [run.attempt for run in msgspec.json.decode(attempts, type=list[Attempt])]
    half = ATTEMPTS_KEPT_AT_EACH_END
    assert kept == [*range(1, half + 1), *range(101 - half, 101)]
