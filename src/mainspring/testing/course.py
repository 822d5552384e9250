"""One seed: a cluster, a workload, a storm, then calm, in which everything must come to its end."""

import asyncio
import gc
import logging
from contextvars import Context

import msgspec

from mainspring.core.model import Lane, NewTask
from mainspring.election.store import TTL_S
from mainspring.ports import Group
from mainspring.services.doctor import examine
from mainspring.testing.checks.lines import CALM_COUNTS_AFTER_S
from mainspring.testing.client import Client
from mainspring.testing.flows import PAUSED
from mainspring.testing.loop import Stuck
from mainspring.testing.nodes import Server, Shape, WorkerNode, World
from mainspring.testing.record import Phase, Record
from mainspring.testing.storm import Storm, wrong_clock_us
from mainspring.testing.workload import RELIMITED, Deed, Workload

CALM_AT_MOST_S = 90.0
CLOSING_AT_MOST_S = 30.0
RECOUNTED_EVERY_S = 1.0
TASKS_AT_LEAST = 60
EVENTS_AT_MOST = 40_000
PROBES = 0.25
SWEEPS = 0.2


class Cluster:
    """All parts of one seed, and its course."""

    def __init__(self, seed: int, *, elects: bool = True) -> None:
        self.world = world = World(seed)
        self.shape = shape = _shape(world, elects)
        self.servers = [Server(world, f"server-{n + 1}", shape) for n in range(shape.servers)]
        self.workers = [
            WorkerNode(world, f"worker-{n + 1}", shape, lambda: self.servers) for n in range(shape.workers)
        ]
        if shape.embedded:
            first = self.servers[0]
            first.worker = WorkerNode(world, "worker-0", shape, lambda: [first], inside=first)
            self.workers.append(first.worker)
        self.client = Client(world, lambda: self.servers)
        self.client.host.clock.offset_us = wrong_clock_us(world.dice.clock)
        parts: list[Server | WorkerNode] = [*self.servers, *self.workers]
        for part in parts:
            part.offset_us = wrong_clock_us(world.dice.clock)
        self.workload = Workload(self.client, world.store_host.clock, world.store.write_row)
        self.storm = Storm(world, self.servers, self.workers)

    async def course(self) -> None:
        """The storm, the calm, the end."""
        world = self.world
        await world.store.open()
        for server in self.servers:
            server.start()
        for node in self.workers:
            if not node.lives_inside:
                node.start()
        recounting = world.loop.create_task(self._recount())
        self._enter("storm")
        world.weather.stormy = True
        await self._do_everything()
        world.weather.stormy = False
        self._enter("calm")
        await self._top_up()
        await self._settle()
        if world.dice.clock.random.random() < PROBES:
            await self._probe()
        recounting.cancel()
        world.store.recount()
        world.store.show_schedules()
        world.store.show_logs()
        await world.store.show_workflows()
        await examine(world.store)
        self._enter("closing")
        await self._close()
        self._enter("end", ", ".join(world.loop.crashes))

    def _enter(self, phase: str, detail: str = "") -> None:
        self.world.record.add(Phase(self.world.loop.now_s, phase, detail))

    async def _do_everything(self) -> None:
        loop = self.world.loop
        raging = loop.create_task(self.storm.rage())
        deeds: list[asyncio.Task[None]] = []

        async def begin(at_s: float, deed: Deed) -> None:
            await asyncio.sleep(at_s)
            await deed()

        for at_s, deed in self.workload.deeds:
            deeds.append(self.client.host.spawn(begin(at_s, deed)))
        await asyncio.gather(*deeds)
        self.storm.end()
        await raging

    async def _top_up(self) -> None:
        """Tasks that the storm kept from being submitted are made up for."""
        client, edges = self.client, self.world.record.edges
        made = sum(count for (old, _, _), count in edges.items() if old is None)
        for _ in range(TASKS_AT_LEAST - made):
            task = NewTask(client.new_id(), Lane("main", "plain", "", 5), b'{"do":"ok"}')
            await client.host.spawn(client.submit(Group([task])))

    async def _settle(self) -> None:
        """Nothing fails any more: wait until nothing is left to do."""
        world = self.world
        until_s = world.loop.now_s + CALM_AT_MOST_S
        for queue in ("held", PAUSED):
            await world.store.set_queue(queue, None)
        for name in RELIMITED:
            # What nobody could lift any more in the storm would make the calm a long one.
            await world.store.set_limit(name, None)
        while world.loop.now_s < until_s:
            await asyncio.sleep(0.5)
            # A cluster that is this busy without coming to its end runs in circles.
            busy = world.store.unfinished() or world.store.schedules_left()
            if not busy or len(world.record.events) > EVENTS_AT_MOST:
                return

    async def _probe(self) -> None:
        """In calm weather, kill the leader, then the worker of a running task: others take over in time."""
        world, client = self.world, self.client
        await asyncio.sleep(CALM_COUNTS_AFTER_S)
        for server in self.servers:
            if server.leads and len(self.servers) > 1:
                world.weather.blow("server.crash", server.name)
                server.stays_down = True
                server.host.kill()
                await asyncio.sleep(TTL_S + 4.0)
                server.stays_down = False
                server.start()
                break
        payload = msgspec.json.encode({"do": "long", "s": 2.0})
        task = NewTask(client.new_id(), Lane("main", "slow", "", 5), payload)
        await client.host.spawn(client.submit(Group([task])))
        node = await self._runner_of(task.id)
        world.weather.blow("worker.crash", node.name)
        node.host.kill()
        await self._settle()

    async def _runner_of(self, task: str) -> WorkerNode:
        """The worker of the task, once it has one."""
        for _ in range(100):
            await asyncio.sleep(0.1)
            for node in self.workers:
                if node.name == self.world.store.worker_of(task):
                    return node
        raise Stuck(f"nobody claims task {task} in calm weather")

    async def _recount(self) -> None:
        while True:
            await asyncio.sleep(RECOUNTED_EVERY_S)
            self.world.store.recount()
            for server in self.servers:
                for sweep in ("pruner", "auditor"):
                    if server.host.alive and self.world.weather.random.random() < SWEEPS:
                        server.sweep_now(sweep)

    async def _close(self) -> None:
        """Everything stops in good order."""
        world = self.world
        world.closing = True
        try:
            async with asyncio.timeout(CLOSING_AT_MOST_S):
                living = [node for node in self.workers if node.host.alive and not node.lives_inside]
                await asyncio.gather(*(node.drained() for node in living))
                open_servers = [server for server in self.servers if server.host.alive]
                await asyncio.gather(*(server.host.spawn(server.stop()) for server in open_servers))
        except TimeoutError:
            self._enter("closing", "not everything stopped")


