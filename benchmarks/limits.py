"""What limits and tenants cost: limits that are checked but hold nothing up, and some that do."""

import time

from benchmarks import mainspring_node as ours
from benchmarks.drain import COUNT
from benchmarks.flat import claims_of
from benchmarks.harness import Bar, Figure, Probe, Row
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane

KEY = "account-7"
WIDE = {"queue:default": LimitRule(rate=10_000_000), f"key:{KEY}": LimitRule(max_running=10_000)}
RATE, SLOTS = 2_000, 50
TENANTS = 1_000


async def drain(limits: str, count: int = COUNT) -> float:
    """Tasks per second with no limits, with wide ones, or with a binding `rate` or number of `slots`."""
    rules = {
        "none": {},
        "wide": WIDE,
        "rate": {"queue:default": LimitRule(rate=RATE, burst=RATE // 20)},
        "slots": {f"key:{KEY}": LimitRule(max_running=SLOTS)},
    }[limits]
    lane = Lane("default", "noop", "default", 5, KEY)
    async with ours.scheduler() as running:
        for name, rule in rules.items():
            await running.set_limit(name, rule)
        await ours.fill(running, [lane] * count)
        started = time.perf_counter()
        async with ours.worker(running):
            await ours.finished(running, count)
            return count / (time.perf_counter() - started)


async def tenants(count: int, waiting: int) -> dict[str, float]:
    """Seconds for a durable claim of 1, 10 and 100 tasks where `count` tenants have `waiting` tasks."""
    return await claims_of([ours.lane(tenant=f"tenant-{place % count}") for place in range(waiting)])


def rate() -> float:
    """The rate that the binding limit allows."""
    return float(RATE)


FIGURES = [
    Figure(
        "limits",
        {
            "no limits": Probe("limits:drain", {"limits": "none"}),
            "wide": Probe("limits:drain", {"limits": "wide"}),
            "rate": Probe("limits:drain", {"limits": "rate", "count": 6_000}),
            "slots": Probe("limits:drain", {"limits": "slots"}),
            "2,000/s": Probe("limits:rate"),
        },
        [
            Row("a queue's rate and a key's slots, wide", "wide", "tasks/s", "no limits", Bar(at_least=0.8)),
            Row("a queue's rate of 2,000/s", "rate", "tasks/s", "2,000/s"),
            Row(f"{SLOTS} slots of a key", "slots", "tasks/s", "no limits"),
        ],
    ),
    Figure(
        "tenants",
        {
            "one": Probe("limits:tenants", {"count": 1, "waiting": 100_000}),
            "1,000": Probe("limits:tenants", {"count": TENANTS, "waiting": 100_000}),
        },
        [
            Row(f"1,000 tenants, claim of {size}", "1,000", "s", "one", Bar(), f"of {size}", f"of {size}")
            for size in (1, 10, 100)
        ],
    ),
]
