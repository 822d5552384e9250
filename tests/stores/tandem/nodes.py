"""A node for tests: its store, and one worker that claims at it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome, Report, digest, settle
from mainspring.core.model import Lane, Lease, NewTask
from mainspring.core.order import Quota
from mainspring.ports.options import DEFAULTS
from mainspring.stores.tandem import TandemStore
from mainspring.verbs import Accepted, Answer, Ask, Group, Held, Renewal, Settlement

LANE = Lane("default", "echo", "default", 5)
LEASE_US = 60_000_000
LIMIT_S = 60


class Node:
    def __init__(self, name: str, dsn: str, queue: str) -> None:
        self.name = name
        self.clock = SystemClock()
        self.store = TandemStore(dsn, queue, self.clock, DEFAULTS.postgres)
        self.claims = 0

    async def submit(self, count: int, lane: Lane = LANE, **fields: object) -> list[str]:
        tasks = [NewTask(self.clock.new_id(), lane, b"1", **fields) for _ in range(count)]
        (answer,) = await self.store.submit([Group(tasks)])
        assert isinstance(answer, Accepted)
        return [task.id for task in tasks]

    async def lane_id(self, lane: Lane = LANE) -> int:
        return next(head.lane_id for head in (await self.store.board()).heads if head.lane == lane)

    async def claim(self, lane_id: int, limit: int) -> list[Lease]:
        (claimed,) = await self.store.claim([self.ask(lane_id, limit)])
        return claimed.leases

    def ask(self, lane_id: int, limit: int) -> Ask:
        self.claims += 1
        return Ask(self.name, self.name, self.claims, [Quota(lane_id, limit)], limit, LEASE_US)

    async def claimed(self, lane_id: int, limit: int) -> list[str]:
        return [lease.task for lease in await self.claim(lane_id, limit)]

    async def settle(self, leases: Sequence[Lease], outcome: Outcome = Outcome.SUCCEEDED) -> list[Answer]:
        return list(await self.store.settle([self.line(lease, outcome) for lease in leases]))

    def line(self, lease: Lease, outcome: Outcome) -> Settlement:
        report = Report(lease.task, lease.token, outcome)
        change, if_cancelled = settle(report, lease, 0.5)
        return Settlement(lease.task, lease.token, lease.lane_id, digest(report), change, if_cancelled)

    async def renew(self, held: Sequence[Lease]) -> None:
        """A heartbeat that names these leases alone."""
        lines = [Held(lease.task, lease.token) for lease in held]
        await self.store.renew([Renewal(self.name, self.claims, lines, LEASE_US)])

    async def drain(self, lane_id: int, batch: int, ran: Counter[str], is_over: Callable[[], bool]) -> None:
        """Claim and settle until it is over, which the caller knows."""
        while not is_over():
            leases = await self.claim(lane_id, batch)
            ran.update(lease.task for lease in leases)
            assert set(await self.settle(leases)) <= {Answer.OK}


async def until(condition: Callable[[], object]) -> None:
    """Wait for what becomes so by itself."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.01)
