"""A runner: the child process in which user code runs. Started as `python -m mainspring.worker.runner`.

It loads the application, says which kinds it has, and runs what it is sent in an engine of its own. It never
talks to a source, and ends when its supervisor does. Timeouts are asked for here, cooperatively; whoever does
not listen is ended from outside, together with this process.
"""

import asyncio
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from math import inf
from typing import Any

import msgspec

from mainspring.clock import SystemClock
from mainspring.errors import MainspringError
from mainspring.ports import Append, Recall
from mainspring.sdk.handlers import Registry
from mainspring.telemetry import configure_logging
from mainspring.worker import runs
from mainspring.worker.board import Board, BoardedRun
from mainspring.worker.frames import (
    Asked,
    Broken,
    Channel,
    Ended,
    Hello,
    Kind,
    Limit,
    Message,
    Noted,
    Recorded,
    RunnerOptions,
    Start,
    Stop,
    Told,
    pack_report,
    unpack_error,
    unpack_lease,
)
from mainspring.worker.inprocess import InProcessEngine
from mainspring.worker.kinds import allowed_kinds, handlers_of
from mainspring.worker.loading import load_app
from mainspring.worker.recording import lease_lost
from mainspring.worker.runs import Reason
from mainspring.worker.warden import Warden

BROKEN_EXIT = 3
_log = logging.getLogger("mainspring.runner")


class Runner:
    """Between the channel to the supervisor and the engine that runs the handlers."""

    def __init__(self, options: RunnerOptions, registry: Registry) -> None:
        # An engine with endless patience: who does not stop in time is for the supervisor to end.
        self._engine = InProcessEngine(registry, SystemClock(), grace_s=inf)
        self._registry = registry
        self._options = options
        self._board = Board(options.board_fd, options.places)
        self._runs: dict[int, BoardedRun] = {}
        self._places: dict[tuple[str, int], int] = {}
        self._expected: dict[int, Callable[[Any], None]] = {}
        self._numbers = 0
        self._over = asyncio.Event()

    async def serve(self) -> None:
        """Until the supervisor is gone."""
        options = self._options
        await self._engine.open(self, options.slots)
        self._channel = Channel(options.read_fd, options.write_fd, self._heard, self._over.set)
        kinds = [Kind(h.kind, h.isolation == "process", h.timeout_s) for h in self._registry]
        self._channel.send(Hello(kinds))
        await self._over.wait()

    def ready(self) -> None:
        """An engine in this very process is always ready."""

    def ended(self) -> None:
        asyncio.get_running_loop().call_soon(self._send_ended)

    def append(self, line: Append, noted: runs.Noted | None = None) -> None:
        place = self._places.get((line.task, line.token))
        if place is not None:
            number = 0 if noted is None else self._expect(noted)
            self._channel.send(Recorded(place, number, line.checkpoint, line.progress, line.steps, line.log))
        elif noted is not None:
            noted(lease_lost(line.task))

    def recall(self, line: Recall, heard: runs.Heard) -> None:
        place = self._places.get((line.task, line.token))
        if place is not None:
            self._channel.send(Asked(place, self._expect(heard), line.steps, line.parents))
        else:
            heard(lease_lost(line.task))

    def _expect(self, call: Callable[[Any], None]) -> int:
        self._numbers += 1
        self._expected[self._numbers] = call
        return self._numbers

    def failed(self, error: BaseException) -> None:
        raise error

    def _send_ended(self) -> None:
        runs, self._engine.finished = self._engine.finished, []
        for run in runs:
            assert isinstance(run, BoardedRun)
            del self._runs[run.place], self._places[run.lease.task, run.lease.token]
            self._channel.send(Ended(run.place, pack_report(run.report)))

    def _heard(self, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, Start):
                self._start(message)
            elif isinstance(message, Stop):
                if (run := self._runs.get(message.place)) is not None:
                    self._engine.stop(run, Reason(message.reason))
            elif isinstance(message, Limit):
                self._engine.limit(message.slots)
            elif isinstance(message, Noted):
                self._expected.pop(message.number)(unpack_error(message.code, message.detail))
            elif isinstance(message, Told):
                answer = message.answer or unpack_error(message.code, message.detail)
                self._expected.pop(message.number)(answer)

    def _start(self, message: Start) -> None:
        runs: list[BoardedRun] = []
        for row in message.rows:
            run = BoardedRun(unpack_lease(row), row[1])
            run.board, run.place = self._board, row[0]
            self._runs[run.place] = run
            self._places[run.lease.task, run.lease.token] = run.place
            runs.append(run)
        self._engine.start(runs)


async def _run(options: RunnerOptions) -> None:
    try:
        registry = handlers_of(
            load_app(options.app) if options.app else None,
            allowed_kinds(options.allowed, SystemClock(), Warden(options.word_fd)),
        )
    except BaseException as error:
        detail = error.detail if isinstance(error, MainspringError) else traceback.format_exc(limit=-5)
        broken = asyncio.Event()
        channel = Channel(options.read_fd, options.write_fd, lambda messages: None, broken.set)
        channel.send(Broken(detail))
        channel.flush()
        await broken.wait()  # the supervisor has read it, and hangs up
        sys.exit(BROKEN_EXIT)
    await Runner(options, registry).serve()


def main() -> None:
    options = msgspec.json.decode(sys.argv[1], type=RunnerOptions)
    for number in (signal.SIGTERM, signal.SIGINT):
        # Service managers send these to every process there is. What becomes of the runs is for the
        # supervisor to say, which got it too. No SIG_IGN, which user code's own children would inherit.
        signal.signal(number, lambda *_: None)
    configure_logging(options.log_level)
    asyncio.run(_run(options))
    # The supervisor is gone: whatever still runs is nobody's. Threads could hold up a polite exit.
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
