"""The commands' way to a server: HTTP, and errors of the tree instead of status codes."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from mainspring import __version__
from mainspring.cli.exits import Unreachable
from mainspring.core.addresses import shown
from mainspring.errors import InvalidInput
from mainspring.wire.bounds import BOUNDS
from mainspring.wire.problems import error_of
from mainspring.wire.watching import CONTENT_TYPE

T = TypeVar("T")


class Paged(Protocol):
    """One page of a list."""

    next_page_token: str | None


PagedT = TypeVar("PagedT", bound=Paged)

CONNECT_S = 5.0
ANSWER_S = 90.0  # longer than the longest wait that a server grants
SILENCE_S = 45.0  # a server says every 15 s that it is there
NOTHING_MORE = 204
API = "/api/v1"


class Server:
    """One server. Every call raises what `wire.problems` reads from a refusal, or `Unreachable`."""

    def __init__(self, api_url: str, token: str = "") -> None:
        url = _checked(api_url)
        if not (token.isascii() and token.isprintable()):
            raise InvalidInput("--token", "has characters that no HTTP header may carry", "printable ASCII")
        self.api_url = api_url
        self.answered_s: float | None = None  # when it answered last, by the loop's clock
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={
                "User-Agent": f"mainspring-cli/{__version__}",
                **({"Authorization": f"Bearer {token}"} if token else {}),
            },
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            # A proxy knows the way to the world, not to this machine.
            trust_env=not _is_here(url.host),
        )

    async def __aenter__(self) -> "Server":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The answer's body, as the server wrote it."""
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            reply = await self._http.request(
                method,
                API + path,
                content=body,
                params={name: value for name, value in (query or {}).items() if value is not None},
                headers=sent,
            )
        except httpx.RequestError as error:
            raise self._unreachable(error) from None
        self.answered_s = asyncio.get_running_loop().time()
        if not reply.is_success:
            raise error_of(reply.content, reply.status_code)
        return reply.content

    @asynccontextmanager
    async def stream(self, path: str, last: str | None) -> AsyncIterator[AsyncIterator[str] | None]:
        """The lines of an event stream, behind the event `last`; `None` if there will be no more of it.

        Raises as `send` does, also while lines are read.
        """
        headers = {"Accept": CONTENT_TYPE, **({} if last is None else {"Last-Event-ID": last})}
        patience = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
        try:
            async with self._http.stream("GET", API + path, headers=headers, timeout=patience) as reply:
                if not reply.is_success:
                    raise error_of(await reply.aread(), reply.status_code)
                yield None if reply.status_code == NOTHING_MORE else self._lines(reply)
        except httpx.RequestError as error:
            raise self._unreachable(error) from None

    async def _lines(self, reply: httpx.Response) -> AsyncIterator[str]:
        clock = asyncio.get_running_loop().time
        async for line in reply.aiter_lines():
            self.answered_s = clock()
            yield line

    def _unreachable(self, error: httpx.RequestError) -> Unreachable:
        return Unreachable(f"no server answers at {self.api_url}: {str(error) or type(error).__name__}")

    async def get(self, path: str, kind: type[T], /, **query: Any) -> T:
        return decode(await self.send("GET", path, query=query), kind)

    async def first(
        self,
        path: str,
        kind: type[PagedT],
        items: Callable[[PagedT], Sequence[T]],
        limit: int,
        /,
        **query: Any,
    ) -> tuple[list[T], str | None]:
        """The first `limit` of a list, however many pages they are on, and the token of the page after them;
        `None` if that was all."""
        found: list[T] = []
        token: str | None = None
        while True:
            size = min(limit - len(found), BOUNDS.page_size)
            page = await self.get(path, kind, page_size=size, page_token=token, **query)
            found += items(page)
            token = page.next_page_token
            if token is None or len(found) >= limit:
                return found, token


def decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Unreachable(f"what answers is not a Mainspring server: {error}") from None


def step(name: str) -> str:
    """A name as one step of a path, whatever it holds."""
    return quote(name, safe="", errors="surrogateescape")


def _checked(api_url: str) -> httpx.URL:
    try:
        url = httpx.URL(api_url)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or urlsplit(api_url).query:
        raise InvalidInput("--api-url", f"not a server's URL: {shown(api_url)!r}", "http://HOST:PORT")
    return url


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
