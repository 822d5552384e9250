"""The loop of a service goes on, whatever a tick runs into."""

import asyncio

import pytest

from mainspring.clock import VirtualClock
from mainspring.errors import StoreUnavailable, WrongState
from mainspring.services import ServiceLoop
from mainspring.services import loop as service_loop


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
        async with asyncio.timeout(10):
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
