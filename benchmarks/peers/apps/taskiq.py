"""taskiq on Redis: the list broker, which is the faster one, and the stream broker, which acknowledges."""

import asyncio
import logging
from typing import Any

from taskiq.api import run_receiver_task
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.peers import tally
from benchmarks.peers.adapter import CALLERS, Adapter
from benchmarks.peers.wire import Redis


class Peer(Adapter):
    """`stream` is the broker that its documentation advises where no task may be lost."""

    stream = False
    settings = (
        "list broker (no acknowledgements), 200 tasks at a time, 400 prefetched, no parameter validation,"
        " uvloop; results 1 h in a database of their own"
    )
    record = "results: keys of the result database; else the queue alone"
    bulk = f"{CALLERS} callers at once: no bulk submit"

    def __init__(self, url: str, kept: bool) -> None:
        super().__init__(url, kept)
        if self.stream:
            self.broker = RedisStreamBroker(url, consumer_id="0")
        else:
            self.broker = ListQueueBroker(url)
        if kept:
            results = RedisAsyncResultBackend(f"{url}?db=1", result_ex_time=3600)
            self.broker = self.broker.with_result_backend(results)
        self._tasks = {
            "noop": self.broker.task(task_name="noop")(_noop),
            "stamp": self.broker.task(task_name="stamp")(_stamp),
            "hold": self.broker.task(task_name="hold")(_hold),
        }
        self._sent = 0

    async def open(self) -> None:
        await self.broker.startup()
        self._wire, self._results = Redis(self.url), Redis(self.url, 1)

    async def close(self) -> None:
        await self.broker.shutdown()

    async def submit(self, task: str, *arguments: Any) -> None:
        self._sent += 1
        await self._tasks[task].kiq(*arguments)

    async def submit_bulk(self, count: int) -> None:
        for start in range(0, count, CALLERS):
            await asyncio.gather(*(self.submit("noop") for _ in range(min(CALLERS, count - start))))

    async def left(self) -> int:
        if self.kept:
            return self._sent - int(self._results("DBSIZE"))
        if self.stream:
            (group,) = self._wire("XINFO", "GROUPS", "taskiq")
            told = dict(zip(group[::2], group[1::2], strict=True))
            return int(told[b"pending"]) + self._sent - int(told.get(b"entries-read") or self._sent)
        return int(self._wire("LLEN", "taskiq"))

    def work(self, defaults: bool) -> None:
        import uvloop

        logging.disable(logging.WARNING)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._receive(defaults))

    async def _receive(self, defaults: bool) -> None:
        options: dict[str, Any] = {"max_async_tasks": 200, "max_prefetch": 400, "validate_params": False}
        tally.wait_at_gate()
        await self.broker.startup()
        await run_receiver_task(self.broker, **({} if defaults else options))


class StreamPeer(Peer):
    stream = True
    settings = Peer.settings.replace("list broker (no acknowledgements)", "stream broker, xread_count 100")
    record = "results: keys of the result database; else the stream's pending and unread entries"


async def _noop() -> None:
    tally.noop()


async def _stamp(sent: float) -> None:
    tally.stamp(sent)


async def _hold() -> None:
    if tally.hold():
        await asyncio.sleep(tally.HOLD_S)
