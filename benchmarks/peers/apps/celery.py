"""celery on Redis: one process per worker, the `threads` pool of one thread or `solo`, deep prefetch."""

from typing import Any

from celery import Celery

from benchmarks.peers import tally
from benchmarks.peers.adapter import Adapter
from benchmarks.peers.wire import Redis, path_of


class Peer(Adapter):
    native = "def"
    settings = (
        "pool solo, prefetch 1000, no events, no gossip, no mingle, no heartbeat, rate limits off;"
        " results in a database of their own"
    )
    record = "results: keys of the result database; else: queue and unacknowledged messages"

    def __init__(self, url: str, kept: bool) -> None:
        super().__init__(url, kept)
        path = path_of(url)
        backend = f"redis+socket://{path}?virtual_host=1" if kept else None
        self.app = Celery("bench", broker=f"redis+socket://{path}", backend=backend)
        self.app.conf.update(
            task_ignore_result=not kept,
            broker_pool_limit=128,
            worker_disable_rate_limits=True,
            worker_prefetch_multiplier=1000,
            broker_connection_retry_on_startup=True,
            worker_hijack_root_logger=False,
        )
        self._tasks = {
            "noop": self.app.task(name="noop")(tally.noop),
            "stamp": self.app.task(name="stamp")(tally.stamp),
            "hold": self.app.task(name="hold")(_hold),
        }
        self._sent = 0

    async def open(self) -> None:
        self._queue, self._results = Redis(self.url), Redis(self.url, 1)

    def submit(self, task: str, *arguments: Any) -> None:
        self._sent += 1
        self._tasks[task].apply_async(arguments)

    async def submit_bulk(self, count: int) -> None:
        with self.app.producer_pool.acquire() as producer:
            for _ in range(count):
                self._tasks["noop"].apply_async(producer=producer)
        self._sent += count

    async def left(self) -> int:
        if self.kept:
            return self._sent - int(self._results("DBSIZE"))
        return int(self._queue("LLEN", "celery")) + int(self._queue("HLEN", "unacked"))

    def work(self, defaults: bool) -> None:
        tally.wait_at_gate()
        if defaults:
            self.app.conf.update(worker_prefetch_multiplier=4)
            self.app.worker_main(["worker", "--loglevel", "error"])
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        self.app.worker_main(["worker", "--pool", "solo", "--loglevel", "error", *quiet])


def _hold() -> None:
    import time

    if tally.hold():
        time.sleep(tally.HOLD_S)
