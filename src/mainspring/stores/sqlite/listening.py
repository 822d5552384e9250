"""Hints for this process's nodes that another process has written to the file."""

import asyncio
from collections.abc import Callable

QUIET_S = 0.02


class Listener:
    """Passes hints of the writing thread on to an event loop, one in 20 ms at most: two busy processes
    notice each other at every transaction, and a wake may cost its node a look at the whole board."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop = loop
        self._wake = wake
        self._is_hinted = False
        self._is_quiet = False

    def hint(self) -> None:
        """Called in the writing thread."""
        if self._is_hinted:
            return
        self._is_hinted = True
        try:
            self._loop.call_soon_threadsafe(self._hear)
        except RuntimeError:
            # The loop is closed: nobody listens there any more.
            return

    def _hear(self) -> None:
        if self._is_hinted and not self._is_quiet:
            self._is_hinted, self._is_quiet = False, True
            self._loop.call_later(QUIET_S, self._quiet_is_over)
            self._wake()

    def _quiet_is_over(self) -> None:
        self._is_quiet = False
        self._hear()
