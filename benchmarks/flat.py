"""Flat: a claim costs the same with ten thousand and with a million tasks waiting, or finished."""

import statistics
import time

from benchmarks import mainspring_node as ours
from benchmarks.harness import Bar, Figure, Probe, Row
from mainspring.core.lifecycle import Outcome, Report
from mainspring.core.model import Lane
from mainspring.ports import ClaimRequest
from mainspring.scheduler import Scheduler

SIZES, REPEATS = (1, 10, 100), 60
_FILLED = 1000


async def claims(waiting: int, finished: int = 0) -> dict[str, float]:
    """Seconds for a durable claim of 1, 10 and 100 tasks: medians, the sizes in turn."""
    async with ours.scheduler(lease_s=3600) as running:
        for done in range(0, finished, _FILLED):
            await ours.fill(running, [ours.lane()] * _FILLED)
            await _finish(running, done)
        return await filled_and_claimed(running, [ours.lane()] * waiting)


async def claims_of(lanes: list[Lane]) -> dict[str, float]:
    """The same, with one task waiting in each of `lanes`."""
    async with ours.scheduler(lease_s=3600) as running:
        return await filled_and_claimed(running, lanes)


async def filled_and_claimed(running: Scheduler, lanes: list[Lane]) -> dict[str, float]:
    await ours.fill(running, lanes)
    (found,) = await timed_claims(running)
    return found


async def timed_claims(*stores: Scheduler) -> list[dict[str, float]]:
    """Seconds for a claim of each size: medians, for each store. Stores take turns: a machine drifts."""
    for running in stores:
        for warming in range(1, 6):
            await _timed(running, 100, warming)
    times: list[dict[int, list[float]]] = [{size: [] for size in SIZES} for _ in stores]
    for turn in range(REPEATS):
        for size in SIZES:
            for running, taken in zip(stores, times, strict=True):
                taken[size].append(await _timed(running, size, (turn + 1) * 1000 + size))
    return [{f"of {size}": statistics.median(taken[size]) for size in SIZES} for taken in times]


async def _timed(running: Scheduler, slots: int, seq: int) -> float:
    request = ClaimRequest("bench", "bench-1", seq, ("noop",), slots=slots, wait_s=5)
    started = time.perf_counter()
    leases = await running.claim(request)
    took_s = time.perf_counter() - started
    assert len(leases) == slots
    return took_s


async def _finish(running: Scheduler, seq: int) -> None:
    request = ClaimRequest("filler", "filler-1", seq + 1, ("noop",), slots=_FILLED, wait_s=5)
    leases = await running.claim(request)
    await running.settle([Report(lease.task, lease.token, Outcome.SUCCEEDED, b"null") for lease in leases])


def _rows(name: str, probe: str) -> list[Row]:
    return [
        Row(
            f"{name}, claim of {size}",
            probe,
            "s",
            "10 k waiting",
            Bar(at_most=bar),
            f"of {size}",
            f"of {size}",
        )
        for size, bar in zip(SIZES, (1.5, 1.5, 2.0), strict=True)
    ]


FIGURES = [
    Figure(
        "flat",
        {
            "10 k waiting": Probe("flat:claims", {"waiting": 10_000}),
            "1 M waiting": Probe("flat:claims", {"waiting": 1_000_000}),
            "1 M finished": Probe("flat:claims", {"waiting": 10_000, "finished": 1_000_000}),
        },
        [*_rows("1 M waiting", "1 M waiting"), *_rows("1 M finished, 10 k waiting", "1 M finished")],
    )
]
