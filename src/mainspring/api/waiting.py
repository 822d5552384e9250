"""Calls that wait: as long as their caller does, and as long as the node serves."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from mainspring.api.http import Call, ClientGone
from mainspring.errors import StoreUnavailable

T = TypeVar("T")


class Waits:
    """The calls of a node that wait for something to happen."""

    def __init__(self) -> None:
        self._open: set[asyncio.Future[Any]] = set()
        self._closed = False

    def close(self) -> None:
        """Answer all of them now, and wait for nothing any more: a node that stops must not keep its callers,
        nor be kept by them."""
        self._closed = True
        for working in self._open:
            working.cancel()

    async def unless_gone(self, call: Call, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work`, but cancel it as soon as the caller hangs up (`ClientGone`) or the node closes its
        door (`StoreUnavailable`: the caller comes again, and finds it back or another one).

        Only when the body has been read: what comes then is the end.
        """
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(call.left())
        self._open.add(working)
        if self._closed:
            working.cancel()
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if working.cancelled():
                raise StoreUnavailable("this node is shutting down")
            if working.done():
                return working.result()
            raise ClientGone
        finally:
            self._open.discard(working)
            working.cancel()
            leaving.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)
