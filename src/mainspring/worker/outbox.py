"""What a worker has to tell its source: how runs ended, and what running tasks recorded."""

import logging
from collections.abc import Sequence

from mainspring.core.lifecycle import Outcome, Report
from mainspring.errors import InvalidInput, MainspringError
from mainspring.ports import Answer, Append, Clock, TaskSource
from mainspring.worker import outcomes
from mainspring.worker.backoff import Backoff
from mainspring.worker.held import HeldLeases
from mainspring.worker.recording import BURST_BYTES, BURST_MOST, Recordings
from mainspring.worker.runs import Noted, Run

_log = logging.getLogger("mainspring.worker")


class Outbox:
    """Collects, and hands over in bursts. What a source does not take is offered again while the lease
    stands."""

    def __init__(self, source: TaskSource, held: HeldLeases, clock: Clock) -> None:
        self._source = source
        self._held = held
        self._backoff = Backoff(clock)
        self._ended: list[Run] = []
        self._recordings = Recordings(source, held, clock)

    @property
    def waiting(self) -> bool:
        return bool(self._ended or self._recordings)

    def add(self, runs: Sequence[Run]) -> None:
        """Runs that have ended. Those that nobody wants to hear of are dropped here."""
        held = self._held
        for run in runs:
            if run.report is None or not held.holds(run):
                held.drop(run)
            else:
                self._ended.append(run)

    def append(self, line: Append, noted: Noted | None) -> None:
        """`noted` is told when the source has it, or why it never will."""
        self._recordings.add(line, noted)

    async def hand_over(self) -> None:
        """Send what waits now, recordings before outcomes: a checkpoint given last must be there for the
        next run. Returns when the source has it, or nobody holds it any more."""
        runs = self._burst()
        if self._recordings:
            given_up = await self._recordings.hand_over()
            if given_up:
                runs = [run for run in runs if self._is_whole(run, given_up)]
        if runs:
            await self._settle(runs)

    def _is_whole(self, run: Run, given_up: set[tuple[str, int]]) -> bool:
        """A run that is to go on later must not end without its checkpoint. Its lease has lapsed, and the
        source could not be reached: it counts as lost."""
        report = run.report
        if report is None or report.outcome is Outcome.SUCCEEDED:
            return True
        if (run.lease.task, run.lease.token) not in given_up:
            return True
        self._held.drop(run)
        return False

    def _burst(self) -> list[Run]:
        """The reports to send together; one is always among them."""
        size, count = 0, 0
        for run in self._ended[:BURST_MOST]:
            report = run.report
            if report is not None and report.result is not None:
                size += len(report.result)
                if size > BURST_BYTES and count:
                    break
            count += 1
        runs, self._ended = self._ended[:count], self._ended[count:]
        return runs

    async def _settle(self, runs: list[Run]) -> None:
        """A run that ended while its lease stood is offered at least once, however late it is: the token
        decides."""
        while runs:
            try:
                answers = await self._source.settle([_report(run) for run in runs])
            except InvalidInput as error:
                await self._settle_apart(runs, error)
                return
            except MainspringError as error:
                _log.warning("reporting %d runs failed: %s", len(runs), error)
                await self._backoff.wait()
                runs = [run for run in runs if self._still_wanted(run)]
                continue
            self._backoff.reset()
            for run, answer in zip(runs, answers, strict=True):
                if answer is Answer.LOST:
                    _log.warning("the report on task %s came too late", run.lease.task)
                self._held.drop(run)
            return

    async def _settle_apart(self, runs: list[Run], error: InvalidInput) -> None:
        """The source refuses the burst for what it carries: find the culprit, and fail it with the reason."""
        if len(runs) > 1:
            half = len(runs) // 2
            await self._settle(runs[:half])
            await self._settle(runs[half:])
            return
        (run,) = runs
        report = _report(run)
        if report.error_type == error.code:
            _log.error("the report on task %s is refused: %s", run.lease.task, error)
            self._held.drop(run)
            return
        run.report = outcomes.refused(report, error.code, str(error))
        await self._settle(runs)

    def _still_wanted(self, run: Run) -> bool:
        if not self._held.holds(run):
            return False
        if self._held.lapsed(run):
            self._held.drop(run)
            return False
        return True


def _report(run: Run) -> Report:
    assert run.report is not None
    return run.report
