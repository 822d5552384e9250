"""What a claim saw is what later claims take: in order, once, and only as far as it is still so."""

import itertools

import pytest

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome
from mainspring.core.model import Lane
from mainspring.ports import Action, Edit, Force
from mainspring.stores.postgres.statements import STATEMENTS
from mainspring.stores.tandem import taking
from mainspring.stores.tandem.heads import Head, Line, decode
from mainspring.verbs import Exchange
from tests.stores.tandem.nodes import LANE

OTHER_LANE = Lane("default", "echo", "other", 5)


async def warm(node, count, lane=LANE):
    """A lane of `count` tasks behind two that were claimed: the rest is known beforehand from here on."""
    tasks = await node.submit(count + 2, lane)
    lane_id = await node.lane_id(lane)
    for task in tasks[:2]:
        leases = await node.claim(lane_id, 1)
        assert [lease.task for lease in leases] == [task]
        await node.settle(leases)
    return lane_id, tasks[2:]


def keys(lane_id):
    return [f"{{mainspring}}:{table}:{lane_id}" for table in ("mark", "heads")]


async def test_later_claims_take_by_id_what_an_earlier_one_saw(new_house, asked):
    async with new_house() as house, house.node("one") as node:
        lane_id, tasks = await warm(node, 40)
        asked.clear()
        for n in range(4):
            assert await node.claimed(lane_id, 10) == tasks[10 * n : 10 * n + 10]
        assert asked.count("claim_known") == 4
        assert "claim" not in asked
        assert await node.claimed(lane_id, 10) == []


async def test_redis_is_not_asked_where_postgresql_is_fast(new_house, asked, monkeypatch):
    monkeypatch.setattr(taking, "SLOW_S", 1000.0)
    async with new_house() as house, house.node("one") as node, house.redis() as redis:
        lane_id, tasks = await warm(node, 40)
        before = (await redis.info("commandstats")).get("cmdstat_evalsha")
        assert await node.claimed(lane_id, 10) == tasks[:10]
        assert "claim_known" not in asked
        assert (await redis.info("commandstats")).get("cmdstat_evalsha") == before


async def test_what_one_node_saw_another_one_takes(new_house, asked):
    async with new_house() as house, house.nodes(2) as (one, two):
        lane_id, tasks = await warm(one, 600)
        # The other node has to see for itself that the lane is deep.
        assert await two.claimed(lane_id, 20) == tasks[:20]
        asked.clear()
        rest = [await node.claimed(lane_id, 20) for node in (two, one, two, one)]
        assert sorted(itertools.chain(*rest)) == sorted(tasks[20:100])
        assert len(rest[0]) == len(rest[3]) == 20
        assert "claim_known" in asked


async def test_one_that_comes_later_waits_behind_those_that_were_seen(new_house):
    async with new_house() as house, house.nodes(2) as (one, two):
        lane_id, tasks = await warm(one, 5)
        tasks += await two.submit(5)
        tasks += await one.submit(5)
        assert await one.claimed(lane_id, 7) + await one.claimed(lane_id, 8) == tasks


async def _released(node, lease):
    await node.settle([lease], Outcome.RELEASED)


async def _not_named(node, lease):
    await node.renew([])


async def _moved_back(node, lease):
    """To another lane and back again, by hand."""
    await node.settle([lease], Outcome.RELEASED)
    (task,) = await node.store.get([lease.task])
    for lane in (OTHER_LANE, LANE):
        edit = Edit(lane, task.payload, None, task.policy, None, None, None)
        task = await node.store.amend(task.id, task.version, edit)


@pytest.mark.parametrize("comes_back", [_released, _not_named, _moved_back])
async def test_a_task_that_comes_back_to_its_place_goes_first(new_house, comes_back):
    async with new_house() as house, house.node("one") as node:
        lane_id, tasks = await warm(node, 30)
        (lease,) = await node.claim(lane_id, 1)
        await node.settle(await node.claim(lane_id, 1))
        await comes_back(node, lease)
        again = await node.claimed(lane_id, 30)
        assert again[-29:] == [tasks[0], *tasks[2:]]


async def test_what_comes_back_in_the_claims_own_transaction_goes_first(new_house):
    async with new_house() as house, house.node("one") as node:
        lane_id, tasks = await warm(node, 10)
        (lease,) = await node.claim(lane_id, 1)
        lines = Exchange(settles=[node.line(lease, Outcome.RELEASED)], claims=[node.ask(lane_id, 3)])
        answers = await node.store.exchange(lines)
        assert [lease.task for lease in answers.claims[0].leases] == tasks[:3]


