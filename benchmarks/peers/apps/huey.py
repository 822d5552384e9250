"""huey on Redis and on SQLite: a consumer of a few threads, of one where a file has one writer."""

import logging
import time
from typing import Any

from huey import RedisHuey, SqliteHuey

from benchmarks.peers import tally
from benchmarks.peers.adapter import Adapter
from benchmarks.peers.wire import Redis


class Peer(Adapter):
    native = "def"
    settings = "4 threads, blocking pops (SQLite: 1 thread, fsync=True, polls each 1-2 ms), no periodic tasks"
    record = "queue; results: the table of results"

    def __init__(self, url: str, kept: bool) -> None:
        super().__init__(url, kept)
        options = {"results": kept, "store_none": kept}
        if url.startswith("sqlite"):
            self._huey = SqliteHuey("bench", filename=url.removeprefix("sqlite:///"), fsync=True, **options)
        else:
            self._huey = RedisHuey("bench", url=url, **options)
        self._tasks = {
            "noop": self._huey.task(name="noop")(tally.noop),
            "stamp": self._huey.task(name="stamp")(tally.stamp),
            "hold": self._huey.task(name="hold")(_hold),
        }
        self._sent = 0

    async def open(self) -> None:
        self._wire = None if self.url.startswith("sqlite") else Redis(self.url)

    def submit(self, task: str, *arguments: Any) -> None:
        self._sent += 1
        self._tasks[task](*arguments)

    async def submit_bulk(self, count: int) -> None:
        for _ in range(count):
            self._tasks["noop"]()
        self._sent += count

    async def left(self) -> int:
        if self.kept:
            return self._sent - int(self._huey.result_count())
        return int(self._huey.storage.queue_size())

    def work(self, defaults: bool) -> None:
        logging.getLogger("huey").setLevel(logging.ERROR)
        tally.wait_at_gate()
        if defaults:
            self._huey.create_consumer().run()
        self._huey.create_consumer(
            workers=1 if self.url.startswith("sqlite") else 4,
            worker_type="thread",
            periodic=False,
            initial_delay=0.001,
            max_delay=0.002,
            backoff=1.0,
            check_worker_health=False,
        ).run()


def _hold() -> None:
    if tally.hold():
        time.sleep(tally.HOLD_S)
