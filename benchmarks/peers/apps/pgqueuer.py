"""PgQueuer on PostgreSQL: claims and completes hundreds at a time; more at a time was slower here."""

import asyncio
import logging
from typing import Any

import asyncpg
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.domain.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries

from benchmarks.peers import tally
from benchmarks.peers.adapter import Adapter

BATCH = 500


class Peer(Adapter):
    settings = f"batch_size {BATCH}, asyncpg, one connection a worker, uvloop, durable tables"
    kept_means = "a row of its log stays; it has no other way"
    record = "rows of the queue's table, from which a finished job moves to the log"
    bulk = "enqueue with lists, 1,000 a call"

    async def prepare(self) -> None:
        connection = await asyncpg.connect(self.url)
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    async def open(self) -> None:
        self._pool = await asyncpg.create_pool(self.url, min_size=10, max_size=10)
        self._queries = Queries(AsyncpgPoolDriver(self._pool))

    async def rest(self) -> None:
        """What autovacuum would have done meanwhile."""
        await self._pool.execute("ANALYZE pgqueuer")

    async def close(self) -> None:
        await self._pool.close()

    async def submit(self, task: str, *arguments: Any) -> None:
        await self._queries.enqueue(task, repr(arguments[0]).encode() if arguments else None)

    async def submit_bulk(self, count: int) -> None:
        await self._queries.enqueue(["noop"] * count, [None] * count, [0] * count)

    async def left(self) -> int:
        return int(await self._pool.fetchval("SELECT count(*) FROM pgqueuer"))

    def work(self, defaults: bool) -> None:
        import uvloop

        logging.disable(logging.WARNING)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run(defaults))

    async def _run(self, defaults: bool) -> None:
        manager = QueueManager(Queries(AsyncpgDriver(await asyncpg.connect(self.url))))
        manager.entrypoint("noop")(_noop)
        manager.entrypoint("stamp")(_stamp)
        manager.entrypoint("hold")(_hold)
        tally.wait_at_gate()
        await manager.run(**({} if defaults else {"batch_size": BATCH}))


async def _noop(job: Job) -> None:
    tally.noop()


async def _stamp(job: Job) -> None:
    assert job.payload is not None
    tally.stamp(float(job.payload))


async def _hold(job: Job) -> None:
    if tally.hold():
        await asyncio.sleep(tally.HOLD_S)
