"""Sentinels and clusters, of real processes."""

import asyncio

import pytest
from redis.asyncio import Redis

from mainspring.errors import StoreError
from tests.stores.redis.conftest import new_store
from tests.stores.topologies import cluster_of, until, watched_of
from tests.wakeups import Woken

LIMIT_S = 60.0


async def test_the_primary_that_sentinels_name(kind, new_server):
    """S0-45: a new primary is found after the old one has died, and what it had got by then is there."""
    watched = await watched_of(kind, new_server)
    store = new_store(f"redis+sentinel://127.0.0.1:{watched.sentinel_port}/tasks")
    await store.open()
    try:
        await store.set_queue("mail", "alice")
        async with Redis(port=watched.replica_port) as replica:

            async def has_come():
                return await replica.hget("{mainspring}:paused", "mail") == b"alice"

            await until(has_come)
        watched.primary.kill()

        async def can_be_written():
            try:
                await store.set_queue("post", "bob")
            except StoreError:
                return False
            return True

        await until(can_be_written)
        assert dict((await store.board()).paused) == {"mail": "alice", "post": "bob"}
    finally:
        await store.close()
        watched.sentinel.kill()  # it would write its file while its folder is removed
    watched.primary.start()


@pytest.mark.parametrize("count", [1, 3])
async def test_a_cluster(new_server, count):
    """S0-45: all of a namespace lies in one slot, so whichever node keeps it, scripts find their keys."""
    hosts = await cluster_of(count, new_server)
    for namespace in ("mainspring", "shop", "wiki"):
        woken = asyncio.Event()
        one = new_store(f"redis+cluster://{hosts}?namespace={namespace}")
        other = new_store(f"redis+cluster://{hosts}?namespace={namespace}")
        await one.open()
        await other.open()
        try:
            other.listen(Woken(woken.set))
            await one.set_queue("mail", "alice")
            assert dict((await other.board()).paused) == {"mail": "alice"}
            async with asyncio.timeout(LIMIT_S):
                await woken.wait()
        finally:
            await one.close()
            await other.close()
