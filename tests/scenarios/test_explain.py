"""Explain and the claim are of one mind: a task is claimable now exactly if no reason is in its way."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.clock import VirtualClock
from mainspring.core.lifecycle import Outcome, Report
from mainspring.core.limits import LimitRule
from mainspring.core.model import SECOND_US, Lane, NewTask
from mainspring.errors import NotFound
from mainspring.ports import Accepted, ClaimRequest, Group, Query, Store, WorkerInfo
from mainspring.scheduler import Explanation, Scheduler, SchedulerSettings
from mainspring.stores import open_store
from mainspring.stores.memory import MemoryStore

LEASE_S = 15.0

lanes = st.builds(
    Lane,
    st.sampled_from("ab"),
    st.sampled_from("kx"),
    st.sampled_from("tu"),
    st.sampled_from([2, 5, 9]),
    st.sampled_from(["", "", "y"]),
)
tasks = st.fixed_dictionaries(
    {
        "lane": lanes,
        "count": st.integers(1, 3),
        "delay_s": st.sampled_from([0, 0, 0, 5, 90]),
        "deadline_s": st.sampled_from([None, None, None, 20, 200]),
        "parent": st.sampled_from([None, None, None, 0, 1]),
    }
)
rules = st.dictionaries(
    st.sampled_from(["queue:a", "kind:k", "tenant:t", "key:*", "queue:*"]),
    st.builds(LimitRule, st.none() | st.integers(0, 3), st.none() | st.integers(1, 3), st.just(30.0)).filter(
        lambda rule: rule.max_running is not None or rule.rate is not None
    ),
    max_size=3,
)
workers = st.builds(
    WorkerInfo,
    st.sampled_from(["w1", "w2", "w3"]),
    st.just("i"),
    st.just("n"),
    st.sampled_from([("k", "x"), ("k", "x"), ("k",), ("x",), ("z",)]),
    st.sampled_from([(), (), (), ("a",), ("b",)]),
    st.integers(1, 9),
    st.integers(0, 3),
    st.sampled_from([False, False, False, True]),
)
scenes = st.fixed_dictionaries(
    {
        "before": st.lists(tasks, min_size=1, max_size=6),
        "rules": rules,
        "weights": st.dictionaries(st.sampled_from("tu"), st.sampled_from([0.5, 3.0]), max_size=2),
        "claims": st.integers(0, 8),
        "outcomes": st.lists(
            st.sampled_from([Outcome.SUCCEEDED, Outcome.FAILED, Outcome.RELEASED]), max_size=4
        ),
        "after": st.lists(tasks, max_size=5),
        "paused": st.sampled_from([None, None, "a", "b"]),
        "workers": st.lists(workers, min_size=1, max_size=3, unique_by=lambda info: info.worker),
        "pass_s": st.sampled_from([0.0, 1.0, 30.0, 70.0]),
        "silent_s": st.sampled_from([0.0, 0.0, 1.0, LEASE_S]),
        "claimed": st.integers(0, 40),
    }
)


async def submit(scheduler: Scheduler, clock: VirtualClock, wanted: list[dict]) -> None:
    made: list[str] = []
    for fields in wanted:
        deadline_s, parent = fields["deadline_s"], fields["parent"]
        group = [
            NewTask(
                clock.new_id(),
                fields["lane"],
                b"{}",
                delay_us=int(fields["delay_s"] * SECOND_US),
                deadline_us=None if deadline_s is None else clock.now_us() + deadline_s * SECOND_US,
                depends_on=() if parent is None or parent >= len(made) else (made[parent],),
            )
            for _ in range(fields["count"])
        ]
        (answer,) = await scheduler.submit([Group(group)])
        assert isinstance(answer, Accepted)
        made += [task.id for task in group]


async def set_up(store: Store, clock: VirtualClock, scene: dict) -> None:
    """Some tasks run, some have ended, some wait; time has passed since."""
    scheduler = Scheduler(store, clock, SchedulerSettings(lease_s=LEASE_S))
    await scheduler.start()
    for tenant, weight in scene["weights"].items():
        await scheduler.set_weight(tenant, weight)
    for name, rule in scene["rules"].items():
        await scheduler.set_limit(name, rule)
    await submit(scheduler, clock, scene["before"])
    if scene["claims"]:
        leases = await claim(scheduler, WorkerInfo("early", "i", "n", ("k", "x"), (), scene["claims"]))
        await scheduler.settle(
            [
                Report(
                    lease.task,
                    lease.token,
                    outcome,
                    error=b'{"type":"E","message":""}',
                    duration_us=SECOND_US,
                )
                for lease, outcome in zip(leases, scene["outcomes"], strict=False)
            ]
        )
    await submit(scheduler, clock, scene["after"])
    if scene["paused"]:
        await scheduler.pause(scene["paused"], "ada")
    clock.elapsed += scene["pass_s"]
    for info in scene["workers"]:
        await scheduler.beat(info)
    clock.elapsed += scene["silent_s"]
    await scheduler.close()


async def claim(scheduler: Scheduler, info: WorkerInfo) -> list:
    request = ClaimRequest(
        info.worker, f"{info.worker}-2", 1, info.kinds, info.queues, max(0, info.slots - info.running)
    )
    return await scheduler.claim(request) if request.slots else []


async def node(store: Store, clock: VirtualClock, scene: dict) -> Scheduler:
    """A node that has read the board, and has granted some tasks before."""
    scheduler = Scheduler(store, clock, SchedulerSettings(lease_s=LEASE_S))
    await scheduler.start()
    await scheduler.resume("nothing")
    scheduler._claiming.board.claimed = scene["claimed"]
    return scheduler


async def explanations(store: Store, clock: VirtualClock, scene: dict) -> dict[str, Explanation]:
    """Of every task; nothing is changed by asking."""
    scheduler = await node(store, clock, scene)
    records = (await scheduler.find(Query())).tasks
    found = {record.id: await scheduler.explaining.explain(record.id) for record in records}
    assert (await scheduler.find(Query())).tasks == records
    await scheduler.close()
    return found


async def taken_by(store: Store, clock: VirtualClock, scene: dict, info: WorkerInfo) -> set[str]:
    scheduler = await node(store, clock, scene)
    leases = await claim(scheduler, info)
    await scheduler.close()
    return {lease.task for lease in leases}


def check(found: dict[str, Explanation], claimable: set[str]) -> None:
    assert {task for task, told in found.items() if told.claimable} == claimable
    for told in found.values():
        codes = [reason.code for reason in told.reasons]
        assert told.claimable == ("next" in codes)
        assert told.claimable == (not any(reason.blocking for reason in told.reasons))
        assert len(set(codes)) == len(codes) or {"limit_slots", "limit_rate"} & set(codes)
        assert all(reason.text for reason in told.reasons)


def live(scene: dict) -> list[WorkerInfo]:
    return [info for info in scene["workers"] if not info.draining and scene["silent_s"] < LEASE_S]


@settings(deadline=None)
@given(scene=scenes)
def test_claimable_exactly_if_nothing_is_in_the_way(scene):
    """Each live worker claims, as if the others did not: the union of what they take is claimable."""

    async def main() -> None:
        clock = VirtualClock(seed=1)
        store = MemoryStore(clock)
        await store.open()
        await set_up(store, clock, scene)
        found, claimable = await explanations(store, clock, scene), set()
        before = store.snapshot()
        for info in live(scene):
            store.restore(before)
            claimable |= await taken_by(store, clock, scene, info)
        check(found, claimable)
        await store.close()

    asyncio.run(main())


@settings(deadline=None, max_examples=25)
@given(scene=scenes.map(lambda scene: {**scene, "workers": scene["workers"][:1]}))
def test_the_same_over_sqlite(scene):
    """With one worker: what it takes is gone for the next."""

    async def main(folder: str) -> None:
        clock = VirtualClock(seed=1)
        store = open_store(f"sqlite:///{Path(folder) / 'store.db'}", clock)
        await store.open()
        await set_up(store, clock, scene)
        found = await explanations(store, clock, scene)
        claimable = [await taken_by(store, clock, scene, info) for info in live(scene)]
        check(found, set().union(*claimable))
        await store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(folder))


async def test_an_unknown_task():
    clock = VirtualClock(seed=1)
    store = MemoryStore(clock)
    await store.open()
    scheduler = Scheduler(store, clock, SchedulerSettings())
    with pytest.raises(NotFound):
        await scheduler.explaining.explain(clock.new_id())
    await store.close()
