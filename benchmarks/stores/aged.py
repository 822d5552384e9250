"""PostgreSQL in later life: ten million finished rows, and a transaction that somebody forgot."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import asyncpg

from benchmarks import mainspring_node as ours
from benchmarks.flat import timed_claims
from benchmarks.stores.claims import fill, named
from mainspring.core.model import State
from mainspring.scheduler import Scheduler

WAITING, CHUNK = 10_000, 250_000
CHURN, WINDOW_S = 2_000, 10.0


async def beside_finished(url: str, other: str, finished: int, limit_s: float) -> dict[str, float]:
    """Seconds for a claim of each size with 10,000 waiting, in a fresh store and, in turn, beside `finished`
    rows, or as many as could be made within `limit_s`."""
    async with (
        ours.scheduler(lease_s=3600, url=url) as aged,
        ours.scheduler(lease_s=3600, url=other) as fresh,
    ):
        await fill(aged, [ours.lane()])
        async with ours.worker(aged):
            await ours.finished(aged, 1)
        made = await _make_finished(url, finished, limit_s)
        for running in (aged, fresh):
            await fill(running, [ours.lane()] * WAITING)
        found = await timed_claims(aged, fresh)
    return named({"aged": aged, "fresh": fresh}, found) | {"made": float(made)}


async def under_snapshot(url: str, other: str, seconds: float) -> dict[str, float]:
    """A transaction holds a snapshot for `seconds` while tasks are submitted, run and finished in rounds:
    tasks a second in the first ten seconds and in the last ten; then a claim of each size under it and, in
    turn, in a fresh store."""
    async with (
        ours.scheduler(lease_s=3600, url=url) as aged,
        ours.scheduler(lease_s=3600, url=other) as fresh,
        _held(url),
    ):
        async with ours.worker(aged):
            rates = await _churn(aged, seconds)
        for running in (aged, fresh):
            await fill(running, [ours.lane()] * WAITING)
        found = await timed_claims(aged, fresh)
    return named({"aged": aged, "fresh": fresh}, found) | {"first": rates[0], "last": rates[-1]}


@contextlib.asynccontextmanager
async def _held(url: str) -> AsyncIterator[None]:
    """A snapshot that no row may be cleaned up before."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.fetchval("SELECT count(*) FROM mainspring.lanes")
            yield
    finally:
        await connection.close()


async def _churn(running: Scheduler, seconds: float) -> list[float]:
    """Tasks a second through submit, claim and settle, by windows of time."""
    rates, ends = [], time.perf_counter() + seconds
    while time.perf_counter() < ends:
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < min(WINDOW_S, seconds / 2):
            await fill(running, [ours.lane()] * CHURN)
            await _idle(running)
            done += CHURN
        rates.append(done / (time.perf_counter() - started))
    return rates


async def _idle(running: Scheduler) -> None:
    """Until nothing is ready."""
    while True:
        counts = (await running.stats()).counts
        if not sum(count for (_, state), count in counts.items() if state is State.READY):
            return
        await asyncio.sleep(0.01)


async def _make_finished(url: str, count: int, limit_s: float) -> int:
    """Copies of one finished row under new ids; how many were made."""
    connection = await asyncpg.connect(url)
    try:
        columns = ", ".join(
            row["attname"]
            for row in await connection.fetch(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'mainspring.tasks'::regclass"
                " AND attnum > 0 AND NOT attisdropped AND attname <> 'id' ORDER BY attnum"
            )
        )
        done = int(State.SUCCEEDED)
        await connection.execute(
            f"CREATE TEMP TABLE model AS SELECT * FROM mainspring.tasks WHERE state = {done} LIMIT 1"
        )
        made, started = 0, time.monotonic()
        while made < count and time.monotonic() - started < limit_s:
            await connection.execute(
                f"INSERT INTO mainspring.tasks (id, {columns})"
                f" SELECT left(id, 24) || lpad(to_hex(n), 12, '0'), {columns}"
                f" FROM model, generate_series({made}, {made + CHUNK - 1}) AS n"
            )
            made += CHUNK
        await connection.execute(
            "VACUUM ANALYZE mainspring.tasks"
        )  # as autovacuum would have, in the days it took
        return made
    finally:
        await connection.close()
