"""Redis as something that a node can do without: every call ends within a deadline, and after one that fails
nobody waits for Redis again until it has answered in the background."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, AuthorizationError, ResponseError

from mainspring.errors import InvalidInput, StoreUnavailable
from mainspring.ports import Clock
from mainspring.stores.redis.address import parse_address
from mainspring.stores.redis.dialling import (
    Client,
    check_files,
    client_of,
    forget_connections,
    hang_up,
    listener_of,
    node_of,
)
from mainspring.stores.redis.failures import FAILURES, is_of_a_standby, translated

T = TypeVar("T")

ANSWER_LIMIT_S = 0.1
AGAIN_SOON_S, AGAIN_LATE_S = 0.25, 2.0
_REFUSALS = (AuthenticationError, AuthorizationError, ResponseError)

_log = logging.getLogger("mainspring.stores.tandem")


class Link:
    """What Redis says, or `None`. A refusal of one command (no memory left, a replica) is `None`, too.

    Everything of it begins with `namespace`, in braces: all of it lies in one slot of a cluster."""

    def __init__(self, url: str, clock: Clock) -> None:
        """Raises `InvalidInput` for an address that cannot be one."""
        try:
            self._address = parse_address(url)
        except InvalidInput as error:
            raise InvalidInput("queue", error.problem, error.accepted) from None
        self.namespace = f"{{{self._address.namespace}}}"
        self.is_up = False
        # Sentinels, and nodes of a cluster, are asked one after the other.
        self.connect_s = self._address.connect_s * len(self._address.hosts)
        self._client = client_of(self._address)
        self._random = clock.random
        self._coming_back: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, if Redis is there; else go on without.

        Raises `StoreUnavailable` if it is there and refuses, or a file of the address is not: waiting would
        not help."""
        try:
            check_files(self._address)
        except StoreUnavailable as error:
            raise StoreUnavailable(f"the Redis beside it (--queue): {error.detail}") from None
        try:
            async with asyncio.timeout(self.connect_s):
                await self._ping()
            self.is_up = True
        except FAILURES as error:
            # The library tells of a refusal at the greeting as of a connection that failed.
            refusals = [told for told in (error, error.__cause__) if isinstance(told, _REFUSALS)]
            if refusals:
                await self.close()
                told = translated(refusals[0], self._address.shown)
                raise StoreUnavailable(f"the Redis beside it (--queue) refuses this node: {told}") from error
            self._lose(error)

    async def close(self) -> None:
        task, self._coming_back = self._coming_back, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.is_up = False
        with suppress(*FAILURES):
            await hang_up(self._client)

    async def ask(self, call: Callable[[Client], Awaitable[T]]) -> T | None:
        if not self.is_up:
            return None
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                return await call(self._client)
        except FAILURES as error:
            if is_of_a_standby(error):
                with suppress(*FAILURES):
                    await forget_connections(self._client)
            elif not isinstance(error, ResponseError):
                self._lose(error)
            return None

    @asynccontextmanager
    async def listener(self) -> AsyncIterator[Redis]:
        """A client for listening alone. Raises what the library raises."""
        async with asyncio.timeout(self.connect_s):
            client = await listener_of(self._client, self.namespace, self._address)
        try:
            yield client
        finally:
            await hang_up(client)

    def pause_s(self, seconds: float) -> float:
        """About so long: nodes that lost Redis together must not come back together."""
        return seconds * (0.5 + self._random.random())

    async def _ping(self) -> None:
        node = await node_of(self._client, self.namespace)
        await node.execute_command("PING")

    def _lose(self, error: BaseException) -> None:
        if self._coming_back is None:
            self.is_up = False
            reason = str(error) or type(error).__name__
            _log.warning("Redis does not answer (%s): going on with PostgreSQL alone", reason)
            self._coming_back = asyncio.ensure_future(self._come_back())

    async def _come_back(self) -> None:
        wait_s = AGAIN_SOON_S
        while not self.is_up:
            await asyncio.sleep(self.pause_s(wait_s))
            wait_s = min(2 * wait_s, AGAIN_LATE_S)
            with suppress(*FAILURES):
                async with asyncio.timeout(self.connect_s):
                    # What is open may lead to a server that is no more the one to ask.
                    await forget_connections(self._client)
                    await self._ping()
                async with asyncio.timeout(ANSWER_LIMIT_S):
                    await self._ping()
                self.is_up = True
        self._coming_back = None
        _log.info("Redis answers again")
