"""A supervisor's runners: one that is shared and always there, and lone ones as they are needed."""

import asyncio
import logging
import os
from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol

from mainspring.core.lifecycle import Report
from mainspring.errors import InvalidInput
from mainspring.ports import Clock
from mainspring.worker.allowed import Allowed
from mainspring.worker.backoff import Backoff
from mainspring.worker.frames import Asked, Hello, Kind, Recorded
from mainspring.worker.runners import Placed, RunnerProcess
from mainspring.worker.warden import Warden

PLACES_AHEAD = 1_000
HELLO_S = 60.0
IDLE_S = 60.0
SPAWNS_AT_ONCE = max(2, os.cpu_count() or 1)
_log = logging.getLogger("mainspring.worker")


class RunnerSpec(NamedTuple):
    """What a runner loads."""

    app: str
    allowed: Allowed
    log_level: str


class Owner(Protocol):
    """The engine whose runs the runners have."""

    def serve(self) -> None:
        """A runner can take work."""
        ...

    def up(self) -> None:
        """The shared runner has come up, for the first time or after its predecessor died."""
        ...

    def ended(self, placed: Placed, report: Report | None) -> None: ...

    def recorded(self, placed: Placed, message: Recorded) -> None: ...

    def asked(self, placed: Placed, message: Asked) -> None: ...

    def died(self, runner: RunnerProcess) -> None: ...

    def failed(self, error: BaseException) -> None:
        """The fleet cannot go on."""
        ...


class Fleet:
    """Starts runners, hears who died, starts others. `shared` is `None` while there is none that takes
    work."""

    def __init__(self, owner: Owner, spec: RunnerSpec, clock: Clock) -> None:
        self.shared: RunnerProcess | None = None
        self.kinds: dict[str, Kind] = {}
        self._owner = owner
        self._spec = spec
        self._now_s = clock.monotonic
        self._backoff, self._lone_backoff = Backoff(clock), Backoff(clock)
        self._runners: set[RunnerProcess] = set()
        self._idle: list[RunnerProcess] = []
        self._starting = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._warden: Warden | None = None
        self._slots = 0

    async def open(self, slots: int) -> None:
        """Returns when the shared runner takes work. Raises `InvalidInput` if it cannot load its handlers."""
        self._slots = slots
        self._warden = await asyncio.to_thread(Warden.start)
        loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._spawn_task(self._keep_shared(loaded))
        await loaded
        if any(kind.isolated for kind in self.kinds.values()):
            self.provide(1)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(runner.close() for runner in self._runners))
        if self._warden is not None:
            await asyncio.to_thread(self._warden.close)

    # --- the shared runner ----------------------------------------------------------------------

    async def _keep_shared(self, loaded: "asyncio.Future[None]") -> None:
        """Start it again whenever it dies; runs until cancelled."""
        while True:
            runner = await self._start(self._slots, alone=False)
            if runner.ready:
                self.shared = runner
                if not loaded.done():
                    loaded.set_result(None)
                self._owner.up()
                await runner.dead.wait()
            if not loaded.done():
                loaded.set_exception(InvalidInput("app", f"cannot be loaded: {runner.why_not()}"))
                return
            if runner.served:
                # It came up and died of its work, however quickly: the next one need not wait.
                self._backoff.reset()
            else:
                _log.error("the shared runner does not come up: %s", runner.why_not())
                await self._backoff.wait()

    # --- lone runners ---------------------------------------------------------------------------

    @property
    def busy(self) -> int:
        """How many lone runners have a run."""
        return sum(runner.alone and bool(runner.placed) for runner in self._runners)

    def take_idle(self) -> RunnerProcess | None:
        return self._idle.pop() if self._idle else None

    def provide(self, wanted: int) -> None:
        """Let there soon be so many lone runners without a run."""
        missing = min(wanted - len(self._idle), SPAWNS_AT_ONCE) - self._starting
        for _ in range(missing):
            self._starting += 1
            self._spawn_task(self._start_lone())

    async def _start_lone(self) -> None:
        try:
            runner = await self._start(1, alone=True)
            if runner.ready:
                self._lone_backoff.reset()  # its greeting has made it idle already
            else:
                _log.error("a runner does not come up: %s", runner.why_not())
                await self._lone_backoff.wait()
        finally:
            self._starting -= 1
        self._owner.serve()

    def _rest(self, runner: RunnerProcess) -> None:
        runner.idle_since_s = self._now_s()
        self._idle.append(runner)
        asyncio.get_running_loop().call_later(IDLE_S, self._retire)

    def _retire(self) -> None:
        """End lone runners that nobody has needed for a while; the longest idle stand first."""
        while self._idle and self._now_s() - self._idle[0].idle_since_s >= IDLE_S:
            self._idle.pop(0).kill()

    # --- what runners tell ----------------------------------------------------------------------

    def greeted(self, hello: Hello) -> None:
        self.kinds = {kind.kind: kind for kind in hello.kinds}

    def ended(self, placed: Placed, report: Report | None) -> None:
        self._owner.ended(placed, report)

    def recorded(self, placed: Placed, message: Recorded) -> None:
        self._owner.recorded(placed, message)

    def asked(self, placed: Placed, message: Asked) -> None:
        self._owner.asked(placed, message)

    def heard(self, runner: RunnerProcess) -> None:
        if runner.alone and runner.ready and not runner.placed and runner not in self._idle:
            self._rest(runner)
        self._owner.serve()

    def died(self, runner: RunnerProcess) -> None:
        self._runners.discard(runner)
        if runner is self.shared:
            self.shared = None
        if runner in self._idle:
            self._idle.remove(runner)
        self._owner.died(runner)

    # --- starting -------------------------------------------------------------------------------

    async def _start(self, slots: int, alone: bool) -> RunnerProcess:
        """A new runner, when it is ready, or dead."""
        assert self._warden is not None
        places = 1 if alone else self._slots + PLACES_AHEAD
        runner = RunnerProcess(self, self._warden, slots, places, alone)
        self._runners.add(runner)
        try:
            await runner.spawn(self._spec)
            async with asyncio.timeout(HELLO_S):
                await runner.settled.wait()
        except TimeoutError:
            runner.kill()
            await runner.dead.wait()
        except OSError as error:
            runner.broken = str(error)
            self._runners.discard(runner)
            await runner.close()
        return runner

    def _spawn_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._owner.failed(error)
