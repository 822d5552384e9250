"""The lifecycle decides wrongly."""

from collections.abc import Callable
from typing import Any

import msgspec

from mainspring.core import lifecycle
from mainspring.core.lifecycle import Cause, Change, Outcome, Report
from mainspring.core.model import Lease, State
from mainspring.scheduler import settling
from mainspring.testing.planted.planting import Bug, Patch, bug

_Decides = Callable[[Report, Lease, float], Change]


def _without_max_retries(decode: Callable[[bytes | None], Any]) -> Any:
    return lambda stored: msgspec.structs.replace(decode(stored), max_retries=1_000_000)


def _loss_as_retry(lost: _Decides) -> _Decides:
    def wrong(report: Report, lease: Lease, unit: float) -> Change:
        change = lost(report, lease, unit)
        change.losses, change.retries = lease.losses, lease.retries + 1
        return change

    return wrong


def _first_loss_waits(lost: _Decides) -> _Decides:
    def wrong(report: Report, lease: Lease, unit: float) -> Change:
        change = lost(report, lease, unit)
        if change.state is State.READY:
            change.state, change.delay_us = State.SCHEDULED, 1_000_000
        return change

    return wrong


def _losses_without_end(lost: _Decides) -> _Decides:
    def wrong(report: Report, lease: Lease, unit: float) -> Change:
        change = lost(report, lease, unit)
        if change.cause is Cause.POISON:
            change.state, change.cause, change.delay_us = State.SCHEDULED, Cause.LOSE, 1_000_000
        return change

    return wrong


def _success_cancelled(settle: Any) -> Any:
    def wrong(report: Report, lease: Lease, unit: float) -> tuple[Change, Change]:
        change, if_cancelled = settle(report, lease, unit)
        if report.outcome is Outcome.SUCCEEDED:
            cancelled = Report(report.task, report.token, Outcome.CANCELLED)
            if_cancelled = settle(cancelled, lease, unit)[1]
        return change, if_cancelled

    return wrong


def _keeps_attempt(outcome: Outcome) -> Callable[[_Decides], _Decides]:
    def make(unfinished: _Decides) -> _Decides:
        def wrong(report: Report, lease: Lease, unit: float) -> Change:
            change = unfinished(report, lease, unit)
            if report.outcome is outcome:
                change.attempt += 1
            return change

        return wrong

    return make


def _fatal_is_retried(failed: _Decides) -> _Decides:
    def wrong(report: Report, lease: Lease, unit: float) -> Change:
        return failed(msgspec.structs.replace(report, retryable=False), lease, unit)

    return wrong


def _with_policy(failed: _Decides) -> _Decides:
    endless = Bug("", (Patch(lifecycle, "decode_policy", _without_max_retries),))

    def wrong(report: Report, lease: Lease, unit: float) -> Change:
        with endless.planted():
            return failed(report, lease, unit)

    return wrong


RULE_BUGS: tuple[Bug, ...] = (
    bug("a retry ignores max_retries", lifecycle, "_failed", _with_policy),
    bug("no failure is retried", lifecycle, "_failed", _fatal_is_retried),
    bug("a loss is counted as a retry", lifecycle, "_lost", _loss_as_retry),
    bug("the first loss waits", lifecycle, "_lost", _first_loss_waits),
    bug("poison goes on after its last loss", lifecycle, "_lost", _losses_without_end),
    bug("a success under a cancellation is stored as cancelled", settling, "settle", _success_cancelled),
    bug("a snooze counts an attempt", lifecycle, "_unfinished", _keeps_attempt(Outcome.SNOOZED)),
    bug("a release counts an attempt", lifecycle, "_unfinished", _keeps_attempt(Outcome.RELEASED)),
)
