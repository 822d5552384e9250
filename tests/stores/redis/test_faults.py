"""Servers that restart, forget scripts, run out of memory or become standbys."""

import asyncio

import pytest
from redis.asyncio import Redis

from mainspring.core.model import State
from mainspring.errors import StoreFull, StoreUnavailable
from mainspring.verbs import Group
from tests.conformance.bench import Bench
from tests.stores.redis.conftest import new_store

MB = 1024 * 1024
# The promise is 3 s; a machine with something else to do needs room.
BACK_WITHIN_S = 15.0


class Alone(Bench):
    """The words of the conformance suite, to a store of the test's own."""

    def __init__(self, url, folder):
        self._url = url
        super().__init__(folder)

    def new_store(self):
        return new_store(self._url)

    async def check_laws(self):
        pass


async def test_scripts_that_the_server_has_dropped(url, tmp_path):
    async with Alone(url, tmp_path) as bench, Redis.from_url(url.partition("?")[0]) as admin:
        (task,) = await bench.submit_many(1)
        await admin.script_flush()
        lease = await bench.claim_one()
        await admin.script_flush()
        await bench.settle(lease)
        assert await bench.states(task) == [State.SUCCEEDED]


async def test_a_server_that_was_restarted(new_server, tmp_path):
    """S0-05, S2-04: what was answered is there, and the first calls after its return find it."""
    server = new_server()
    async with Alone(server.url, tmp_path) as bench:
        tasks = await bench.submit_many(20)
        server.kill()
        for _ in range(5):
            with pytest.raises(StoreUnavailable):
                await bench.store.stats()
        server.start()
        async with asyncio.timeout(BACK_WITHIN_S):
            assert sorted(await bench.claimed_ids(20)) == sorted(tasks)


async def test_a_server_that_is_out_of_memory(new_server, tmp_path):
    """No task can be stored, but those that are can end, and so make room."""
    server = new_server("--maxmemory", str(30 * MB))
    async with Alone(server.url, tmp_path) as bench, Redis.from_url(server.url) as admin:
        (task,) = await bench.submit_many(1)
        lease = await bench.claim_one()
        await admin.config_set("maxmemory", 1 * MB)
        with pytest.raises(StoreFull):
            await bench.submit_many(1)
        done = await bench.exchange(
            submits=[Group([bench.task()])], settles=[bench.line(lease)], claims=[bench.ask()]
        )
        assert [refused.code for refused in done.submits] == ["store_full"]
        assert await bench.states(task) == [State.SUCCEEDED]
        assert await bench.store.delete([task]) == [None]
        await admin.config_set("maxmemory", 30 * MB)
        await bench.submit_many(1)


async def test_a_primary_that_became_a_standby(new_server, tmp_path):
    server = new_server()
    async with Alone(server.url, tmp_path) as bench, Redis.from_url(server.url) as admin:
        await admin.replicaof("127.0.0.1", "1")
        with pytest.raises(StoreUnavailable, match=r"(?i)read.?only"):
            await bench.submit_many(1)
        await admin.replicaof("NO", "ONE")
        await bench.submit_many(1)


async def test_a_server_that_does_not_answer(new_server, tmp_path, monkeypatch):
    """Every call has its deadline; the connection that still waits is not used again."""
    server = new_server()
    monkeypatch.setattr("mainspring.stores.redis.connecting.CALL_LIMIT_S", 0.3)
    async with Alone(server.url, tmp_path) as bench:
        await bench.store.stats()
        server.pause()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await bench.submit_many(1)
        server.go_on()
        monkeypatch.undo()
        (task,) = await bench.submit_many(1)
        assert (await bench.get(task)).id == task
