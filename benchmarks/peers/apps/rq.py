"""rq on Redis: `SimpleWorker`, which runs jobs in its own process; the default one forks for each job."""

import logging
import time
from typing import Any

import redis
from rq import Queue, SimpleWorker, Worker

from benchmarks.peers import tally
from benchmarks.peers.adapter import Adapter
from benchmarks.peers.wire import Redis


class Peer(Adapter):
    native = "def"
    settings = "SimpleWorker (no fork per job), logging off, results kept 500 s or result_ttl=0"
    record = "queue and started registry"
    bulk = "enqueue_many, 1,000 a call"

    def __init__(self, url: str, kept: bool) -> None:
        super().__init__(url, kept)
        self._client = redis.Redis.from_url(url)
        self._queue = Queue("bench", connection=self._client)
        self._ttl = None if kept else 0

    async def open(self) -> None:
        self._wire = Redis(self.url)

    def submit(self, task: str, *arguments: Any) -> None:
        self._queue.enqueue(TASKS[task], *arguments, result_ttl=self._ttl)

    async def submit_bulk(self, count: int) -> None:
        data = [Queue.prepare_data(tally.noop, result_ttl=self._ttl) for _ in range(count)]
        self._queue.enqueue_many(data)

    async def left(self) -> int:
        return int(self._wire("LLEN", "rq:queue:bench")) + int(self._wire("ZCARD", "rq:wip:bench"))

    def work(self, defaults: bool) -> None:
        logging.disable(logging.WARNING)
        kind = Worker if defaults else SimpleWorker
        worker = kind([self._queue], connection=self._client, log_job_description=False)
        tally.wait_at_gate()
        worker.work(logging_level="ERROR")


def hold() -> None:
    if tally.hold():
        time.sleep(tally.HOLD_S)


TASKS = {"noop": tally.noop, "stamp": tally.stamp, "hold": hold}
