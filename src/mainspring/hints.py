"""Hints between nodes: what one has written, told to the others, and a number that rises with each telling.

    write ─► tell ─► say ──► a channel of the store ──► heard by other nodes ─► wake-ups
                      └────► the number, asked for now and then ──────────────► wake-ups

A message names the lanes that have ready tasks, so that others can claim at once; that tasks have ended is
told a little later, with all that ends meanwhile: `7 e 17:1700000,18:1700003` says that node 7 saw tasks end,
and lanes 17 and 18 begin at these places. `*` says that there is more than is told. Where nobody can hear,
the number alone is looked at, and more often.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable, Mapping, Sequence

from mainspring.core.order import LaneHead
from mainspring.errors import StoreError
from mainspring.ports import Wakeups

QUIET_S = 0.02
LOOK_SOON_S, LOOK_LATE_S = 0.05, 0.5
# Seldom: waiting claims read the board now and then anyway, and a node at rest asks its store little.
LOOK_WHILE_HEARING_S = 3.0
HEAR_AGAIN_S = 1.0
# A notification holds less than 8,000 bytes.
LANES_TOLD = 180


class News:
    """What has happened since the last telling."""

    def __init__(self) -> None:
        self.places: dict[int, int] = {}
        self.has_ended = False
        self.is_vague = False

    def __bool__(self) -> bool:
        return bool(self.places) or self.has_ended or self.is_vague

    @property
    def is_urgent(self) -> bool:
        """Whether somebody may wait for it to go on: workers for tasks."""
        return bool(self.places) or self.is_vague

    def add(self, heads: Iterable[LaneHead] | None, *, has_ended: bool) -> None:
        """`None`: lanes have gained tasks, and nobody knows which."""
        self.has_ended = self.has_ended or has_ended
        if heads is None:
            self.is_vague = True
            return
        for head in heads:
            self.places[head.lane_id] = min(head.seq, self.places.get(head.lane_id, head.seq))
        if len(self.places) > LANES_TOLD:
            self.places, self.is_vague = {}, True

    def text(self) -> str:
        told = ("e" if self.has_ended else "") + ("*" if self.is_vague else "")
        return f"{told} " + ",".join(f"{lane_id}:{seq}" for lane_id, seq in self.places.items())

    @classmethod
    def read(cls, text: str) -> "News":
        """What another node told; vague if it makes no sense, as from a later version."""
        news = cls()
        told, separator, places = text.partition(" ")
        news.has_ended, news.is_vague = "e" in told, not separator or not set(told) <= {"e"}
        try:
            for place in filter(None, places.split(",")):
                lane_id, seq = place.split(":")
                news.places[int(lane_id)] = int(seq)
        except ValueError:
            news.is_vague = True
        return news


class Hints(ABC):
    """What a node tells others, and hears from them. Nothing here is promised: a hint may come late, twice,
    or not at all."""

    not_reached: tuple[type[Exception], ...] = (StoreError, OSError, TimeoutError)

    def __init__(self) -> None:
        self._listeners: list[Wakeups] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._name = ""
        self._known = 0
        self._news = News()
        self._urgent = asyncio.Event()
        self._is_saying = self._is_hearing = self._is_listening = False

    # --- the store's part -----------------------------------------------------------------------

    @abstractmethod
    async def _publish(self, message: str) -> None:
        """Tell all nodes, and let the number rise by one."""

    @abstractmethod
    async def _number(self) -> int: ...

    @abstractmethod
    async def _new_name(self) -> str:
        """A word that no other node has."""

    @abstractmethod
    async def _hear_once(self) -> None:
        """Call `_begins_to_hear`, then `_heard` with each message, until the connection ends."""

    @abstractmethod
    def _heads_of(self, places: Mapping[int, int]) -> list[LaneHead] | None:
        """Heads of lanes by their numbers and places; `None` if one of the lanes is not known here yet."""

    def _may_hear(self) -> bool:
        return True

    def _hear_again_s(self) -> float:
        return HEAR_AGAIN_S

    # --- the node's part ------------------------------------------------------------------------

    def listen(self, wakeups: Wakeups) -> None:
        self._listeners.append(wakeups)
        if not self._is_listening:
            self._is_listening = True
            self._start(self._hear())
            self._start(self._look())

    def tell(self, heads: Sequence[LaneHead] | None, *, has_ended: bool) -> None:
        """Lanes have ready tasks (`None`: nobody asked which), or tasks have ended."""
        self._news.add(heads, has_ended=has_ended)
        if self._news.is_urgent:
            self._urgent.set()
        if self._news and not self._is_saying:
            self._is_saying = True
            self._start(self._say())

    def told(self) -> None:
        """The store has told by itself what it has written."""
        if not self._is_hearing:
            self._known += 1  # else it hears itself

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._is_saying = self._is_hearing = self._is_listening = False

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _own_name(self) -> str:
        """What this node signs with, so that it does not wake itself."""
        if not self._name:
            self._name = await self._new_name()
        return self._name

    async def _say(self) -> None:
        try:
            while self._news:
                if not self._urgent.is_set():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(QUIET_S):
                            await self._urgent.wait()
                news, self._news = self._news, News()
                self._urgent.clear()
                with contextlib.suppress(*self.not_reached):
                    await self._publish(f"{await self._own_name()} {news.text()}")
                    self.told()
        finally:
            self._is_saying = False

    # --- hearing --------------------------------------------------------------------------------

    async def _hear(self) -> None:
        """Keep a connection that listens, for as long as the store gives one."""
        while self._may_hear():
            with contextlib.suppress(*self.not_reached):
                await self._own_name()
                await self._hear_once()
            self._is_hearing = False
            await asyncio.sleep(self._hear_again_s())

    def _begins_to_hear(self) -> None:
        """What was told while nobody listened is not known."""
        self._is_hearing = True
        self._wake()

    def _heard(self, message: str) -> None:
        self._known += 1
        sender, _, text = message.partition(" ")
        if sender == self._name:
            return
        news = News.read(text)
        heads = self._heads_of(news.places)
        if heads is None or news.is_vague:
            self._wake()
            return
        for listener in self._listeners:
            if heads:
                listener.gained(heads)
            if news.has_ended:
                listener.ended()

    def _wake(self) -> None:
        """Something was told, nobody knows what."""
        for listener in self._listeners:
            listener.anything()

    async def _look(self) -> None:
        """Ask for the number: seldom while messages are heard, else the more often the more it rises. A rise
        of which this node does not know is news."""
        seen: int | None = None
        wait_s = LOOK_SOON_S
        while True:
            with contextlib.suppress(*self.not_reached):
                number = await self._number() - self._known
                if seen is not None and number != seen:
                    wait_s = LOOK_SOON_S
                    self._wake()
                seen = number
            wait_s = min(2 * wait_s, LOOK_LATE_S)
            await asyncio.sleep(LOOK_WHILE_HEARING_S if self._is_hearing else wait_s)
