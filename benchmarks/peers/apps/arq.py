"""arq on Redis: hundreds of jobs at a time, polling as fast as it pays."""

import asyncio
import logging
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func

from benchmarks.peers import tally
from benchmarks.peers.adapter import CALLERS, Adapter
from benchmarks.peers.wire import Redis, path_of


class Peer(Adapter):
    settings = "max_jobs 200, queue_read_limit 400, poll_delay 5 ms, no log of results, uvloop"
    record = "queue, from which a finished job is removed"
    bulk = f"{CALLERS} callers at once: no bulk submit"

    def __init__(self, url: str, kept: bool) -> None:
        super().__init__(url, kept)
        self._redis = RedisSettings(unix_socket_path=path_of(url), max_connections=2 * CALLERS)

    async def open(self) -> None:
        self._pool = await create_pool(self._redis)
        self._wire = Redis(self.url)

    async def close(self) -> None:
        await self._pool.aclose()

    async def submit(self, task: str, *arguments: Any) -> None:
        await self._pool.enqueue_job(task, *arguments)

    async def submit_bulk(self, count: int) -> None:
        for start in range(0, count, CALLERS):
            await asyncio.gather(*(self.submit("noop") for _ in range(min(CALLERS, count - start))))

    async def left(self) -> int:
        return int(self._wire("ZCARD", "arq:queue"))

    def work(self, defaults: bool) -> None:
        logging.disable(logging.WARNING)
        functions = [func(_noop, name="noop"), func(_stamp, name="stamp"), func(_hold, name="hold")]
        if defaults:
            worker = Worker(functions, redis_settings=self._redis)
        else:
            import uvloop

            asyncio.set_event_loop(uvloop.new_event_loop())
            worker = Worker(
                functions,
                redis_settings=self._redis,
                max_jobs=200,
                queue_read_limit=400,
                poll_delay=0.005,
                keep_result=3600 if self.kept else 0,
                log_results=False,
            )
        tally.wait_at_gate()
        worker.run()


async def _noop(context: object) -> None:
    tally.noop()


async def _stamp(context: object, sent: float) -> None:
    tally.stamp(sent)


async def _hold(context: object) -> None:
    if tally.hold():
        await asyncio.sleep(tally.HOLD_S)
