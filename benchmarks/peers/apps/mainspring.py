"""Mainspring over any of its stores: an application that submits, and one that works, both by the store's
URL. No server is between them."""

import asyncio
from typing import Any

import uvloop

from benchmarks.peers import tally
from benchmarks.peers.adapter import Adapter
from mainspring.app import Mainspring
from mainspring.clock import SystemClock
from mainspring.core.model import State
from mainspring.stores import open_store

SLOTS = 500


class Peer(Adapter):
    settings = f"an embedded worker straight on the store, concurrency {SLOTS}, uvloop"
    kept_means = "every task's record stays 7 days, with its result"
    record = "counts of tasks by state"
    bulk = "submit_many, 1,000 a call"

    def __init__(self, url: str, kept: bool) -> None:
        super().__init__(url, kept)
        self._app = Mainspring(url)
        self._tasks = {
            "noop": self._app.task(name="noop")(_noop),
            "stamp": self._app.task(name="stamp")(_stamp),
            "hold": self._app.task(name="hold")(_hold),
        }

    async def open(self) -> None:
        await self._app.__aenter__()
        self._store = open_store(self.url, SystemClock())
        await self._store.open()

    async def rest(self) -> None:
        await self._app.__aexit__()

    async def close(self) -> None:
        await self._app.aclose()
        await self._store.close()

    async def submit(self, task: str, *arguments: Any) -> None:
        await self._tasks[task].submit.aio(*arguments)

    async def submit_bulk(self, count: int) -> None:
        noop = self._tasks["noop"]
        await noop.submit_many.aio([noop.bind() for _ in range(count)])

    async def left(self) -> int:
        counts = (await self._store.stats()).counts
        return sum(count for (_, state), count in counts.items() if state is not State.SUCCEEDED)

    def work(self, defaults: bool) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._work({} if defaults else {"concurrency": SLOTS}))

    async def _work(self, options: dict[str, int]) -> None:
        tally.wait_at_gate()
        async with self._app.worker(**options):
            await asyncio.sleep(tally.HOLD_S)


async def _noop() -> None:
    tally.noop()


async def _stamp(sent: float) -> None:
    tally.stamp(sent)


async def _hold() -> None:
    if tally.hold():
        await asyncio.sleep(tally.HOLD_S)
