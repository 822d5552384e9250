"""What the simulation has found, each as a small story of its own."""

import asyncio
from itertools import pairwise

from mainspring.clock import VirtualClock
from mainspring.core.lifecycle import Cause, Change, Outcome
from mainspring.core.model import Lane, NewTask, State
from mainspring.core.order import Quota
from mainspring.election.store import TTL_S, StoreElector
from mainspring.errors import StoreUnavailable
from mainspring.ports import Answer, Ask, Group, Settlement
from mainspring.sdk import Context
from mainspring.services import Campaigner
from mainspring.stores.memory import MemoryStore
from mainspring.testing.loop import OUTSIDE, Host, VirtualLoop
from mainspring.worker import Worker, WorkerSettings
from tests.worker.scripted import ScriptedSource, embedded, virtual, working


async def nap(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "rested"


@virtual
async def test_leases_shorter_than_usual_are_renewed_from_the_first(clock):
    """The rhythm was that of a 15 s lease until the first heartbeat, which for short leases came too late."""
    source, renewed_s = ScriptedSource(lease_s=2.0), []
    source.on_call = lambda verb: renewed_s.append(clock.monotonic()) if verb == "renew" else None
    async with working(source, embedded(clock, nap=nap), clock):
        lease = await source.put("nap", 9.0)
        claimed_s = clock.monotonic()
        await source.settled()
    beats = [claimed_s, *renewed_s]
    assert all(later - earlier < 2.0 for earlier, later in pairwise(beats))
    assert source.outcome_of(lease) is Outcome.SUCCEEDED


@virtual
async def test_a_report_that_cannot_be_delivered_does_not_hurry_the_heartbeat(clock):
    """It was past its lease, so heartbeats gave up after 10 ms, and with them went all other leases."""
    source = ScriptedSource(lease_s=2.0)
    source.delays_s["renew"] = 0.05
    async with working(source, embedded(clock, nap=nap), clock):
        await source.put("nap", 0.1)
        long = await source.put("nap", 12.0)
        source.failing["settle"] = StoreUnavailable("down")
        await asyncio.sleep(10.0)
        calls = source.calls.count("renew")
        del source.failing["settle"]
        await asyncio.sleep(5.0)
    assert source.outcome_of(long) is Outcome.SUCCEEDED
    assert calls < 30


class DistantSource(ScriptedSource):
    """Its answers travel whether or not the worker runs."""

    async def renew(self, renewal):
        answers, loop = await super().renew(renewal), asyncio.get_running_loop()
        arrival = loop.create_future()
        loop.call_later(0.01, arrival.set_result, answers, context=OUTSIDE)
        return await arrival


def test_a_heartbeat_answered_late_is_followed_in_time():
    """A worker that woke just before the lapse slept on for a third of a lease, and over the lapse."""
    loop = VirtualLoop()

    async def main() -> list[float]:
        host, source, renewed_s = Host(loop, "worker", 1), DistantSource(lease_s=3.0), []
        source.on_call = lambda verb: renewed_s.append(loop.now_s) if verb == "renew" else None
        settings = WorkerSettings(worker="w-1")
        worker = host.run(lambda: Worker(source, embedded(host.clock, nap=nap), host.clock, settings))
        host.spawn(worker.run())
        await source.put("nap", 60.0)
        while not renewed_s and loop.now_s < 10.0:
            await asyncio.sleep(0.005)
        host.freeze()
        await asyncio.sleep(2.95)
        host.thaw()
        await asyncio.sleep(1.0)
        return renewed_s

    try:
        renewed_s = loop.run_until_complete(main())
    finally:
        loop.end()
    assert len(renewed_s) > 1
    assert renewed_s[1] < renewed_s[0] + 3.0


async def test_a_report_on_a_lease_that_nobody_held_is_never_written():
    """The store had lost its last writes between the question and the report: a success became cancelled."""
    store, lane = MemoryStore(VirtualClock(seed=1)), Lane("default", "echo", "", 5)
    await store.open()
    await store.submit([Group([NewTask("t-1", lane, b"null")])])
    (head,) = (await store.board()).heads
    ask = Ask("w-1", "i-1", 1, [Quota(head.lane_id, 1)], 1, 15_000_000)
    (lease,) = (await store.claim([ask]))[0].leases
    guess = Change(State.CANCELLED, Cause.CANCEL, 0)
    answers = await store.settle([Settlement("t-1", lease.token, 0, 7, guess, guess)])
    assert list(answers) == [Answer.LOST]
    (task,) = await store.get(["t-1"])
    assert task is not None
    assert task.state is State.RUNNING


async def test_a_follower_comes_when_the_term_may_have_run_out():
    """Coming every two seconds it could be two seconds late, where one is promised."""
    clock = VirtualClock(seed=1)
    store = MemoryStore(clock)
    await store.open()
    leader, follower = (Campaigner(StoreElector(store, clock, name)) for name in ("a", "b"))
    await leader.tick()
    clock.elapsed = TTL_S - 0.5
    assert 0.5 < await follower.tick() < 1.0
    clock.elapsed = TTL_S + 0.1
    await follower.tick()
    assert (await store.take_term("c", 1)).holder == "b"


async def save_and_fail(ctx: Context) -> None:
    ctx.checkpoint("kept")
    raise RuntimeError("tired")


@virtual
async def test_a_checkpoint_goes_ahead_of_its_outcome_however_late_both_are(clock):
    """Held up past its lease, a worker gave the checkpoint up and reported the failure: it was accepted, and
    the next run began from an older checkpoint."""
    source = ScriptedSource(lease_s=2.0)
    async with working(source, embedded(clock, save=save_and_fail), clock):
        source.delays_s["append"] = 3.0
        await source.put("save")
        await asyncio.sleep(0.5)
        source.failing["renew"] = StoreUnavailable("down")
        late = await source.put("save")
        await asyncio.sleep(4.0)
        del source.delays_s["append"]
        await source.settled(2)
    assert [line.checkpoint for line in source.lines if line.task == late.task] == [b'"kept"']


@virtual
async def test_a_failure_is_not_told_without_the_checkpoint_that_could_not_be_stored(clock):
    """The source came back between the two: the outcome was accepted, the checkpoint had been given up."""
    source = ScriptedSource(lease_s=2.0)
    async with working(source, embedded(clock, save=save_and_fail), clock):
        source.failing["append"] = source.failing["renew"] = StoreUnavailable("down")
        await source.put("save")
        await asyncio.sleep(6.0)
        del source.failing["append"], source.failing["renew"]
        await asyncio.sleep(6.0)
    assert source.lines == []
    assert source.offered == []
