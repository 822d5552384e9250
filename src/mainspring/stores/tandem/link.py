"""Redis as something that a node can do without: every call ends within a deadline, and after one that fails
nobody waits for Redis again until it has answered in the background."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    RedisError,
    ResponseError,
)

from mainspring.core.redis_address import ACCEPTED
from mainspring.errors import InvalidInput, StoreUnavailable
from mainspring.ports import Clock

T = TypeVar("T")

ANSWER_LIMIT_S = 0.1
CONNECT_LIMIT_S = 2.0
AGAIN_SOON_S, AGAIN_LATE_S = 0.25, 2.0
FAILURES = (RedisError, OSError, TimeoutError)
_REFUSALS = (AuthenticationError, AuthorizationError, ResponseError)

_log = logging.getLogger("mainspring.stores.tandem")


class Link:
    """What Redis says, or `None`. A refusal of one command (no memory left, a replica) is `None`, too."""

    def __init__(self, url: str, clock: Clock) -> None:
        """Raises `InvalidInput` for an address that cannot be one."""
        try:
            # With a limit of its own the library writes by `asyncio.wait_for`, which loses cancellations.
            self.client = Redis.from_url(
                url, retry=Retry(NoBackoff(), 0), socket_timeout=None, single_connection_client=True
            )
            self.listener = Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=None)
        except ValueError as error:
            raise InvalidInput("queue", f"not an address of Redis: {error}", ACCEPTED) from None
        self.is_up = False
        self._random = clock.random
        self._coming_back: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, if Redis is there; else go on without.

        Raises `StoreUnavailable` if it is there and refuses: waiting would not help."""
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await self.client.ping()
            self.is_up = True
        except FAILURES as error:
            # The library tells of a refusal at the greeting as of a connection that failed.
            if isinstance(error, _REFUSALS) or isinstance(error.__cause__, _REFUSALS):
                await self.close()
                raise StoreUnavailable(f"the Redis beside it (--queue) refuses this node: {error}") from error
            self._lose(error)

    async def close(self) -> None:
        task, self._coming_back = self._coming_back, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.is_up = False
        with suppress(*FAILURES):
            await self.client.aclose()
            await self.listener.aclose()

    async def ask(self, call: Callable[[Redis], Awaitable[T]]) -> T | None:
        if not self.is_up:
            return None
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                return await call(self.client)
        except ResponseError:
            return None
        except FAILURES as error:
            self._lose(error)
            return None

    def pause_s(self, seconds: float) -> float:
        """About so long: nodes that lost Redis together must not come back together."""
        return seconds * (0.5 + self._random.random())

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
                async with asyncio.timeout(CONNECT_LIMIT_S):
                    await self.client.ping()
                async with asyncio.timeout(ANSWER_LIMIT_S):
                    await self.client.ping()
                self.is_up = True
        self._coming_back = None
        _log.info("Redis answers again")
