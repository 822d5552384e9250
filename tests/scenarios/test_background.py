"""What works in the background goes on, whatever it runs into."""

import asyncio

import pytest

from mainspring.clock import VirtualClock
from mainspring.errors import StoreUnavailable, WrongState
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.scheduler import service as scheduler_service
from mainspring.services import ServiceLoop
from mainspring.services import loop as service_loop
from mainspring.stores.memory import MemoryStore


class Stumbling:
    """Fails in its first tick; `went_on` is set by the second."""

    name = "stumbling"

    def __init__(self, error):
        self.went_on = asyncio.Event()
        self._errors = [error]

    async def tick(self):
        if self._errors:
            raise self._errors.pop()
        self.went_on.set()
        return 3600.0


async def stumble(error, monkeypatch):
    """Nothing is told but to the log, or to whoever handles errors that nobody caught."""
    monkeypatch.setattr(service_loop, "AFTER_ERROR_S", 0.0)
    uncaught = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: uncaught.append(context))
    service = Stumbling(error)
    loop = ServiceLoop(service, VirtualClock(1))
    loop.start()
    try:
        async with asyncio.timeout(60):
            await service.went_on.wait()
    finally:
        await loop.stop()
    return [(context["message"], context["exception"]) for context in uncaught]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), WrongState("of all errors")])
async def test_an_error_that_may_happen_is_logged(error, monkeypatch, caplog):
    assert await stumble(error, monkeypatch) == []
    assert "stumbling" in caplog.text


async def test_a_bug_is_told_and_does_not_end_the_service(monkeypatch):
    """A reaper that ended silently would be missed when the first worker dies."""
    error = KeyError("no such lane")
    assert await stumble(error, monkeypatch) == [("stumbling failed", error)]


async def test_a_bug_in_what_a_scheduler_keeps_is_told_and_does_not_end_it(monkeypatch):
    monkeypatch.setattr(scheduler_service, "KEEP_ON_AFTER_S", 0.0)
    uncaught, went_on, error = [], asyncio.Event(), KeyError("no such lane")
    asyncio.get_running_loop().set_exception_handler(lambda _, context: uncaught.append(context["exception"]))
    clock = VirtualClock(1)
    store = MemoryStore(clock)
    await store.open()
    scheduler = Scheduler(store, clock, SchedulerSettings())

    async def stumbling():
        if not uncaught:
            raise error
        went_on.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(scheduler.progress, "keep", stumbling)
    await scheduler.start()
    try:
        async with asyncio.timeout(60):
            await went_on.wait()
    finally:
        await scheduler.close()
    assert uncaught == [error]
