"""The composition root: settings in, a running node out.

    Node ─┬─ store       what the settings name
          ├─ scheduler   over the store
          ├─ services    promoter, reaper, resolver; a node that campaigns: firer, pruner, auditor, too;
          │              another: lookout
          ├─ worker      if the node works: in the engine that it is given
          └─ door        the HTTP server, if the node serves

Parts are started from the bottom up and stopped from the top down, so that nobody calls what is gone.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainspring import __version__
from mainspring.clock import SystemClock
from mainspring.config import Settings
from mainspring.core.model import SECOND_US
from mainspring.election.store import StoreElector
from mainspring.errors import StoreError
from mainspring.node.opening import open_named, store_of
from mainspring.ports import Clock, Retention, Store
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.services import (
    Auditor,
    Campaigner,
    Firer,
    Lookout,
    Promoter,
    Pruner,
    Reaper,
    Resolver,
    Service,
    ServiceLoop,
)
from mainspring.telemetry import Metrics
from mainspring.worker import Engine, Worker, WorkerSettings

if TYPE_CHECKING:
    from mainspring.node.door import Door


class Node:
    """One process of a deployment, as an async context manager.

    `serve` opens the HTTP door on `settings.listen`; `engine` gives it a worker that runs tasks in it. A node
    that does not campaign never leads: due tasks, lapsed leases and open dependencies are its work as they
    are every node's, but schedules, retention and audits are left to others.

    Entering raises what the store raises, and `InvalidInput` for settings that cannot hold.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        serve: bool = True,
        engine: Engine | None = None,
        campaigns: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.node_id = settings.node_id or f"{socket.gethostname()}-{os.getpid()}"
        self.metrics = Metrics()
        self.store: Store = store_of(settings, self.clock)
        self.elector = StoreElector(self.store, self.clock, self.node_id)
        self.scheduler = Scheduler(
            self.store,
            self.clock,
            SchedulerSettings(node_id=self.node_id, lease_s=settings.lease_s),
            self.elector,
            self.metrics,
        )
        self.worker = self._make_worker(engine) if engine is not None else None
        self._work: asyncio.Task[None] | None = None
        self._serves = serve
        self._campaigns = campaigns
        self._door: Door | None = None
        self._services: list[ServiceLoop] = []
        self._exit = contextlib.AsyncExitStack()

    @property
    def address(self) -> tuple[str, int]:
        """Where the HTTP door really listens: the port is known even if the settings left it open."""
        if self._door is None:
            raise RuntimeError("this node does not serve")
        return self._door.address

    async def __aenter__(self) -> "Node":
        async with contextlib.AsyncExitStack() as starting:
            await open_named(self.store, self.settings)
            starting.push_async_callback(self.store.close)
            await self.scheduler.start()
            starting.push_async_callback(self.scheduler.close)
            self._start_services()
            starting.push_async_callback(self._stop_services)
            if self._serves:
                self._door = self._make_door()
                await self._door.open()
                starting.push_async_callback(self._door.close)
            if self.worker is not None:
                self._work = asyncio.create_task(self.worker.run(), name="worker")
                starting.push_async_callback(self._stop_worker, self._work)
            self._exit = starting.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def worked(self) -> None:
        """Returns when the node's worker has been drained. Raises what it had to give up for."""
        if self._work is None:
            raise RuntimeError("this node does not work")
        await asyncio.shield(self._work)

    # --- parts ----------------------------------------------------------------------------------

    def _make_worker(self, engine: Engine) -> Worker:
        settings = self.settings
        return Worker(
            self.scheduler,
            engine,
            self.clock,
            WorkerSettings(
                worker=settings.worker_id or f"{self.node_id}-worker",
                node=self.node_id,
                queues=settings.queues,
                slots=settings.concurrency,
                drain_grace_s=settings.grace_s,
                version=__version__,
            ),
        )

    def _make_door(self) -> "Door":
        """Its libraries are loaded by nodes that serve: an application that embeds a scheduler does not."""
        from mainspring.node.door import Door

        role = "server" if self.worker is None else "standalone"
        return Door(self.settings, self.scheduler, self.clock, self.metrics, role)

    async def _stop_worker(self, work: asyncio.Task[None]) -> None:
        """Let running tasks finish within the grace; what is left goes back uncounted."""
        if self.worker is not None:
            self.worker.drain()
        await asyncio.gather(work, return_exceptions=True)

    def _start_services(self) -> None:
        others = self._services_of_leaders() if self._campaigns else (Lookout(self.store),)
        services = [*self._services_of_all(), *others]
        self._services = [ServiceLoop(service, self.clock) for service in services]
        for loop in self._services:
            loop.start()
        self.scheduler.on_hint = self._wake_services

    def _services_of_all(self) -> Sequence[Service]:
        """What every node does by itself: however many do it, rows are taken by guard."""
        return (
            Promoter(self.store, self.scheduler),
            Reaper(self.store, self.scheduler),
            Resolver(self.store, self.scheduler),
        )

    def _services_of_leaders(self) -> Sequence[Service]:
        keep = self.settings
        retention = Retention(
            succeeded_us=int(keep.keep_succeeded_s * SECOND_US),
            failed_us=int(keep.keep_failed_s * SECOND_US),
            cancelled_us=int(keep.keep_cancelled_s * SECOND_US),
        )
        return (
            Campaigner(self.elector),
            Firer(self.store, self.scheduler, self.elector, self.clock, self.metrics),
            Pruner(self.store, self.elector, retention),
            Auditor(self.store, self.elector, self.clock, self.metrics),
        )

    async def _stop_services(self) -> None:
        await asyncio.gather(*(loop.stop() for loop in self._services))
        with contextlib.suppress(StoreError):
            # A store that is away must not make a failure of an orderly stop: the term runs out by itself.
            await self.elector.resign()

    def _wake_services(self) -> None:
        """Something changed elsewhere or by hand: there may be tasks to promote, children to resolve or
        schedules to fire."""
        for loop in self._services:
            if loop.name in ("promoter", "resolver", "firer"):
                loop.wake()
