"""The supervisor's side of one runner: the process, the channel, and the runs that are in its hands."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from math import inf
from typing import Protocol

import msgspec

from mainspring.core.lifecycle import Report
from mainspring.worker.allowed import Allowed
from mainspring.worker.board import Board
from mainspring.worker.frames import (
    Asked,
    Broken,
    Channel,
    Ended,
    Hello,
    Limit,
    Message,
    Noted,
    Recorded,
    RunnerOptions,
    Start,
    Stop,
    Told,
    pack_lease,
    unpack_report,
)
from mainspring.worker.runs import Phase, Reason, Run
from mainspring.worker.warden import Warden, end_group


class Placed:
    """A run in a runner's hands. `limit_s` is its timeout, `due_s` when patience with it ends."""

    watched = False

    def __init__(self, run: Run, runner: "RunnerProcess", place: int) -> None:
        self.run = run
        self.runner = runner
        self.place = place
        self.limit_s: float | None = None
        self.due_s = inf

    def look(self) -> None:
        """Bring the run up to date with what its runner has written, and the other way round."""
        run = self.run
        if run.phase is Phase.QUEUED:
            started_s, _ = self.runner.board.read(self.place)
            if started_s:
                run.phase, run.started_s = Phase.STARTED, started_s
            else:
                self.runner.board.write_until(self.place, run.until_s)


class Spec(Protocol):
    """What a runner loads."""

    @property
    def app(self) -> str: ...
    @property
    def allowed(self) -> Allowed: ...
    @property
    def log_level(self) -> str: ...


class Listener(Protocol):
    """What a runner's process tells whoever started it."""

    def greeted(self, hello: Hello) -> None: ...

    def ended(self, placed: Placed, report: Report | None) -> None: ...

    def recorded(self, placed: Placed, message: Recorded) -> None: ...

    def asked(self, placed: Placed, message: Asked) -> None: ...

    def heard(self, runner: "RunnerProcess") -> None:
        """All that came in one go has been told."""
        ...

    def died(self, runner: "RunnerProcess") -> None: ...


class RunnerProcess:
    """One child. `alone` says that it takes one run at a time."""

    def __init__(self, listener: Listener, warden: Warden, slots: int, places: int, alone: bool) -> None:
        self.slots = slots
        self.alone = alone
        self.placed: dict[int, Placed] = {}
        self.greeted = self.served = False
        self.settled, self.dead = asyncio.Event(), asyncio.Event()
        self.broken: str | None = None
        self.killed = False
        self.exit_status: int | None = None
        self.idle_since_s = 0.0
        self.board = Board.make(places)
        self._listener = listener
        self._warden = warden
        self._places = places
        self._free = list(range(places))
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._spawning: asyncio.Task[None] | None = None
        self._reaping: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether it takes work."""
        return self.greeted and not self.killed and not self.dead.is_set()

    async def spawn(self, spec: Spec) -> None:
        """Start the process. Raises `OSError` if the machine cannot.

        A spawn that was begun is always completed, though its caller may be cancelled: else there would be a
        process that nobody knows of.
        """
        self._spawning = asyncio.get_running_loop().create_task(self._spawn(spec))
        await asyncio.shield(self._spawning)

    async def _spawn(self, spec: Spec) -> None:
        down_read, down_write = os.pipe()
        up_read, up_write = os.pipe()
        options = RunnerOptions(
            read_fd=down_read,
            write_fd=up_write,
            board_fd=self.board.fd,
            word_fd=self._warden.word_fd,
            places=self._places,
            slots=self.slots,
            app=spec.app,
            allowed=spec.allowed,
            log_level=spec.log_level,
        )
        command = [sys.executable, "-m", "mainspring.worker.runner", msgspec.json.encode(options).decode()]
        inherited = (down_read, up_write, self.board.fd, self._warden.word_fd)
        try:
            # Its own group, so that what it leaves behind ends with it; a spawn blocks, hence the thread.
            self._process = await asyncio.to_thread(
                subprocess.Popen,
                command,
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(down_read)
            os.close(up_write)
        self._warden.add(self.pid, self.pid)
        self._channel = Channel(up_read, down_write, self._heard, self._closed)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    # --- sending --------------------------------------------------------------------------------

    def give(self, runs: Iterable[Run]) -> list[Placed]:
        """Send runs. There must be room for them on the board."""
        assert self._channel is not None
        given = []
        for run in runs:
            place = self._free.pop()
            self.board.clear(place, run.until_s)
            placed = self.placed[place] = Placed(run, self, place)
            given.append(placed)
        self.served = True
        self._channel.send(Start([pack_lease(p.place, p.run.asked_s, p.run.lease) for p in given]))
        return given

    @property
    def room(self) -> int:
        return len(self._free)

    def stop(self, placed: Placed, reason: Reason) -> None:
        assert self._channel is not None
        self._channel.send(Stop(placed.place, reason))

    def answer(self, message: Noted | Told) -> None:
        """What the runner wanted to know. A runner that has died meanwhile does not hear it."""
        if self._channel is not None:
            self._channel.send(message)

    def limit(self, slots: int) -> None:
        assert self._channel is not None
        if slots != self.slots:
            self.slots = slots
            self._channel.send(Limit(slots))

    # --- hearing --------------------------------------------------------------------------------

    def _heard(self, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, Ended):
                placed = self.placed.pop(message.place)
                self._free.append(message.place)
                placed.look()
                self._listener.ended(placed, unpack_report(message.report))
            elif isinstance(message, Recorded):
                self._listener.recorded(self.placed[message.place], message)
            elif isinstance(message, Asked):
                self._listener.asked(self.placed[message.place], message)
            elif isinstance(message, Hello):
                self.greeted = True
                self._listener.greeted(message)
                self.settled.set()
            elif isinstance(message, Broken):
                self.broken = message.message
                self.kill()
        self._listener.heard(self)

    # --- ending ---------------------------------------------------------------------------------

    def kill(self) -> None:
        """End the process and its group by force. `died` follows."""
        self.killed = True
        if self.exit_status is None:
            end_group(self.pid)

    def _closed(self) -> None:
        if self._reaping is None:
            self._reaping = asyncio.get_running_loop().create_task(self._reap())

    async def _reap(self) -> None:
        """The channel is at its end: the process is dead, or as good as."""
        assert self._process is not None
        self._warden.end(self.pid)
        end_group(self.pid)
        self.exit_status = await asyncio.to_thread(self._process.wait)
        for placed in self.placed.values():
            placed.look()
        self.board.close()
        self._listener.died(self)
        self.dead.set()
        self.settled.set()

    async def close(self) -> None:
        """End the process, whatever it does; returns when it is gone."""
        if self._spawning is not None:
            await asyncio.wait([self._spawning])
        if self._process is None:
            self.board.close()
            return
        self.kill()
        if self._channel is not None:
            self._channel.close()
        self._closed()
        assert self._reaping is not None
        await self._reaping

    def why_not(self) -> str:
        """Why the runner takes no work."""
        return self.broken or self.obituary()

    def obituary(self) -> str:
        """How the process ended, for an error's text."""
        status = self.exit_status
        if status is None or status >= 0:
            return f"the process that ran the task ended with exit code {status}"
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return f"the process that ran the task was ended by {name}"
