"""Servers and workers: the real parts, on simulated hosts, over one store.

    server   Scheduler + StoreElector + every service, as a node runs them; sometimes with a worker inside
    worker   Worker + InProcessEngine, over the network

Each can crash, be frozen, be stopped in good order, and start again as a new process.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from mainspring.core.model import SECOND_US
from mainspring.errors import StoreError
from mainspring.ports import Retention, TaskSource
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.services import (
    Auditor,
    Campaigner,
    Firer,
    Promoter,
    Pruner,
    Reaper,
    Resolver,
    Service,
    ServiceLoop,
)
from mainspring.telemetry import SILENT
from mainspring.testing.electing import Everybody, WatchedElector
from mainspring.testing.handlers import Stage, registry
from mainspring.testing.loop import OUTSIDE, Host, VirtualLoop
from mainspring.testing.network import Network, RemoteSource
from mainspring.testing.record import Phase, Record
from mainspring.testing.storeline import StoreLine
from mainspring.testing.watched import WatchedStore
from mainspring.testing.weather import CHANCES, Weather
from mainspring.worker import InProcessEngine, Worker, WorkerSettings

GRACE_S = 1.0
RETENTION = Retention(succeeded_us=8 * SECOND_US, failed_us=None, cancelled_us=20 * SECOND_US)


class Shape(msgspec.Struct, frozen=True):
    """How a cluster looks. `embedded` says that the first server has a worker inside. A worker that is told
    to stop lets its tasks go on for `drain_s`, and those that are told to stop for `grace_s`."""

    servers: int
    workers: int
    slots: int
    lease_s: float
    embedded: bool
    hints: bool
    retention: Retention = RETENTION
    drain_s: float = 1.5
    grace_s: float = GRACE_S
    elects: bool = True


class World:
    """What all parts of a simulation share."""

    def __init__(
        self,
        seed: int,
        loop: VirtualLoop | None = None,
        record: Record | None = None,
        chances: Mapping[str, float] = CHANCES,
        store_class: type[WatchedStore] = WatchedStore,
    ) -> None:
        self.loop = loop or VirtualLoop()
        self.record = record or Record()
        self.dice = Host(self.loop, "dice", seed)
        self.weather = Weather(self.loop, self.record, self.dice.clock, chances)
        self.network = Network(self.loop, self.weather)
        self.store_host = Host(self.loop, "store", seed + 1)
        self.store = store_class(self.store_host.clock, self.loop, self.record)
        self.stage = Stage(self.loop, self.record)
        self.lines: list[StoreLine] = []
        self.closing = False
        self._hosts = 0
        self._seed = seed
        # Half of the seeds have a store that takes two exchanges of a node at a time.
        self.flights = 1 + seed % 2

    def new_host(self, name: str) -> Host:
        self._hosts += 1
        return Host(self.loop, name, self._seed * 1_000 + self._hosts)

    def start_later(self, start: Callable[[], None]) -> None:
        """Whoever died is started again by its machine, after a while."""
        if not self.closing:
            delay_s = 0.2 + 2.0 * self.dice.clock.random.random()
            self.loop.call_later(delay_s, self._start, start, context=OUTSIDE)

    def _start(self, start: Callable[[], None]) -> None:
        if not self.closing:
            start()


class Server:
    """One node that serves. `host` is its present process, or the last one."""

    def __init__(self, world: World, name: str, shape: Shape) -> None:
        self.name = name
        self.offset_us = 0
        self.host = world.new_host(name)
        self.host.alive = False
        self.scheduler: Scheduler
        self.worker: WorkerNode | None = None
        self.stopping = False
        self.stays_down = False
        self._world = world
        self._shape = shape
        self._loops: list[ServiceLoop] = []
        self._elector: WatchedElector | Everybody = Everybody(name)

    @property
    def source(self) -> TaskSource:
        return self.scheduler

    @property
    def leads(self) -> bool:
        """Whether its present process takes itself for the leader."""
        return self.host.alive and self._elector.leads()

    def start(self) -> None:
        """Begin as a new process."""
        world = self._world
        self.stopping = False
        self.host = host = world.new_host(self.name)
        host.clock.offset_us = self.offset_us
        host.run(self._assemble)
        host.on_kill.append(lambda: world.start_later(self._start_again))
        host.spawn(self._run())

    def _start_again(self) -> None:
        if not self.stays_down:
            self.start()

    def _assemble(self) -> None:
        world, host = self._world, self.host
        neighbours = world.lines if self._shape.hints else []
        line = StoreLine(world.store, host, world.loop, world.weather, neighbours, world.flights)
        world.lines.append(line)
        host.on_kill.append(lambda: world.lines.remove(line))
        if self._shape.elects:
            self._elector = WatchedElector(line, host.clock, self.name, world.record)
        settings = SchedulerSettings(node_id=self.name, lease_s=self._shape.lease_s)
        self.scheduler = Scheduler(line, host.clock, settings, self._elector)
        self._loops = [ServiceLoop(service, host.clock) for service in self._services(line)]
        self.scheduler.on_hint = self._wake_services

    def _services(self, line: StoreLine) -> list[Service]:
        scheduler, elector, clock = self.scheduler, self._elector, self.host.clock
        elects = self._shape.elects
        return [
            *([Campaigner(elector)] if elects else []),
            Promoter(line, scheduler),
            Reaper(line, scheduler),
            Resolver(line, scheduler),
            Firer(line, scheduler, elector if elects else None, clock),
            Pruner(line, elector, self._shape.retention),
            Auditor(line, elector, clock, SILENT),
        ]

    async def _run(self) -> None:
        await self.scheduler.start()
        for loop in self._loops:
            loop.start()
        if self.worker is not None:
            self.worker.start()

    def _wake_services(self) -> None:
        for loop in self._loops:
            if loop.name in ("promoter", "resolver", "firer"):
                loop.wake()

    def sweep_now(self, service: str) -> None:
        """Sweeps are due once a minute or so; a simulation is shorter than that."""
        for loop in self._loops:
            if loop.name == service:
                self._world.loop.call_soon(loop.wake, context=self.host.context())

    async def stop(self) -> None:
        """In good order, as on SIGTERM."""
        host = self.host
        self.stopping = True
        if self.worker is not None:
            await self.worker.drained()
        for loop in self._loops:
            await loop.stop()
        with contextlib.suppress(StoreError):
            await self._elector.resign()
        await self.scheduler.close()
        host.kill()


class WorkerNode:
    """One worker, over the network or, with `inside`, in a server's process."""

    def __init__(
        self,
        world: World,
        name: str,
        shape: Shape,
        servers: Callable[[], Sequence[Server]],
        inside: Server | None = None,
    ) -> None:
        self.name = name
        self.offset_us = 0
        self.host = world.new_host(name)
        self.host.alive = False
        self.worker: Worker
        self.lives_inside = inside is not None
        self.lease_s = shape.lease_s
        self._world = world
        self._shape = shape
        self._servers = servers
        self._inside = inside
        self._over: asyncio.Future[None]

    def start(self) -> None:
        """Begin a new incarnation, in a process of its own unless it lives inside a server."""
        world, inside = self._world, self._inside
        host = world.new_host(self.name) if inside is None else inside.host
        host.clock.offset_us = self.offset_us if inside is None else inside.offset_us
        self.host = host
        host.on_kill.append(lambda: world.record.add(Phase(world.loop.now_s, "gone", self.name)))
        if inside is None:
            host.on_kill.append(lambda: world.start_later(self.start))
        self.worker = worker = host.run(self._assemble)
        self._over = world.loop.create_future()
        host.spawn(self._run(worker, self._over, host))

    def _assemble(self) -> Worker:
        world, host = self._world, self.host
        network = None if self.lives_inside else world.network
        source = RemoteSource(
            self.name, host, lambda: self.worker.incarnation, self._servers, network, world.loop, world.record
        )
        shape = self._shape
        settings = WorkerSettings(
            worker=self.name, node=host.name, slots=shape.slots, wait_s=2.0, drain_grace_s=shape.drain_s
        )
        return Worker(source, self.engine(shape.grace_s), host.clock, settings)

    def engine(self, grace_s: float) -> InProcessEngine:
        """What runs the tasks of this incarnation."""
        host = self.host
        return InProcessEngine(registry(self._world.stage, self, host), host.clock, grace_s)

    async def _run(self, worker: Worker, over: asyncio.Future[None], host: Host) -> None:
        try:
            await worker.run()
        finally:
            over.set_result(None)
            self._world.stage.left(worker.incarnation)
            if self._inside is None:
                host.kill()
            elif not self._inside.stopping:
                self._world.start_later(lambda: self._start_inside(host))

    def _start_inside(self, host: Host) -> None:
        """Again in the same process, unless that died or stops: the server's next life starts its worker."""
        inside = self._inside
        if inside is not None and inside.host is host and host.alive and not inside.stopping:
            self.start()

    @property
    def incarnation(self) -> str:
        return self.worker.incarnation

    def drain(self, *, halt: bool = False) -> None:
        """A SIGTERM, or with `halt` a second one."""
        stop = self.worker.halt if halt else self.worker.drain
        self._world.loop.call_soon(stop, context=self.host.context())

    def drained(self) -> Awaitable[None]:
        self.drain()
        return asyncio.shield(self._over)
