"""What goes wrong on purpose: hosts die, freeze and wake, lines are cut, clocks step, writes are lost.

Blows come one after another until the workload is through and there were enough faults; then it is calm.
"""

import asyncio
from collections.abc import Sequence

from mainspring.core.model import SECOND_US
from mainspring.election.store import TTL_S
from mainspring.testing.loop import Host, HostClock
from mainspring.testing.nodes import Server, WorkerNode, World
from mainspring.testing.record import Phase
from mainspring.testing.weather import BLOWS

HOUR_US = 3600 * SECOND_US
FAULTS_AT_LEAST = 50
APART_S = 0.55
RENEWED_WITHIN_S = 2.5


def wrong_clock_us(dice: HostClock) -> int:
    """By how much a node's wall clock is wrong: often not at all, else by up to five hours."""
    return dice.random.choice((0, dice.random.randint(-5 * HOUR_US, 5 * HOUR_US)))


class Storm:
    """Strikes the cluster until it is told to end."""

    def __init__(self, world: World, servers: Sequence[Server], workers: Sequence[WorkerNode]) -> None:
        self._world = world
        self._servers = servers
        self._workers = workers
        self._dice = world.dice.clock.random
        self._over = False
        self._under_way: list[asyncio.Task[None]] = []

    async def rage(self) -> None:
        """Blow after blow; returns when `end` was called and every blow has passed."""
        names, weights = list(BLOWS), list(BLOWS.values())
        faults = self._world.record.faults
        while not (self._over and faults.total() >= FAULTS_AT_LEAST):
            await asyncio.sleep(self._dice.expovariate(1.0 / APART_S))
            (point,) = self._dice.choices(names, weights)
            self._under_way.append(self._world.loop.create_task(self.strike(point)))
        await asyncio.gather(*self._under_way)

    def end(self) -> None:
        self._over = True

    async def strike(self, point: str) -> None:
        """One blow; returns when it has passed."""
        await getattr(self, "_" + point.replace(".", "_"))(point)

    # --- workers --------------------------------------------------------------------------------

    def _pick(self, alone: bool = True) -> WorkerNode | None:
        """A worker that lives; with `alone`, one that has its process for itself."""
        living = [node for node in self._workers if node.host.alive and not node.host.frozen]
        if alone:
            living = [node for node in living if not node.lives_inside]
        return self._dice.choice(living) if living else None

    async def _worker_crash(self, point: str) -> None:
        node = self._pick()
        if node is not None:
            self._world.weather.blow(point, node.name)
            node.host.kill()

    async def _worker_pause(self, point: str) -> None:
        node = self._pick()
        if node is not None:
            self._world.weather.blow(point, node.name)
            await self._freeze(node.host, node.lease_s * (0.2 + 1.8 * self._dice.random()))

    async def _worker_drain(self, point: str) -> None:
        node = self._pick(alone=False)
        if node is not None:
            self._world.weather.blow(point, node.name)
            node.drain()

    async def _worker_halt(self, point: str) -> None:
        node = self._pick(alone=False)
        if node is not None:
            self._world.weather.blow(point, node.name)
            node.drain(halt=True)

    # --- servers --------------------------------------------------------------------------------

    def _pick_server(self) -> Server | None:
        living = [server for server in self._servers if server.host.alive and not server.host.frozen]
        return self._dice.choice(living) if living else None

    async def _server_crash(self, point: str) -> None:
        server = self._pick_server()
        if server is not None:
            self._world.weather.blow(point, server.name)
            server.host.kill()

    async def _server_pause(self, point: str) -> None:
        server = self._pick_server()
        if server is not None:
            self._world.weather.blow(point, server.name)
            await self._freeze(server.host, 0.3 + 7 * self._dice.random() ** 2)

    async def _server_stop(self, point: str) -> None:
        server = self._pick_server()
        if server is not None and not server.stopping:
            self._world.weather.blow(point, server.name)
            server.host.spawn(server.stop())

    async def _leader_cut_off(self, point: str) -> None:
        """The answer to the leader's next renewal comes late, and none after it: its line to the store is
        cut for longer than its term lasts."""
        weather = self._world.weather
        for server in self._servers:
            name = server.name
            if server.leads and not weather.is_cut(name, "store") and name not in weather.late_answers_s:
                weather.late_answers_s[name] = 0.5 + 2.0 * self._dice.random()
                await asyncio.sleep(RENEWED_WITHIN_S)
                if weather.late_answers_s.pop(name, None) is None:
                    weather.blow(point, name)
                    await asyncio.sleep(TTL_S + self._dice.random())
                    weather.mend(name, "store")
                return

    async def _freeze(self, host: Host, duration_s: float) -> None:
        host.freeze()
        await asyncio.sleep(duration_s)
        host.thaw()
        self._world.record.add(Phase(self._world.loop.now_s, "woke", host.name))
        for node in self._workers:
            if node.lives_inside and node.host is host:
                self._world.record.add(Phase(self._world.loop.now_s, "woke", node.name))

    # --- between them ---------------------------------------------------------------------------

    async def _net_partition(self, point: str) -> None:
        """One worker, or the clients, cannot reach one server, or any."""
        weather = self._world.weather
        who = self._dice.choice([node.name for node in self._workers] + ["client"])
        servers = [server.name for server in self._servers]
        unreachable = servers if self._dice.random() < 0.5 else [self._dice.choice(servers)]
        weather.blow(point, f"{who} | {', '.join(unreachable)}")
        for server in unreachable:
            weather.cut(who, server)
        await asyncio.sleep(0.3 + 6 * self._dice.random() ** 2)
        for server in unreachable:
            weather.mend(who, server)

    async def _store_down(self, point: str) -> None:
        weather = self._world.weather
        if not weather.store_is_down:
            weather.blow(point)
            weather.store_is_down = True
            await asyncio.sleep(0.2 + self._dice.random())
            weather.store_is_down = False

    async def _store_lost_writes(self, point: str) -> None:
        """The store's machine fails, and comes back with what it had flushed up to a second before."""
        world, weather = self._world, self._world.weather
        snapshot, taken_s, lost = world.store.snapshot(), world.loop.now_s, world.store.times_lost
        await asyncio.sleep(0.05 + 0.95 * self._dice.random())
        if weather.store_is_down or world.store.times_lost != lost:
            return
        weather.blow(point, f"since {taken_s:.3f} s")
        weather.store_is_down = True
        world.store.lose_writes(snapshot, taken_s)
        await asyncio.sleep(0.1 + self._dice.random())
        weather.store_is_down = False

    # --- clocks ---------------------------------------------------------------------------------

    async def _store_clock_forward(self, point: str) -> None:
        self._step_store(point, 0.2 + 5 * self._dice.random())

    async def _store_clock_back(self, point: str) -> None:
        self._step_store(point, -0.2 - 3 * self._dice.random())

    def _step_store(self, point: str, step_s: float) -> None:
        self._world.weather.blow(point, f"{step_s:+.3f} s")
        self._world.store_host.clock.offset_us += int(step_s * SECOND_US)

    async def _node_clock_step(self, point: str) -> None:
        """Nodes may be hours off; nothing but log lines may depend on it."""
        parts: list[Server | WorkerNode] = [*self._servers, *self._workers]
        part = self._dice.choice(parts)
        part.offset_us = wrong_clock_us(self._world.dice.clock)
        self._world.weather.blow(point, f"{part.name} {part.offset_us / SECOND_US:+.0f} s")
        part.host.clock.offset_us = part.offset_us
