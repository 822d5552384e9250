"""dramatiq on Redis: one worker of a few threads in this process."""

import time
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers import tally
from benchmarks.peers.adapter import Adapter
from benchmarks.peers.wire import Redis


class Peer(Adapter):
    native = "def"
    settings = "1 process, 16 threads, prefetch 1000; results 10 min or none"
    record = "the broker's table of messages, from which an acknowledged one is removed"

    def __init__(self, url: str, kept: bool) -> None:
        super().__init__(url, kept)
        self._broker = RedisBroker(url=url)
        if kept:
            self._broker.add_middleware(Results(backend=RedisBackend(url=url), store_results=True))
        dramatiq.set_broker(self._broker)
        self._tasks = {
            "noop": dramatiq.actor(_noop_with_result if kept else tally.noop, actor_name="noop"),
            "stamp": dramatiq.actor(tally.stamp, actor_name="stamp"),
            "hold": dramatiq.actor(_hold, actor_name="hold", time_limit=int(tally.HOLD_S * 1000)),
        }

    async def open(self) -> None:
        self._wire = Redis(self.url)

    def submit(self, task: str, *arguments: Any) -> None:
        self._tasks[task].send(*arguments)

    async def submit_bulk(self, count: int) -> None:
        for _ in range(count):
            self._tasks["noop"].send()

    async def left(self) -> int:
        return int(self._wire("HLEN", "dramatiq:default.msgs"))

    def work(self, defaults: bool) -> None:
        worker = dramatiq.Worker(self._broker, worker_threads=8 if defaults else THREADS)
        if not defaults:
            worker.queue_prefetch = 1000
        tally.wait_at_gate()
        worker.start()
        time.sleep(tally.HOLD_S)


THREADS = 16


def _noop_with_result() -> int:
    """A result of None would not be stored."""
    tally.noop()
    return 0


def _hold() -> None:
    if tally.hold():
        time.sleep(tally.HOLD_S)
