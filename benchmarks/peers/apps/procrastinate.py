"""procrastinate on PostgreSQL: a worker of some tens of coroutines, a pool as large as it uses."""

import asyncio
import logging
from typing import Any

import procrastinate

from benchmarks.peers import tally
from benchmarks.peers.adapter import Adapter


class Peer(Adapter):
    settings = "concurrency 20, pool of 20 connections (psycopg, C), delete_jobs always or never, uvloop"
    kept_means = "finished jobs stay in the table"
    record = "rows of the table of jobs that are to do or doing"
    bulk = "batch_defer_async, 1,000 a call"

    def __init__(self, url: str, kept: bool) -> None:
        super().__init__(url, kept)
        connector = procrastinate.PsycopgConnector(conninfo=url, min_size=4, max_size=20)
        self._app = procrastinate.App(connector=connector)
        self._tasks = {
            "noop": self._app.task(name="noop")(_noop),
            "stamp": self._app.task(name="stamp")(_stamp),
            "hold": self._app.task(name="hold")(_hold),
        }

    async def prepare(self) -> None:
        async with self._app.open_async():
            await self._app.schema_manager.apply_schema_async()

    async def open(self) -> None:
        await self._app.open_async()

    async def rest(self) -> None:
        """What autovacuum would have done meanwhile: without statistics the planner sorts the whole table."""
        await self._app.connector.execute_query_async("ANALYZE procrastinate_jobs")

    async def close(self) -> None:
        await self._app.close_async()

    async def submit(self, task: str, *arguments: Any) -> None:
        await self._tasks[task].defer_async(**({"sent": arguments[0]} if arguments else {}))

    async def submit_bulk(self, count: int) -> None:
        await self._tasks["noop"].batch_defer_async(*({} for _ in range(count)))

    async def left(self) -> int:
        row = await self._app.connector.execute_query_one_async(
            "SELECT count(*) AS n FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
        )
        return int(row["n"])

    def work(self, defaults: bool) -> None:
        import uvloop

        logging.disable(logging.WARNING)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run(defaults))

    async def _run(self, defaults: bool) -> None:
        options: dict[str, Any] = {"concurrency": 20, "delete_jobs": "never" if self.kept else "always"}
        async with self._app.open_async():
            tally.wait_at_gate()
            await self._app.run_worker_async(**({} if defaults else options))


async def _noop() -> None:
    tally.noop()


async def _stamp(sent: float) -> None:
    tally.stamp(sent)


async def _hold() -> None:
    if tally.hold():
        await asyncio.sleep(tally.HOLD_S)
