"""The heads of lanes in Redis: what claims saw behind the tasks that they took.

A list a lane, in the order of the line; a mark that changes whenever the lane is forgotten; and whether some
node is filling the list just now. What a node takes no other node gets. What it takes and does not use is not
brought back: the lane is forgotten, and the next claim looks anew.

A list begins at the head of its lane, as that was at one moment of PostgreSQL's clock, and goes on from
there. `KEPT_S` later all of it is void, whatever was added meanwhile: so nobody who was missed waits longer,
and a list that an older Redis brings back is no use to anybody.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

from mainspring.core.model import SECOND_US
from mainspring.stores.redis.dialling import Client
from mainspring.stores.tandem.link import Link

KEPT_S = 2.0
# Longer than any claim takes: who read a lane before it was forgotten must still find the mark changed.
MARK_KEPT_S = 60.0
# A list is filled when it has less than so many claims of this size left, by one node at a time. One that
# does not come back in time leaves it to others.
CLAIMS_LEFT = 4
FILLED_WITHIN_S = 0.2
_BIGINT = range(1 << 63)
_LUA = files(__package__).joinpath("lua")


class Head(NamedTuple):
    """A task at a place in line. `seen_us`: when the list that it belongs to began."""

    task: str
    seq: int
    seen_us: int

    def is_fresh(self, now_us: int) -> bool:
        return 0 <= now_us - self.seen_us <= KEPT_S * SECOND_US

    def is_young(self, now_us: int) -> bool:
        """Whether its list may still be added to."""
        return 0 <= now_us - self.seen_us <= KEPT_S * SECOND_US / 2

    def encode(self) -> bytes:
        return f"{self.seen_us} {self.seq} {self.task}".encode()


def decode(stored: bytes) -> Head | None:
    """`None` for what is no head: what is in Redis may come from anywhere."""
    try:
        seen, seq, task = stored.decode().split(" ", 2)
        head = Head(task, int(seq), int(seen))
    except ValueError:
        return None
    return head if head.seq in _BIGINT and "\0" not in task else None


class Taken(NamedTuple):
    """What a lane's list had, its mark at that moment, and what it still has. With `fills` it is for this
    node to see that there is more."""

    mark: bytes
    heads: list[Head]
    left: int
    last: bytes
    fills: bool


class Line(NamedTuple):
    """Heads to put, in place of all or `behind` the last one; unless the lane's mark has changed."""

    mark: bytes
    behind: bytes
    heads: Sequence[Head]


class _Script:
    def __init__(self, name: str) -> None:
        self._text = _LUA.joinpath(name).read_text()
        self._digest = sha1(self._text.encode()).hexdigest()

    async def run(self, client: Client, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """By its digest; with its text where the server was restarted or has dropped it."""
        try:
            return await client.execute_command("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await client.execute_command("EVAL", self._text, len(keys), *keys, *arguments)


class Heads:
    """Losing any of it costs a claim a look at PostgreSQL, no more."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._take = _Script("take.lua")
        self._put = _Script("put.lua")
        self._forgotten: set[int] = set()
        self._telling: asyncio.Task[None] | None = None

    def forget(self, lanes: Iterable[int]) -> None:
        """What is known of these lanes is void: by the next call of this node, and for other nodes soon."""
        if self._link.is_up:
            self._forgotten.update(lanes)
            if self._forgotten and self._telling is None:
                self._telling = asyncio.ensure_future(self._tell())

    async def _tell(self) -> None:
        # Not before what runs now has had its chance to take the lanes along.
        await asyncio.sleep(0)
        while self._forgotten:
            await self.take({})
        self._telling = None

    async def take(self, wanted: Mapping[int, int]) -> dict[int, Taken]:
        """Up to so many heads of each lane. Empty if Redis does not answer."""
        forgotten, self._forgotten = list(self._forgotten), set()
        lanes = list(wanted)
        arguments = [len(forgotten), int(MARK_KEPT_S * 1000), int(FILLED_WITHIN_S * 1000)]
        for count in wanted.values():
            arguments += [count, CLAIMS_LEFT * count]
        answer = await self._link.ask(
            lambda client: self._take.run(client, self._keys([*forgotten, *lanes]), arguments)
        )
        if answer is None:
            return {}
        return {
            lane: Taken(mark, list(filter(None, map(decode, stored))), left, last, fills > 0)
            for lane, (mark, stored, left, last, fills) in zip(lanes, answer, strict=True)
        }

    async def put(self, lines: Mapping[int, Line]) -> bool:
        """Whether Redis has heard of it."""
        arguments: list[Any] = [int(KEPT_S * 1000)]
        for line in lines.values():
            arguments += [line.mark, line.behind, len(line.heads), *[head.encode() for head in line.heads]]
        answer = await self._link.ask(lambda client: self._put.run(client, self._keys(lines), arguments))
        return answer is not None

    async def close(self) -> None:
        task, self._telling = self._telling, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _keys(self, lanes: Iterable[int]) -> list[str]:
        """One hash tag, so that scripts may name several lanes."""
        place = self._link.namespace
        return [f"{place}:{table}:{lane}" for lane in lanes for table in ("mark", "heads", "filling")]
