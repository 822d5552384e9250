"""streaq on Redis streams: hundreds of tasks at a time, as many prefetched."""

import asyncio
import logging
from typing import Any

from streaq import Worker

from benchmarks.peers import tally
from benchmarks.peers.adapter import Adapter
from benchmarks.peers.wire import Redis


class Peer(Adapter):
    settings = "concurrency 200, prefetch 400, silent, uvloop; results kept 300 s or not (ttl=0)"
    record = "the stream, from which a finished task is removed"
    bulk = "enqueue_many, 1,000 a call"

    def __init__(self, url: str, kept: bool) -> None:
        super().__init__(url, kept)
        self._make({"concurrency": 200, "prefetch": 400, "anyio_kwargs": {"use_uvloop": True}})

    def _make(self, options: dict[str, Any]) -> None:
        self._worker = Worker(redis_url=self.url, **options)
        ttl: dict[str, Any] = {} if self.kept else {"ttl": 0}
        self._tasks = {
            "noop": self._worker.task(name="noop", silent=True, **ttl)(_noop),
            "stamp": self._worker.task(name="stamp", silent=True, **ttl)(_stamp),
            "hold": self._worker.task(name="hold")(_hold),
        }

    async def open(self) -> None:
        self._wire = Redis(self.url)
        await self._worker.__aenter__()

    async def close(self) -> None:
        await self._worker.__aexit__(None, None, None)

    async def submit(self, task: str, *arguments: Any) -> None:
        await self._tasks[task].enqueue(*arguments)

    async def submit_bulk(self, count: int) -> None:
        await self._worker.enqueue_many([self._tasks["noop"].enqueue() for _ in range(count)])

    async def left(self) -> int:
        return int(self._wire("XLEN", "streaq:default:queue:stream:normal"))

    def work(self, defaults: bool) -> None:
        logging.disable(logging.WARNING)
        if defaults:
            self._make({})
        tally.wait_at_gate()
        self._worker.run_sync()


async def _noop() -> None:
    tally.noop()


async def _stamp(sent: float) -> None:
    tally.stamp(sent)


async def _hold() -> None:
    if tally.hold():
        await asyncio.sleep(tally.HOLD_S)
