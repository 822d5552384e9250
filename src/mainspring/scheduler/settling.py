"""Settling: workers report, the server decides.

The node that granted a lease keeps it, so that a report can be judged without asking the store. A report on a
lease that another node granted (or that this one forgot) costs one batched read.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from mainspring.batching import Batcher
from mainspring.core.lifecycle import Cause, Change, Outcome, Report, digest, settle
from mainspring.core.model import SECOND_US, Lease, State
from mainspring.ports import Answer, Clock, Held, Settlement, Store
from mainspring.scheduler.claiming import Claiming
from mainspring.scheduler.finals import Finals
from mainspring.telemetry import Sink

LEASES_KEPT = 100_000
_WRITTEN = (Answer.OK, Answer.CANCEL)
_OVER = (*_WRITTEN, Answer.ALREADY)
_ALL_WELL = {Outcome.SUCCEEDED}
_LABELS = {outcome: outcome.name.lower() for outcome in Outcome}
_NOT_HELD = Change(State.CANCELLED, Cause.CANCEL, 0)


class Settling:
    """Turns reports into settlements, and settles lapsed leases the same way."""

    def __init__(
        self,
        store: Store,
        batcher: Batcher,
        claiming: Claiming,
        finals: Finals,
        clock: Clock,
        result_bytes: int,
        sink: Sink,
    ) -> None:
        self._store = store
        self._batcher = batcher
        self._claiming = claiming
        self._finals = finals
        self._clock = clock
        self._result_bytes = result_bytes
        self._sink = sink
        self._granted: dict[str, Lease] = {}
        # Something is to run again later, or its children are doomed: services need not find out by chance.
        self.on_trouble: Callable[[], None] = lambda: None

    def granted(self, leases: Sequence[Lease]) -> None:
        """Remember what was granted here."""
        kept = self._granted
        for lease in leases:
            kept[lease.task] = lease
        while len(kept) > LEASES_KEPT:
            # The oldest grant is the least likely to be reported next; its report will cost a read.
            del kept[next(iter(kept))]

    async def settle(self, reports: Sequence[Report]) -> Sequence[Answer]:
        """One answer per report. A repeated report answers `ALREADY` and changes nothing."""
        leases = await self._leases(reports)
        unit = self._clock.random.random
        lines = [self._line(report, lease, unit()) for report, lease in zip(reports, leases, strict=True)]
        answers = await self._batcher.settle(lines)
        self._book(reports, leases, lines, answers)
        return answers

    async def settle_lapsed(self, leases: Sequence[Lease]) -> Sequence[Answer]:
        """The reaper's word: these leases ran out. Nothing is written where one was renewed meanwhile."""
        lines = []
        for lease in leases:
            error = msgspec.json.encode({"type": "LeaseLost", "message": "the worker's lease ran out"})
            lines.append(
                self._line(Report(lease.task, lease.token, Outcome.LOST, error=error), lease, self._unit())
            )
            lines[-1].only_if_lapsed = True
        return await self._settle_lines(leases, lines)

    async def settle_overdue(self, leases: Sequence[Lease]) -> Sequence[Answer]:
        """Runs past their time limit whose worker did not end them: failed, and the worker fenced."""
        lines = []
        for lease in leases:
            limit_s = (lease.timeout_us or 0) / 1e6
            message = f"timed out after {limit_s:g} s" if limit_s else "ran past its deadline"
            error = msgspec.json.encode({"type": "Timeout", "message": message})
            report = Report(lease.task, lease.token, Outcome.FAILED, error=error, error_type="Timeout")
            lines.append(self._line(report, lease, self._unit()))
        return await self._settle_lines(leases, lines)

    async def release(self, leases: Sequence[Lease]) -> None:
        """Hand back leases that nobody took, uncounted."""
        await self.settle([Report(lease.task, lease.token, Outcome.RELEASED) for lease in leases])

    async def _settle_lines(self, leases: Sequence[Lease], lines: Sequence[Settlement]) -> Sequence[Answer]:
        answers = await self._batcher.settle(lines)
        for lease, line, answer in zip(leases, lines, answers, strict=True):
            if answer in _WRITTEN:
                self._granted.pop(lease.task, None)
                self._claiming.accounts.lost(lease)
                self._sink.count("tasks_settled", line.change.cause.name.lower())
                self._finals.finished_by(line, answer)
        self.on_trouble()
        return answers

    async def _leases(self, reports: Sequence[Report]) -> Sequence[Lease | None]:
        granted = self._granted
        found: list[Lease | None] = [granted.get(report.task) for report in reports]
        missing = [
            place
            for place, (lease, report) in enumerate(zip(found, reports, strict=True))
            if lease is None or lease.token != report.token
        ]
        if missing:
            held = [Held(reports[place].task, reports[place].token) for place in missing]
            for place, lease in zip(missing, await self._store.leases(held), strict=True):
                found[place] = lease
        return found

    def _line(self, report: Report, lease: Lease | None, unit: float) -> Settlement:
        if report.result is not None and len(report.result) > self._result_bytes:
            report = _too_large(report, self._result_bytes)
        if lease is None:
            # The store says that nobody holds this token. The line is sent all the same, so that a repeat
            # can be told from a loss; without a lane it is never written, not even if the store lost its
            # last writes meanwhile and the row is held again.
            return Settlement(report.task, report.token, 0, digest(report), _NOT_HELD, _NOT_HELD)
        change, if_cancelled = settle(report, lease, unit)
        return Settlement(report.task, report.token, lease.lane_id, digest(report), change, if_cancelled)

    def _book(
        self,
        reports: Sequence[Report],
        leases: Sequence[Lease | None],
        lines: Sequence[Settlement],
        answers: Sequence[Answer],
    ) -> None:
        forget, ended, finished_by = (
            self._granted.pop,
            self._claiming.accounts.ended,
            self._finals.finished_by,
        )
        anybody_waits, measure = self._finals.anybody_waits, self._sink.observe
        for report, lease, line, answer in zip(reports, leases, lines, answers, strict=True):
            forget(report.task, None)
            if lease is not None and answer in _OVER:
                ended(lease, report.duration_us)
                measure("task_run_seconds", report.duration_us / SECOND_US, _LABELS[report.outcome])
                if anybody_waits and answer in _WRITTEN:
                    finished_by(line, answer)
        for answer, count in Counter(answers).items():
            if answer not in _WRITTEN:
                self._sink.count("reports_refused", answer.name.lower(), by=count)
            if answer is Answer.ALREADY:
                # It may have ended in a transaction of the user's own, of which nobody has told.
                self._finals.mark_stale()
                self.on_trouble()
        outcomes = Counter(report.outcome for report in reports)
        for outcome, count in outcomes.items():
            self._sink.count("tasks_settled", _LABELS[outcome], by=count)
        if outcomes.keys() != _ALL_WELL:
            self.on_trouble()

    def _unit(self) -> float:
        return self._clock.random.random()


def _too_large(report: Report, cap_bytes: int) -> Report:
    size = len(report.result or b"")
    message = f"the result has {size} bytes; at most {cap_bytes} are kept"
    return Report(
        report.task,
        report.token,
        Outcome.FAILED,
        error=msgspec.json.encode({"type": "ResultTooLarge", "message": message}),
        error_type="ResultTooLarge",
        retryable=False,
        duration_us=report.duration_us,
    )
