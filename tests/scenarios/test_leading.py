"""Who leads, by an elector's own clock: never longer than the others have to believe it."""

from contextlib import asynccontextmanager

import pytest

from mainspring.clock import VirtualClock
from mainspring.election.store import TTL_S, StoreElector
from mainspring.errors import StoreUnavailable
from mainspring.stores import open_store


class Line:
    """A line to the store on which answers take `slow_s`, or do not come."""

    def __init__(self, store, clock):
        self._store = store
        self._clock = clock
        self.slow_s = 0.0
        self.broken = False

    async def take_term(self, node, ttl_us):
        if self.broken:
            raise StoreUnavailable("broken")
        term = await self._store.take_term(node, ttl_us)
        self._clock.elapsed += self.slow_s
        return term

    async def resign(self, node, number):
        await self._store.resign(node, number)


class Race:
    """Two electors over one store; the first has a line of its own."""

    def __init__(self, store, clock):
        self.clock = clock
        self.line = Line(store, clock)
        self.one = StoreElector(self.line, clock, "one")
        self.two = StoreElector(store, clock, "two")


@pytest.fixture(params=["memory", "sqlite"])
def race(request, tmp_path):
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/scheduler.db"

    @asynccontextmanager
    async def racing():
        clock = VirtualClock(1)
        store = open_store(url, clock)
        await store.open()
        try:
            yield Race(store, clock)
        finally:
            await store.close()

    return racing


async def test_a_slow_renewal_does_not_lengthen_the_trust(race):
    """Peer behaviour 156: the term counts from the asking, for the store may have given it as early."""
    async with race() as r:
        r.line.slow_s = 4.0
        assert (await r.one.campaign()).holder == "one"
        assert r.one.leads()
        r.clock.elapsed += TTL_S - 4.0
        assert not r.one.leads()
        r.line.slow_s = TTL_S
        await r.one.campaign()
        assert not r.one.leads()


async def test_who_cannot_renew_stops_before_another_begins(race):
    """Peer behaviours 155 and 156."""
    async with race() as r:
        await r.one.campaign()
        r.line.broken = True
        for _ in range(int(TTL_S * 10) + 1):
            r.clock.elapsed += 0.1
            with pytest.raises(StoreUnavailable):
                await r.one.campaign()
            await r.two.campaign()
            assert not (r.one.leads() and r.two.leads())
        assert r.two.leads()


async def test_who_was_replaced_concedes_and_resigns_nothing(race):
    """Peer behaviours 157 and 158."""
    async with race() as r:
        first = await r.one.campaign()
        r.clock.elapsed += TTL_S + 0.1
        second = await r.two.campaign()
        assert second.number > first.number
        await r.one.resign()
        assert (await r.one.campaign()).holder == "two"
        assert (r.one.leads(), r.two.leads()) == (False, True)


async def test_a_resignation_makes_way_at_once(race):
    """Peer behaviours 155 and 159: without a moment in which both lead."""
    async with race() as r:
        await r.one.campaign()
        assert (await r.two.campaign()).holder == "one"
        await r.one.resign()
        assert not r.one.leads()
        assert (await r.two.campaign()).holder == "two"
        assert r.two.leads()
