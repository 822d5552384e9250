"""saq on Redis: as many jobs at a time as pays."""

import asyncio
import logging
from typing import Any

from redis.asyncio import Redis as Client
from saq import Worker
from saq.queue.redis import RedisQueue

from benchmarks.peers import tally
from benchmarks.peers.adapter import CALLERS, Adapter
from benchmarks.peers.wire import Redis


class Peer(Adapter):
    settings = "concurrency 50, uvloop; results kept 600 s (ttl=600) or not at all (ttl=-1)"
    record = "the set of incomplete jobs"
    bulk = f"{CALLERS} callers at once: no bulk submit"

    def __init__(self, url: str, kept: bool) -> None:
        super().__init__(url, kept)
        self._ttl = 600 if kept else -1

    async def open(self) -> None:
        logging.disable(logging.INFO)
        self._queue = RedisQueue(Client.from_url(self.url), max_concurrent_ops=CALLERS)
        await self._queue.connect()
        self._wire = Redis(self.url)

    async def close(self) -> None:
        await self._queue.disconnect()

    async def submit(self, task: str, *arguments: Any) -> None:
        sent = {"sent": arguments[0]} if arguments else {}
        await self._queue.enqueue(task, ttl=self._ttl, **sent)

    async def submit_bulk(self, count: int) -> None:
        for start in range(0, count, CALLERS):
            await asyncio.gather(*(self.submit("noop") for _ in range(min(CALLERS, count - start))))

    async def left(self) -> int:
        return int(self._wire("ZCARD", "saq:default:incomplete"))

    def work(self, defaults: bool) -> None:
        import uvloop

        logging.disable(logging.WARNING)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run(defaults))

    async def _run(self, defaults: bool) -> None:
        functions = [("noop", _noop), ("stamp", _stamp), ("hold", _hold)]
        options: dict[str, Any] = {} if defaults else {"concurrency": 50}
        worker = Worker(RedisQueue(Client.from_url(self.url)), functions, **options)
        tally.wait_at_gate()
        await worker.queue.connect()
        await worker.start()


async def _noop(context: object) -> None:
    tally.noop()


async def _stamp(context: object, *, sent: float) -> None:
    tally.stamp(sent)


async def _hold(context: object) -> None:
    if tally.hold():
        await asyncio.sleep(tally.HOLD_S)
