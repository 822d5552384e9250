"""One namespace of one server: a verb is a script, called by its digest."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from hashlib import sha1
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError
from redis.exceptions import TimeoutError as TimedOut

from mainspring.errors import StoreError, StoreFull, StoreUnavailable
from mainspring.stores.redis.packing import Reply
from mainspring.stores.redis.scripts import keys, scripts


class Database:
    """A call whose answer is lost is never repeated by the library: `StoreUnavailable` says that its outcome
    is unknown."""

    def __init__(
        self,
        url: str,
        namespace: str,
        clock: str | None,
        changed: Callable[[], None],
        *,
        keeps_history: bool = False,
    ) -> None:
        """`changed` is called after a write that other nodes may wait for."""
        self.wrote = changed
        self._url = url
        self.keys = keys(namespace)
        self.channel = f"{{{namespace}}}:hints"
        self._scripts = scripts(clock, keeps_history=keeps_history)
        self._calls = {
            verb: (sha1(script.text.encode()).hexdigest(), [self.keys[name] for name in script.keys])
            for verb, script in self._scripts.items()
        }
        self._client: Redis | None = None

    async def open(self) -> None:
        """Connect, and hand in the scripts. Raises `StoreUnavailable`."""
        client = Redis.from_url(self._url, retry=Retry(NoBackoff(), 0))
        with translated():
            for script in self._scripts.values():
                await client.script_load(script.text)
        self._client = client

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def run(self, verb: str, *arguments: bytes | int) -> Reply:
        """Call a script by its digest; with its text where the server was restarted or has dropped it."""
        client, (digest, names) = self._opened(), self._calls[verb]
        call: list[Any] = [len(names), *names, *arguments]
        with translated():
            try:
                answer = await client.evalsha(digest, *call)
            except NoScriptError:
                answer = await client.eval(self._scripts[verb].text, *call)
        return Reply(*answer)

    async def do(self, command: str, table: str, *arguments: str | bytes | int) -> Any:
        """One plain command on one of the namespace's keys."""
        client = self._opened()
        with translated():
            answer: Any = await client.execute_command(command, self.keys[table], *arguments)  # type: ignore[no-untyped-call]
            return answer

    async def publish(self, text: bytes) -> None:
        client = self._opened()
        with translated():
            await client.execute_command("PUBLISH", self.channel, text)  # type: ignore[no-untyped-call]

    async def hear(self) -> AsyncIterator[bytes]:
        """What is published, beginning with an empty text: something may have been told before."""
        async with self._opened().pubsub() as listener:
            await listener.subscribe(self.channel)
            async for message in listener.listen():
                yield message["data"] if message["type"] == "message" else b""

    def _opened(self) -> Redis:
        if self._client is None:
            raise StoreUnavailable("the store is closed")
        return self._client


@contextmanager
def translated() -> Iterator[None]:
    """The library's errors as those of the port."""
    try:
        yield
    except (Unreachable, TimedOut, OSError) as error:
        raise StoreUnavailable(str(error)) from error
    except OutOfMemoryError as error:
        raise StoreFull(str(error)) from error
    except RedisError as error:
        raise StoreError(str(error)) from error
