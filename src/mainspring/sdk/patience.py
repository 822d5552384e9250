"""Asking again when there was no answer. Only for calls that may be repeated."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mainspring.core.model import SECOND_US, RetryPolicy
from mainspring.core.retry import backoff_us
from mainspring.errors import Overloaded, StoreUnavailable
from mainspring.ports import Clock

T = TypeVar("T")
PAUSES = RetryPolicy(delay_s=0.05, max_delay_s=2.0, jitter=0.5)


async def insist(ask: Callable[[], Awaitable[T]], clock: Clock, patience_s: float) -> T:
    """What `ask` answers. Where it raises `StoreUnavailable` or `Overloaded` it is asked again, after a
    while, as long as the patience lasts; then that is raised."""
    until_s, tries = clock.monotonic() + patience_s, 0
    while True:
        try:
            return await ask()
        except (StoreUnavailable, Overloaded) as error:
            tries += 1
            pause_s = backoff_us(PAUSES, tries, clock.random.random()) / SECOND_US
            if isinstance(error, Overloaded):
                pause_s = max(pause_s, error.retry_after_s)
            if clock.monotonic() + pause_s > until_s:
                raise
        await asyncio.sleep(pause_s)