async def test_heads_that_are_none_any_more_are_passed_over(new_house):
    async with new_house() as house, house.node("one") as node:
        lane_id, tasks = await warm(node, 30)
        cancelled, moved = tasks[0], tasks[1]
        await node.store.force([Force(cancelled, Action.CANCEL)])
        (task,) = await node.store.get([moved])
        edit = Edit(OTHER_LANE, task.payload, None, task.policy, None, None, None)
        await node.store.amend(moved, task.version, edit)
        assert await node.claimed(lane_id, 10) == tasks[2:12]


async def test_heads_that_a_node_without_redis_took_are_passed_over(new_house, tmp_path):
    nowhere = f"unix://{tmp_path}/nowhere"
    async with new_house() as house, house.node("one") as one, house.node("two", nowhere) as two:
        lane_id, tasks = await warm(one, 30)
        assert await two.claimed(lane_id, 12) == tasks[:12]
        assert await one.claimed(lane_id, 10) == tasks[12:22]
        assert await two.claimed(lane_id, 2) == tasks[22:24]
        assert await one.claimed(lane_id, 10) == tasks[24:]


@pytest.mark.parametrize(
    "stored",
    [b"", b"\xff\xfe", b"1", b"1 2", b"x y z", b"1 99999999999999999999999 id", b"1 -1 id", b"%d 1 a\0b"],
)
async def test_what_is_no_head_is_not_taken_for_one(new_house, stored):
    async with new_house() as house, house.node("one") as node, house.redis() as redis:
        lane_id, tasks = await warm(node, 10)
        _, heads = keys(lane_id)
        now_us = (await node.store.board()).now_us
        await redis.lpush(heads, stored.replace(b"%d", b"%d" % now_us))
        assert await node.claimed(lane_id, 5) == tasks[:5]


async def test_lists_of_another_time_are_void(new_house):
    """As when Redis was brought back from a copy: the tasks are ready and in the same place, but those that
    came back before them are not in the list."""
    async with new_house() as house, house.node("one") as node, house.redis() as redis:
        lane_id, tasks = await warm(node, 10)
        _, heads = keys(lane_id)
        seen = [decode(stored) for stored in await redis.lrange(heads, 0, -1)]
        assert [head.task for head in seen] == tasks
        old = [Head(head.task, head.seq, head.seen_us - 3_000_000).encode() for head in seen[4:]]
        await redis.delete(heads)
        await redis.rpush(heads, *old)
        assert await node.claimed(lane_id, 10) == tasks


async def test_a_lane_that_was_forgotten_meanwhile_is_not_put_back(new_house):
    """The transaction that looked ahead may not have seen what came back."""
    async with new_house() as house, house.nodes(2) as (one, two):
        lane_id, tasks = await warm(one, 10)
        heads = one.store._heads
        mark = (await heads.take({lane_id: 0}))[lane_id].mark
        two.store._heads.forget([lane_id])
        await two.store._heads.take({})
        await heads.put({lane_id: Line(mark, b"", [Head(tasks[5], 1, (await one.store.board()).now_us)])})
        assert (await heads.take({lane_id: 5}))[lane_id].heads == []


async def test_lists_do_not_outlive_their_use(new_house):
    """Redis is not filled up by lanes that nobody claims from any more."""
    async with new_house() as house, house.node("one") as node, house.redis() as redis:
        lane_id, _ = await warm(node, 10)
        (lease,) = await node.claim(lane_id, 1)
        assert 0 < await redis.pttl(keys(lane_id)[1]) <= 2_000
        await node.settle([lease], Outcome.RELEASED)
        await node.claim(lane_id, 1)
        left = [await redis.pttl(key) async for key in redis.scan_iter("*")]
        assert left
        assert all(0 < ttl <= 60_000 for ttl in left)


async def test_known_heads_are_claimed_by_the_same_changes_as_others():
    """What a claim does to a row is said twice, and must stay the same."""
    changes = [
        STATEMENTS[name].partition("UPDATE mainspring.tasks t SET")[2].partition("FROM")[0].split()
        for name in ("claim", "claim_known")
    ]
    assert changes[0]
    assert changes[0] == changes[1]


def test_a_head_is_told_as_it_was():
    head = Head(SystemClock().new_id(), 17, 18)
    assert decode(head.encode()) == head
