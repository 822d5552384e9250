"""Nodes hear of each other's writes by Redis, and without it by looking."""

import asyncio
from pathlib import Path

import pytest

from mainspring import hints
from tests.stores.tandem.nodes import until
from tests.wakeups import Woken

PAGE = (Path(__file__).parents[3] / "docs/transactions.md").read_text()
LIMIT_S = 60
LISTENING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ~* '^listen'"


class Ear:
    """A node that listens."""

    def __init__(self, node):
        self.woken = asyncio.Event()
        node.store.listen(Woken(self.woken.set))

    async def wakes(self):
        async with asyncio.timeout(LIMIT_S):
            await self.woken.wait()
        self.woken.clear()

    async def hears(self, writer):
        """Whether the node wakes whenever the other one writes."""
        for _ in range(3):
            await writer.submit(1)
            await self.wakes()


@pytest.fixture
def only_told(monkeypatch):
    """Nodes do not look for themselves."""
    for name in ("LOOK_SOON_S", "LOOK_LATE_S", "LOOK_WHILE_HEARING_S"):
        monkeypatch.setattr(hints, name, 60.0)


async def test_a_node_wakes_when_another_writes(new_house, only_told):
    """And no connection of PostgreSQL listens, so that this works behind any pooler."""
    async with new_house() as house, house.nodes(2) as (one, two):
        ear = Ear(one)
        await ear.wakes()  # it listens from now on
        await ear.hears(two)
        (listening_for,) = await one.store._db.read(lambda tx: tx._connection.fetch(LISTENING))
        assert listening_for["count"] == 0


@pytest.mark.parametrize("message", [b"\xff\xfe", b""])
async def test_a_message_that_makes_no_sense_is_a_hint_all_the_same(new_house, only_told, message):
    """The empty one is what the documentation has people send after a submission in their own transaction."""
    async with new_house() as house, house.nodes(2) as (one, two):
        ear = Ear(one)
        await ear.wakes()
        channel = one.store._hints._channel
        assert f"PUBLISH '{channel}' ''" in PAGE
        await two.store._link.ask(lambda client: client.publish(channel, message))
        await ear.wakes()
        await ear.hears(two)


async def test_a_node_hears_again_when_redis_is_back(new_house, only_told, monkeypatch, redis_server):
    monkeypatch.setattr(hints, "HEAR_AGAIN_S", 0.01)
    async with new_house() as house, house.nodes(2) as (one, two):
        ear = Ear(one)
        await ear.wakes()
        await asyncio.to_thread(redis_server.kill)
        await two.submit(1)
        await until(lambda: not two.store._link.is_up)
        await asyncio.to_thread(redis_server.start)
        await until(lambda: two.store._link.is_up)
        await ear.wakes()  # it listens again
        await ear.hears(two)


@pytest.mark.parametrize("lost", ["listener", "writer", "both"])
async def test_a_node_that_redis_does_not_reach_hears_and_is_heard(new_house, tmp_path, lost):
    nowhere = f"unix://{tmp_path}/nowhere"
    queues = [nowhere if lost in (name, "both") else "" for name in ("listener", "writer")]
    async with new_house() as house, house.node("one", queues[0]) as one, house.node("two", queues[1]) as two:
        ear = Ear(one)
        if lost == "writer":
            await ear.wakes()
        await ear.hears(two)
