"""Whatever becomes of Redis, each task runs once, and work goes on."""

import asyncio
from collections import Counter

import pytest

from mainspring.errors import InvalidInput, StoreUnavailable
from mainspring.stores.tandem import link
from tests.faults.proxy import Proxy
from tests.stores.tandem.nodes import Node, until
from tests.wakeups import Woken

BATCH, AHEAD = 10, 500


async def drained(house, nodes, meddle):
    """Two nodes run all of a lane, which never runs dry before `meddle` is through."""
    tasks = await nodes[0].submit(AHEAD)
    lane_id = await nodes[0].lane_id()
    ran = Counter()
    meddling = asyncio.create_task(meddle(ran))

    async def refill():
        while not meddling.done():
            await until(lambda: meddling.done() or len(tasks) - len(ran) < AHEAD)
            tasks.extend(await nodes[0].submit(AHEAD))

    refilling = asyncio.create_task(refill())
    draining = [
        node.drain(lane_id, BATCH, ran, lambda: refilling.done() and len(ran) >= len(tasks)) for node in nodes
    ]
    await asyncio.gather(*draining)
    await meddling
    await refilling
    assert ran == Counter(tasks)


async def test_flushall_in_mid_run_loses_and_doubles_nothing(new_house):
    """S1-03, S3-06, contract 1.6-N."""
    async with new_house() as house, house.nodes(2) as nodes, house.redis() as redis:
        flushed = 0

        async def flush(ran):
            nonlocal flushed
            while len(ran) < 1500:
                await redis.flushall()
                flushed += 1
                await asyncio.sleep(0.005)

        await drained(house, nodes, flush)
        assert flushed > 10


async def test_scripts_that_redis_has_dropped_are_handed_in_again(new_house, asked):
    async with new_house() as house, house.node("one") as node, house.redis() as redis:
        await node.submit(100)
        lane_id = await node.lane_id()
        for _ in range(5):
            await redis.script_flush()
            assert len(await node.claim(lane_id, 10)) == 10
        assert "claim_known" in asked
        assert node.store._link.is_up


async def test_redis_that_is_killed_and_comes_back(new_house, redis_server, asked):
    async with new_house() as house, house.nodes(2) as nodes:

        async def kill(ran):
            await until(lambda: len(ran) >= 200)
            await asyncio.to_thread(redis_server.kill)
            await until(lambda: not any(node.store._link.is_up for node in nodes))
            before = len(ran)
            await until(lambda: len(ran) >= before + 200)
            await asyncio.to_thread(redis_server.start)
            await until(lambda: all(node.store._link.is_up for node in nodes))
            asked.clear()
            await until(lambda: "claim_known" in asked)

        await drained(house, nodes, kill)


async def test_without_redis_from_the_start(new_house, tmp_path):
    async with new_house() as house, house.node("one", f"unix://{tmp_path}/nowhere") as node:
        tasks = await node.submit(30)
        lane_id = await node.lane_id()
        assert [task for _ in range(3) for task in await node.claimed(lane_id, 10)] == tasks


async def test_a_redis_that_comes_later_is_found(new_house, redis_server, asked):
    redis_server.kill()
    async with new_house() as house, house.node("one") as node:
        await node.submit(1000)
        lane_id = await node.lane_id()
        await node.claim(lane_id, 1)
        await asyncio.to_thread(redis_server.start)
        await until(lambda: node.store._link.is_up)
        while "claim_known" not in asked:
            assert await node.claim(lane_id, 1)


@pytest.mark.parametrize("way", ["slow", "silent", "cut"])
async def test_a_redis_that_is_no_use_is_not_waited_for(new_house, redis_server, way):
    """Two nodes, one of which reaches Redis late, never, or with its connection cut under it."""
    async with new_house() as house, Proxy(redis_server.socket) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with house.node("near") as near, house.node("far", url) as far:

            async def hinder(ran):
                await until(lambda: len(ran) >= 100)
                if way == "slow":
                    proxy.delay_s = 5.0
                elif way == "silent":
                    proxy.fall_silent()
                else:
                    await proxy.refuse()
                await until(lambda: not far.store._link.is_up)
                before = len(ran)
                await until(lambda: len(ran) >= before + 200)
                assert near.store._link.is_up
                proxy.delay_s = 0.0
                if way == "cut":
                    await proxy.accept()
                proxy.be_heard(again=False)
                await until(lambda: far.store._link.is_up)

            await drained(house, [near, far], hinder)


async def test_a_redis_that_is_full(new_house, asked):
    async with new_house() as house, house.nodes(2) as nodes, house.redis() as redis:
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("maxmemory", 1)

        async def look(ran):
            await until(lambda: len(ran) >= 500)
            assert [node.store._link.is_up for node in nodes] == [True, True]
            await redis.config_set("maxmemory", 0)

        await drained(house, nodes, look)


async def test_a_redis_that_refuses_is_told_at_the_start(new_house, redis_server):
    """Waiting would not help: somebody has to set the password right."""
    async with new_house() as house, house.redis() as redis:
        await redis.config_set("requirepass", "open sesame")
        before = asyncio.all_tasks()
        node = Node("one", house.dsn, house.server.url)
        with pytest.raises(StoreUnavailable, match=r"refuses this node: .*: wrong user or password"):
            await node.store.open()
        with pytest.raises(StoreUnavailable, match="closed"):
            await node.store.stats()
        assert asyncio.all_tasks() == before
        await redis.config_set("requirepass", "")


async def test_a_file_of_tls_that_is_not_there_is_told_at_the_start(new_house):
    async with new_house() as house:
        node = Node("one", house.dsn, "rediss://localhost:1?ssl_ca_certs=/nowhere.pem")
        with pytest.raises(
            StoreUnavailable, match=r"\(--queue\): .*ssl_ca_certs names no file: '/nowhere.pem'"
        ):
            await node.store.open()
        with pytest.raises(StoreUnavailable, match="closed"):
            await node.store.stats()


async def test_closing_leaves_nothing_running(new_house, tmp_path):
    async with new_house() as house:
        for queue in ("", f"unix://{tmp_path}/nowhere"):
            before = asyncio.all_tasks()
            async with house.node("one", queue) as node:
                node.store.listen(Woken())
                lane_id = (await node.submit(100)) and await node.lane_id()
                await node.settle(await node.claim(lane_id, 1))
            assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()


def test_an_address_that_is_none():
    with pytest.raises(InvalidInput, match="queue"):
        Node("one", "postgresql:///x", "http://localhost")


async def test_what_fails_in_the_background_is_tried_again_with_jitter(monkeypatch):
    """Nodes that lost Redis together do not come back together."""
    waits = []

    async def no_wait(seconds):
        waits.append(seconds)
        if len(waits) == 30:
            raise asyncio.CancelledError

    node = Node("one", "postgresql:///x", "unix:///nowhere")
    monkeypatch.setattr(link.asyncio, "sleep", no_wait)
    with pytest.raises(asyncio.CancelledError):
        await node.store._link._come_back()
    assert len(set(waits)) == 30
    assert max(waits) <= 1.5 * link.AGAIN_LATE_S
    await node.store._link.close()
