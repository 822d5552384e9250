"""The only background loop: calls a service's tick, sleeps as long as it says, survives its errors."""

import asyncio
import logging
from typing import Protocol

from mainspring.errors import MainspringError, StoreError
from mainspring.ports import Clock

AFTER_ERROR_S = 1.0

_log = logging.getLogger(__name__)


class Service(Protocol):
    name: str

    async def tick(self) -> float:
        """One pass. Returns after how many seconds the next is due; 0 if there is more to do now."""
        ...


class ServiceLoop:
    """Runs one service until it is stopped."""

    def __init__(self, service: Service, clock: Clock) -> None:
        self.name = service.name
        self._service = service
        self._clock = clock
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=self._service.name)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def wake(self) -> None:
        """There may be something to do before the time the service named."""
        self._woken.set()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            delay_s = await self._tick()
            # Nodes started together must not ask the store in step for ever.
            delay_s *= 1.0 + self._clock.random.random() / 10
            try:
                async with asyncio.timeout(delay_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _tick(self) -> float:
        try:
            return await self._service.tick()
        except StoreError as error:
            _log.warning(
                "%s: the store failed, next try in %g s: %s", self._service.name, AFTER_ERROR_S, error
            )
        except MainspringError:
            _log.exception("%s failed", self._service.name)
        except Exception as error:
            # A bug. If it ended the service, nobody would know until nothing is reaped or fired any more.
            failure = {"message": f"{self.name} failed", "exception": error, "task": self._task}
            asyncio.get_running_loop().call_exception_handler(failure)
        return AFTER_ERROR_S
