"""One request and its answer, over plain ASGI: no middleware, no objects that the hot routes do not need."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from mainspring.errors import InvalidInput, MainspringError, TooLarge

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
NO_STORE = (b"cache-control", b"no-store")
QUERY_FIELDS = 50


class ClientGone(Exception):
    """The caller has hung up: nobody is there to answer."""


class UnsupportedMediaType(MainspringError):
    code = "unsupported_media_type"


class MethodNotAllowed(MainspringError):
    code = "method_not_allowed"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method} is not possible here; {allowed} is")
        self.allowed = allowed


class Answer:
    """Status, header fields and body; the content length is added when it is sent, unless nobody knows it."""

    __slots__ = ("body", "headers", "status")
    has_length = True

    def __init__(self, status: int, body: bytes = b"", headers: Headers | None = None) -> None:
        self.status = status
        self.body = body
        self.headers = headers if headers is not None else []


_encode = msgspec.json.Encoder().encode


def json_answer(value: Any, status: int = 200, *headers: tuple[bytes, bytes]) -> Answer:
    """`value` is a struct of `wire`; raw members are written as they came."""
    return Answer(status, _encode(value), [JSON, *headers])


class Paged(Protocol):
    """A page of a list, and the token of the next one."""

    next_page_token: str | None


def page_answer(call: "Call", view: Paged) -> Answer:
    """The page, with the next one's address in a Link field (RFC 8288)."""
    answer = json_answer(view)
    if view.next_page_token is not None:
        query = urlencode({**call.query, "page_token": view.next_page_token})
        # The path has been decoded, and may hold what no header field can.
        target = f"{quote(call.scope['path'])}?{query}"
        answer.headers.append((b"link", f'<{target}>; rel="next"'.encode()))
    return answer


class Call:
    """One request. `path` holds what the route's pattern captured, `query` the query parameters, `caller`
    who was authenticated."""

    __slots__ = (
        "_body_bytes",
        "_receive",
        "caller",
        "headers",
        "method",
        "path",
        "query",
        "route",
        "scope",
    )

    def __init__(
        self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes], body_bytes: int
    ) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.headers = headers
        self.path: Mapping[str, str] = {}
        self.query: Mapping[str, str] = {}
        self.caller = ""
        self.route = ""
        self._receive = receive
        self._body_bytes = body_bytes

    def header(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1").strip()

    async def body(self, *, optional: bool = False) -> bytes:
        """The whole body, JSON by its content type.

        Raises `TooLarge` as soon as it is known to be, `UnsupportedMediaType`, `ClientGone`, and
        `InvalidInput` for an empty one unless it is `optional`.
        """
        length = self.headers.get(b"content-length")
        if length is not None and length.isdigit() and int(length) > self._body_bytes:
            raise self._too_large()
        message = await self._receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            body = await self._rest(body)
        elif message["type"] != "http.request":
            raise ClientGone
        if not body:
            if optional:
                return body
            raise InvalidInput("body", "is empty", "a JSON object")
        self._check_type()
        return body

    async def _rest(self, first: bytes) -> bytes:
        chunks, size, more = [first], len(first), True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._body_bytes:
                raise self._too_large()
            more = message.get("more_body", False)
        return b"".join(chunks)

    def _check_type(self) -> None:
        if b"content-encoding" in self.headers:
            raise UnsupportedMediaType("a compressed body; send it as it is")
        given = self.headers.get(b"content-type", b"application/json")
        if given == b"application/json":
            return
        media = given.decode("latin-1").partition(";")[0].strip().lower()
        if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
            raise UnsupportedMediaType(f"a body of type {media[:80]!r}; say Content-Type: application/json")

    def _too_large(self) -> TooLarge:
        return TooLarge("body", "is too long", f"at most {self._body_bytes} bytes")

    async def left(self) -> None:
        """Returns when the caller hangs up. Only when the body has been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def read_query(raw: bytes, allowed: Mapping[str, str]) -> dict[str, str]:
    """Query parameters. Raises `InvalidInput` for one that is unknown or given twice."""
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS
        )
    except ValueError:
        raise InvalidInput("query", "not a query string", "NAME=VALUE&... in UTF-8") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed:
            accepted = ", ".join(allowed) or "no query parameters"
            raise InvalidInput(name[:100], "unknown query parameter", accepted)
        if name in found:
            raise InvalidInput(name, "given twice", "each query parameter once")
        found[name] = value
    return found


async def send_answer(answer: Answer, send: Send, with_body: bool) -> None:
    headers = answer.headers
    if answer.has_length and answer.status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(answer.body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body if with_body else b""})
