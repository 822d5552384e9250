"""Nobody leads: whoever reads the log of a worker at the store learns it, once."""

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest

from mainspring.clock import VirtualClock
from mainspring.config import Settings
from mainspring.core.model import Lane
from mainspring.core.schedules import Schedule
from mainspring.core.templates import Template
from mainspring.core.timing import Timing
from mainspring.election.store import TTL_S, StoreElector
from mainspring.node import Node
from mainspring.ports import NewSchedule
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.services import Lookout, lookout
from mainspring.stores import open_store

HOURLY = NewSchedule(
    Schedule(Timing(every_us=3_600_000_000)), Template(Lane("default", "echo", "default", 5), b"1")
)
LIMIT_S = 60


class View:
    """A lookout over a store that others work at, too."""

    def __init__(self, store, clock, caplog):
        self.store = store
        self.clock = clock
        self.elector = StoreElector(store, clock, "server")
        self._lookout = Lookout(store)
        self._log = caplog

    async def told(self, looks=2):
        """What is new after so many looks."""
        self._log.clear()
        for _ in range(looks):
            self.clock.elapsed += await self._lookout.tick()
        return self._log.messages


@pytest.fixture(params=["memory", "sqlite"])
def viewing(request, tmp_path, caplog):
    caplog.set_level(logging.INFO, "mainspring.services.lookout")
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/scheduler.db"

    @asynccontextmanager
    async def make():
        clock = VirtualClock(1)
        store = open_store(url, clock)
        await store.open()
        try:
            yield View(store, clock, caplog)
        finally:
            await store.close()

    return make


async def test_nobody_leads_from_the_start(viewing):
    """Told once, and again only when there is more that nobody does."""
    async with viewing() as view:
        assert await view.told(looks=1) == []  # a server may be about to start
        (text,) = await view.told(looks=5)
        assert "nobody leads this store: finished tasks are not forgotten" in text
        assert "mainspring server" in text
        scheduler = Scheduler(view.store, view.clock, SchedulerSettings())
        await scheduler.schedules.put("poll", HOURLY)
        (text,) = await view.told(looks=5)
        assert "schedules do not fire" in text


async def test_a_leader_that_goes_and_one_that_comes(viewing):
    async with viewing() as view:
        assert (await view.elector.campaign()).holder == "server"
        assert await view.told(looks=1) == []
        view.clock.elapsed += TTL_S + 1
        (text,) = await view.told()
        assert "nobody leads" in text
        await view.elector.campaign()
        assert await view.told(looks=1) == ["this store has a leader again"]
        await view.elector.campaign()
        assert await view.told(looks=1) == []


async def test_a_leader_in_time_is_no_news(viewing):
    """Between two looks any other node takes over."""
    async with viewing() as view:
        assert await view.told(looks=1) == []
        await view.elector.campaign()
        assert await view.told(looks=1) == []
        view.clock.elapsed += TTL_S + 1
        assert await view.told(looks=1) == []


@pytest.mark.parametrize("campaigns", [False, True])
async def test_who_is_on_the_lookout(campaigns, tmp_path, monkeypatch):
    """A node that does not stand for leadership."""
    monkeypatch.setattr(lookout, "INTERVAL_S", 0.0)
    warned = asyncio.Event()
    monkeypatch.setattr(lookout._log, "warning", lambda *_: warned.set())
    settings = Settings(store=f"sqlite:///{tmp_path}/scheduler.db")
    async with Node(settings, serve=False, campaigns=campaigns) as node:
        async with asyncio.timeout(LIMIT_S):
            while not (node.elector.leads() if campaigns else warned.is_set()):
                await asyncio.sleep(0.001)
    assert warned.is_set() is not campaigns
