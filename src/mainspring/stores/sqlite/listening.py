"""Hints for this process's nodes that another process has written to the file.

    another process ──datagram──► Ear (wakes.py) ──► gained, ended      at once, if it comes at all
           └──► the file ──look──► the writing thread ──► anything      a little later, unless all was told

Each transaction brings the file's last minted number from one value to another, so whoever sees the number
somewhere else than where he left it can follow what was told from there to here. If that leads here, there is
nothing more to know. If not, a process has written that tells nothing: one of an older version, or one that
may not tell.
"""

import asyncio
from collections import deque

from mainspring.ports import Wakeups
from mainspring.stores.sqlite.wakes import Ear

QUIET_S = 0.02
# A commit is seen in the file a little before it is told.
TOLD_AFTER_S = 0.005
SPANS_KEPT = 10_000


class Listener:
    """Passes hints on to an event loop. Such as say no more than that others have written it passes on once
    in 20 ms at most: two busy processes notice each other at every transaction, and a wake may cost its node
    a look at the whole board."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wakeups: Wakeups, ear: Ear | None) -> None:
        self._loop = loop
        self._wakeups = wakeups
        self._ear = ear
        self._seen: deque[tuple[int, int] | None] = deque()
        self._told: dict[int, int] = {}
        self._is_judging = self._is_hinted = self._is_quiet = False
        if ear is not None:
            loop.add_reader(ear.socket, self._hear)

    def hint(self, span: tuple[int, int] | None) -> None:
        """Others have brought the file's last number from one value to another; `None` for all else that
        they may have done. Called in the writing thread."""
        self._seen.append(span)
        if len(self._seen) > 1:
            return
        try:
            self._loop.call_soon_threadsafe(self._look_into)
        except RuntimeError:
            # The loop is closed: nobody listens there any more.
            return

    def close(self) -> None:
        """Called in the loop, or when that is closed."""
        ear, self._ear = self._ear, None
        if ear is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(ear.socket)
            ear.close()

    def _hear(self) -> None:
        has_ended = False
        for news in self._ear.news() if self._ear is not None else ():
            if news.span is not None:
                self._told[news.span[0]] = news.span[1]
            has_ended = has_ended or news.has_ended
            if news.heads is None:
                self._wake()
            elif news.heads:
                self._wakeups.gained(news.heads)
        if has_ended:
            self._wakeups.ended()
        if len(self._told) > SPANS_KEPT:
            self._told.clear()

    def _look_into(self) -> None:
        if self._ear is None:
            self._judge()
        else:
            self._loop.call_later(TOLD_AFTER_S, self._judge)

    def _judge(self) -> None:
        self._hear()
        all_was_told = True
        while self._seen:
            all_was_told = self._was_told(self._seen.popleft()) and all_was_told
        if all_was_told:
            self._wakeups.ended()  # or began: who watches a task wants to know that too
        else:
            self._wake()

    def _was_told(self, span: tuple[int, int] | None) -> bool:
        if span is None:
            return False
        number, last = span
        while number != last and number in self._told:
            number = self._told.pop(number)
        return number == last

    def _wake(self) -> None:
        self._is_hinted = True
        if not self._is_quiet:
            self._is_hinted, self._is_quiet = False, True
            self._loop.call_later(QUIET_S, self._quiet_is_over)
            self._wakeups.anything()

    def _quiet_is_over(self) -> None:
        self._is_quiet = False
        if self._is_hinted:
            self._wake()
