"""One namespace of one server: a verb is a script, called by its digest."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from redis.asyncio.cluster import RedisCluster
from redis.exceptions import NoScriptError

from mainspring.core.model import Lane
from mainspring.core.order import LaneHead
from mainspring.errors import MainspringError, StoreUnavailable
from mainspring.ports import Clock, RedisOptions
from mainspring.stores.redis.address import Address
from mainspring.stores.redis.calling import Call, Wires
from mainspring.stores.redis.dialling import (
    Client,
    Server,
    check_files,
    client_of,
    forget_connections,
    greet,
    hang_up,
    listener_of,
)
from mainspring.stores.redis.failures import FAILURES, is_of_a_standby, translated
from mainspring.stores.redis.hearing import Ear
from mainspring.stores.redis.packing import Reply
from mainspring.stores.redis.scripts import Script, keys, scripts
from mainspring.stores.redis.wires import connected

# For a call as a whole: waiting for a connection, making one, the server's answer.
CALL_LIMIT_S = 30.0
# So long a node waits at most before it tries a server again that it did not reach.
PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0
LANES_KNOWN_AT_ONCE = 100_000


class Database:
    """A call whose answer is lost is never repeated: `StoreUnavailable` says that its outcome is unknown, and
    every verb is safe to repeat."""

    def __init__(
        self,
        address: Address,
        options: RedisOptions,
        clock: Clock,
        changed: Callable[[Sequence[LaneHead] | None, bool], None],
        *,
        keeps_history: bool = False,
        server_clock: str | None = None,
    ) -> None:
        """`changed` is called after a write that other nodes may wait for: with the lanes that have ready
        tasks, if they are known, and whether tasks have ended."""
        self._changed = changed
        self.told: Callable[[], None] = lambda: None
        # What this node signs its hints with.
        self.name = clock.new_id().encode()
        self._lanes: dict[int, Lane] = {}
        self._address = address
        self._options = options
        self._clock = clock
        self.keys = keys(address.namespace)
        self.channel = f"{{{address.namespace}}}:hints".encode()
        self._scripts = scripts(server_clock, keeps_history=keeps_history)
        self._calls: dict[str, Call] = {}
        self._client: Client | None = None
        self._wires: Wires | None = None
        self._slots = asyncio.Semaphore(options.connections)
        self._failed = 0
        self._again_at = 0.0

    async def open(self) -> Server:
        """Connect, and look whether the server can be used. Raises `StoreUnavailable`, `StoreError`,
        `StoreTooNew`."""
        check_files(self._address)
        client = client_of(self._address)
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                server = await greet(client, self.keys["meta"], self._address, self._options)
        except BaseException as error:
            with contextlib.suppress(*FAILURES):
                await hang_up(client)
            if isinstance(error, FAILURES) and not isinstance(error, MainspringError):
                raise translated(error, self._address.shown) from error
            raise
        self._client, self._failed = client, 0
        # Of a cluster the library finds the node, and follows where it moves.
        self._wires = (
            None if isinstance(client, RedisCluster) else Wires(client.connection_pool, CALL_LIMIT_S)
        )
        return server

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            for _ in range(self._options.connections):
                await self._slots.acquire()
            self._slots = asyncio.Semaphore(self._options.connections)
            if self._wires is not None:
                await self._wires.close()
            await hang_up(client)

    async def run(self, verb: str, *arguments: bytes | int) -> Reply:
        """Call a script by its digest; with its text where the server was restarted or has dropped it."""
        script = self._scripts[verb]
        try:
            answer = await self._evaluated("EVALSHA", script.digest, script, arguments)
        except NoScriptError:
            answer = await self._evaluated("EVAL", script.text, script, arguments)
        reply = Reply(*answer)
        self._know(reply.lanes)
        return reply

    async def _evaluated(
        self, command: str, named: str, script: Script, arguments: Sequence[bytes | int]
    ) -> Any:
        wires = self._wires
        if wires is None:
            return await self._call(command, named, len(script.keys), *self._names(script), *arguments)
        if named not in self._calls:
            self._calls[named] = Call(command, named, self._names(script))
        call = self._calls[named]
        return await self._attempt(lambda _: wires.ask(call.packed(arguments)), is_free=wires.is_free)

    def _names(self, script: Script) -> list[str]:
        return [self.keys[name] for name in script.keys]

    async def do(self, command: str, table: str, *arguments: str | bytes | int) -> Any:
        """One plain command on one of the namespace's keys."""
        return await self._call(command, self.keys[table], *arguments)

    def wrote(self, heads: Sequence[LaneHead] | None = None, *, has_ended: bool = True) -> None:
        """Something that other nodes may wait for."""
        self._changed(heads, has_ended)

    def heads_of(self, places: Mapping[int, int]) -> list[LaneHead] | None:
        """Heads of lanes by their numbers and places; `None` if one of the lanes is not known here yet."""
        lanes = self._lanes
        if not places.keys() <= lanes.keys():
            return None
        return [LaneHead(lane_id, lanes[lane_id], seq) for lane_id, seq in places.items()]

    def _know(self, lanes: Mapping[int, Lane]) -> None:
        if len(self._lanes) >= LANES_KNOWN_AT_ONCE:
            self._lanes.clear()
        self._lanes.update(lanes)

    async def _call(self, *words: str | bytes | int) -> Any:
        return await self._attempt(lambda client: client.execute_command(*words))

    async def _attempt(self, ask: Callable[[Client], Awaitable[Any]], *, is_free: bool = False) -> Any:
        """`is_free`: whoever asks sees to it that an answer comes in time, and waits for nothing else."""
        client = self._opened()
        try:
            if is_free and not self._failed and not self._slots.locked():
                async with self._slots:
                    answer = await ask(client)
            else:
                async with asyncio.timeout(CALL_LIMIT_S), self._slots:
                    if self._failed:
                        await asyncio.sleep(max(0.0, self._again_at - self._clock.monotonic()))
                    answer = await ask(client)
        except NoScriptError:
            raise
        except FAILURES as error:
            found = translated(error, self._address.shown)
            if isinstance(found, StoreUnavailable):
                self._pause()
            if is_of_a_standby(error):
                await self._forget_connections(client)
            raise found from error
        self._failed = 0
        return answer

    async def _forget_connections(self, client: Client) -> None:
        with contextlib.suppress(*FAILURES):
            if self._wires is not None:
                await self._wires.close()
            await forget_connections(client)

    def _pause(self) -> None:
        """Many nodes must not all come at the moment at which a server is back."""
        pause_s = min(PAUSE_S * 2**self._failed, LONGEST_PAUSE_S)
        self._failed = min(self._failed + 1, 10)
        self._again_at = self._clock.monotonic() + pause_s * self._clock.random.uniform(0.5, 1.0)

    async def hear(self, heard: Callable[[bytes], None]) -> None:
        """What is published, until the connection ends; beginning with an empty text: something may have been
        told before. Raises what the library raises."""
        client = await listener_of(self._opened(), self.keys["meta"], self._address)
        try:
            ear = await connected(client.connection_pool, Ear)
            try:
                await ear.listen(self.channel, heard)
            finally:
                await ear.hang_up()
        finally:
            await hang_up(client)

    def _opened(self) -> Client:
        if self._client is None:
            raise StoreUnavailable("the store is closed")
        return self._client
