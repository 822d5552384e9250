"""Work that never waits, and functions that must not notice an event loop."""

import asyncio
import inspect
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any


def finish(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a verb of the memory store to its end: it is one step, and never waits."""
    assert inspect.iscoroutine(work)
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a verb of the memory store waited for something")


@contextmanager
def no_loop() -> Iterator[None]:
    """Inside, no event loop runs in this thread, as on the thread that a worker gives to a function: it may
    block, and start loops of its own."""
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
