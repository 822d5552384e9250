"""A million delayed tasks become due within one second: what callers and heartbeats notice of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from benchmarks import mainspring_node as ours
from benchmarks.harness import Bar, Figure, Probe, Row
from benchmarks.rest import resident_mb
from mainspring.core.model import SECOND_US, NewTask
from mainspring.ports import ClaimRequest, Group, Held, Renewal
from mainspring.sdk.connections import Connections, Reply
from mainspring.worker.sources.http import HttpSource

LEASE_S = 15.0
FILL_A_SECOND = 25_000
CALL_EVERY_S = 0.02
BEAT_EVERY_S = 0.5


async def million(count: int) -> dict[str, float]:
    """Fill, start a server, and from shortly before the moment until all are ready call it 50 times a second,
    in turn reading a task, submitting one and reading the numbers; and renew a lease twice a second."""
    due_s = time.time() + count / FILL_A_SECOND + 10.0
    await _fill(count, int(due_s * SECOND_US))
    with ours.server() as server:
        client, source = Connections(server.url, {}), HttpSource(server.url)
        task = await _submitted(client, "held")
        lease = await _claimed(source)
        waits: list[float] = []
        beats: list[float] = []
        peak_mb = before_mb = resident_mb(server.popen.pid)
        await asyncio.sleep(max(0.0, due_s - 2.0 - time.time()))
        calling = asyncio.create_task(_paced(CALL_EVERY_S, waits, _mixed(client, task)))
        beating = asyncio.create_task(_paced(BEAT_EVERY_S, beats, lambda: source.renew(lease)))
        while (left := await _scheduled(client)) or time.time() < due_s + 2.0:
            peak_mb = max(peak_mb, resident_mb(server.popen.pid))
            await asyncio.sleep(0.25)
        took_s = time.time() - due_s
        calling.cancel()
        beating.cancel()
        await asyncio.gather(calling, beating, return_exceptions=True)
        await client.close()
        await source.close()
    assert left == 0
    return {
        "api_p50": _share(waits, 0.5),
        "api_p99": _share(waits, 0.99),
        "beat_worst": max(beats),
        "took": took_s,
        "before_mb": before_mb,
        "peak_mb": peak_mb,
    }


def bars() -> dict[str, float]:
    """What is promised meanwhile."""
    return {"api_p99": 0.25, "beat_worst": LEASE_S / 3}


async def _fill(count: int, first_us: int) -> None:
    """Their times are spread over one second."""
    async with ours.scheduler() as running:
        for start in range(0, count, 1000):
            group = [
                NewTask(
                    running.clock.new_id(),
                    ours.lane("nobody_runs_this"),
                    ours.PAYLOAD,
                    run_at_us=first_us + (start + place) * SECOND_US // count,
                )
                for place in range(1000)
            ]
            await running.submit([Group(group)])


async def _submitted(client: Connections, kind: str) -> str:
    reply = await client.call("POST", "/api/v1/tasks", b'{"kind":"%b"}' % kind.encode(), 60.0)
    assert reply.status == 201, reply.body
    return str(msgspec.json.decode(reply.body)["id"])


async def _claimed(source: HttpSource) -> Renewal:
    (lease,) = await source.claim(ClaimRequest("bench", "bench-1", 1, ("held",), slots=1, wait_s=5.0))
    return Renewal("bench-1", 1, [Held(lease.task, lease.token)], int(LEASE_S * SECOND_US))


async def _scheduled(client: Connections) -> int:
    reply = await client.call("GET", "/api/v1/cluster/stats", None, 60.0)
    return int(msgspec.json.decode(reply.body)["tasks"]["scheduled"])


def _mixed(client: Connections, task: str) -> Callable[[], Awaitable[object]]:
    turn = 0

    async def call() -> None:
        nonlocal turn
        turn += 1
        calls: list[Callable[[], Awaitable[Reply]]] = [
            lambda: client.call("GET", f"/api/v1/tasks/{task}", None, 60.0),
            lambda: client.call("POST", "/api/v1/tasks", b'{"kind":"other"}', 60.0),
            lambda: client.call("GET", "/api/v1/cluster/stats", None, 60.0),
        ]
        reply = await calls[turn % len(calls)]()
        assert reply.status < 300, reply.body

    return call


async def _paced(every_s: float, waits: list[float], call: Callable[[], Awaitable[object]]) -> None:
    """Call at fixed times, whether or not the last call has been answered; a wait counts from its time."""
    due_s, calls = time.perf_counter(), set[asyncio.Task[None]]()

    async def one(due_s: float) -> None:
        await call()
        waits.append(time.perf_counter() - due_s)

    while True:
        started = asyncio.create_task(one(due_s))
        calls.add(started)
        started.add_done_callback(calls.discard)
        due_s += every_s
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))


def _share(waits: list[float], share: float) -> float:
    return sorted(waits)[int(len(waits) * share)]


FIGURES = [
    Figure(
        "burst",
        {"a million due": Probe("burst:million", {"count": 1_000_000}), "promised": Probe("burst:bars")},
        [
            Row("API p50 meanwhile", "a million due", "s", key="api_p50"),
            Row(
                "API p99 meanwhile", "a million due", "s", "promised", Bar(at_most=1), "api_p99", "api_p99"
            ),
            Row(
                "the latest heartbeat", "a million due", "s", "promised", Bar(at_most=1),
                "beat_worst", "beat_worst",
            ),
            Row("until all were ready", "a million due", "s", key="took"),
            Row("server, before", "a million due", "MB", key="before_mb"),
            Row("server, at most", "a million due", "MB", key="peak_mb"),
        ],
        rounds=1,
    )
]  # fmt: skip