def _shape(world: World, elects: bool) -> Shape:
    dice = world.dice.clock.random
    return Shape(
        servers=dice.choice((1, 2, 2, 3)),
        workers=dice.randint(2, 5),
        slots=dice.randint(2, 4),
        lease_s=dice.choice((1.5, 2.0, 3.0)),
        embedded=dice.random() < 0.3,
        hints=dice.random() < 0.5,
        elects=elects,
    )


class Outcome(msgspec.Struct):
    """What happened in a seed. `stuck` says why it did not come to its end."""

    seed: int
    record: Record
    virtual_s: float
    stuck: str = ""


def run_seed(seed: int, *, elects: bool = True) -> Outcome:
    """Run one seed to its end. The same seed gives the same record, byte for byte. Unless it `elects`, every
    server takes itself for the leader, at all times."""
    loud = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    # What dead hosts leave behind must not be collected in the middle: closing it would run its `finally`.
    gc.disable()
    cluster = Cluster(seed, elects=elects)
    loop = cluster.world.loop
    outcome = Outcome(seed, cluster.world.record, 0.0)
    try:
        Context().run(loop.run_until_complete, cluster.course())
    except Stuck as error:
        outcome.stuck = str(error)
    finally:
        outcome.virtual_s = loop.now_s
        loop.end()
        gc.enable()
        logging.disable(loud)
    return outcome
