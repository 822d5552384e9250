"""A call that is given up is given up: whoever was told to stop must not go on."""

import asyncio

from mainspring.clock import SystemClock
from mainspring.stores import open_store

STEPS = 30


async def test_a_cancelled_call_ends_cancelled(url):
    """Wherever the cancellation meets it: while it connects, writes, waits or reads."""
    for steps in range(STEPS):
        store = open_store(url, SystemClock())
        await store.open()
        calls = [asyncio.create_task(store.promote(10)) for _ in range(3)]
        for _ in range(steps):
            await asyncio.sleep(0)
        asked = [call for call in calls if call.cancel()]
        await asyncio.gather(*calls, return_exceptions=True)
        assert all(call.cancelled() for call in asked), steps
        await store.close()
