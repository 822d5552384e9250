"""The Redis beside PostgreSQL in every form in which Redis may be a store."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest
from redis.asyncio import Redis

from mainspring import hints
from tests.servers import RedisServer
from tests.stores.tandem import nodes
from tests.stores.tandem.nodes import Node
from tests.stores.topologies import cluster_of, until, watched_of
from tests.wakeups import Woken

LIMIT_S = 60


@pytest.fixture
def new_server() -> Iterator[Callable[..., RedisServer]]:
    made: list[RedisServer] = []

    def start(*options, of=RedisServer):
        made.append(of(*options))
        return made[-1]

    yield start
    for server in reversed(made):
        server.stop()


@pytest.fixture
def only_told(monkeypatch):
    """Nodes do not look for themselves."""
    for name in ("LOOK_SOON_S", "LOOK_LATE_S", "LOOK_WHILE_HEARING_S"):
        monkeypatch.setattr(hints, name, 60.0)


async def listening(node: Node) -> asyncio.Event:
    """What is set when the node hears something. It listens from now on."""
    woken = asyncio.Event()
    node.store.listen(Woken(woken.set))
    await heard(woken)
    return woken


async def heard(woken: asyncio.Event) -> None:
    async with asyncio.timeout(LIMIT_S):
        await woken.wait()
    woken.clear()


async def drain(one: Node, other: Node, asked: list[str], left: Sequence[str] = ()) -> None:
    """Both claim by heads from Redis. `left`: tasks that wait already."""
    asked.clear()
    tasks = [*left, *await one.submit(600)]
    lane_id, ran = await one.lane_id(), Counter()
    await asyncio.gather(
        *[node.drain(lane_id, 10, ran, lambda: len(ran) >= len(tasks)) for node in (one, other)]
    )
    assert ran == Counter(tasks)
    assert "claim_known" in asked


@pytest.mark.parametrize("count", [1, 3])
async def test_a_cluster(new_house, new_server, asked, only_told, count):
    """Whichever of its nodes keeps the namespace."""
    hosts = await cluster_of(count, new_server)
    for namespace in ("mainspring", "shop", "wiki"):
        url = f"redis+cluster://{hosts}?namespace={namespace}"
        async with new_house() as house, house.node("one", url) as one, house.node("other", url) as other:
            woken = await listening(one)
            left = await other.submit(1)
            await heard(woken)
            await drain(one, other, asked, left)


async def test_the_primary_that_sentinels_name(new_house, new_server, asked, only_told):
    """When it dies, work goes on, and the new one serves."""
    watched = await watched_of(RedisServer, new_server)
    url = f"redis+sentinel://127.0.0.1:{watched.sentinel_port}/tasks?namespace=shop"
    async with new_house() as house, house.node("one", url) as one, house.node("other", url) as other:
        woken = await listening(one)
        await drain(one, other, asked)
        watched.primary.kill()
        tasks = await one.submit(1)
        assert await other.claimed(await other.lane_id(), 1) == tasks
        async with Redis(port=watched.replica_port) as replica:

            async def is_primary():
                return (await replica.info("replication"))["role"] == "master"

            async def is_heard():
                return await replica.pubsub_numsub("{shop}:wake") == [(b"{shop}:wake", 1)]

            await until(is_primary)
            await until(is_heard)
        await nodes.until(lambda: one.store._link.is_up and other.store._link.is_up)
        await drain(one, other, asked)
        woken.clear()
        await other.submit(1)
        await heard(woken)
    watched.sentinel.kill()  # it would write its file while its folder is removed
    watched.primary.start()


async def test_two_installations_beside_one_redis(new_house, redis_server, only_told):
    """What one of them is told is not for the other."""
    async with new_house() as house, house.redis() as redis:
        address = redis_server.url
        async with (
            house.node("one", f"{address}?namespace=one") as one,
            house.node("two", f"{address}?namespace=two") as two,
        ):
            of_one, of_two = await listening(one), await listening(two)
            assert await redis.publish("{two}:wake", "") == 1
            await heard(of_two)
            assert not of_one.is_set()
            assert await redis.publish("{one}:wake", "") == 1
            await heard(of_one)
            assert not of_two.is_set()
