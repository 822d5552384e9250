"""The `http` kind: one request to a web server, and what it answered.

    {"url": "https://example.com/hook", "method": "POST", "body": {"order": 7}, "expect_status": [200, 202]}

The result is `{status, url, headers, body, encoding, truncated, redirects, elapsed_s}`; text as it is, other
bytes in base64. Each attempt of a task carries the same `Idempotency-Key`, the task's id, unless the task
names one itself. Only public addresses are reached, redirects included (see `reach` and `http_guard`). No
proxy is used, whatever the environment says: it would connect where nobody checks.

Tried again are failures to connect, broken and slow exchanges, and the statuses 408, 425, 429 and 5xx, after
what `Retry-After` says, if it says anything. Any other unexpected answer is final.
"""

import asyncio
import logging
import os
import ssl
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import httpcore
import httpx

from mainspring import __version__
from mainspring.errors import InvalidInput
from mainspring.ports import Clock
from mainspring.sdk.context import Context
from mainspring.worker.http_guard import Guard, Refused, Resolve, resolve
from mainspring.worker.http_request import Order, Request, parse
from mainspring.worker.outcomes import DetailedError
from mainspring.worker.payloads import bad_payload, pack
from mainspring.worker.reach import Reach

HEADERS_KEPT_BYTES = 32 * 1024
ERROR_BODY_BYTES = 8 * 1024
RETRY_AFTER_MOST_S = 86_400.0
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = frozenset({408, 425, 429, *range(500, 600)})
_log = logging.getLogger("mainspring.worker")


class AddressRefused(DetailedError):
    """The host is not one that this worker lets tasks reach."""

    retryable = False


class RedirectRefused(DetailedError):
    """Too many redirects, or one that leads to no web address."""

    retryable = False


class ConnectFailed(DetailedError):
    """No connection: the name does not resolve, nobody listens, or the certificate is not the host's."""


class ExchangeFailed(DetailedError):
    """The connection broke, or what came was not HTTP. The server may have done what it was asked."""


class RequestTimeout(DetailedError):
    """No whole answer within the payload's `timeout`. The server may have done what it was asked."""


class UnexpectedStatus(DetailedError):
    """An answer with another status than those expected. `details` has the start of its body."""


class Reply(NamedTuple):
    """An answer, cut where it was too long. `location` is where a redirect leads."""

    status: int
    headers: dict[str, str]
    body: bytes
    truncated: bool

    @property
    def location(self) -> str | None:
        text = self.headers.get("location") if self.status in _REDIRECTS else None
        # Servers that do not escape it send UTF-8, whatever the standard says.
        return None if text is None else text.encode("latin-1").decode("utf-8", "replace")


class HttpCalls:
    """Makes the calls of `http` tasks, each over connections of its own: what ends a task ends them."""

    def __init__(
        self,
        clock: Clock,
        reach: Reach,
        *,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._now_s = clock.monotonic
        self._reach = reach
        self._resolve = resolve
        self._tls = tls or httpx.create_ssl_context()

    async def run(self, ctx: Context) -> dict[str, Any]:
        """The handler of the kind `http`."""
        try:
            order = parse(ctx.raw_payload)
        except InvalidInput as error:
            raise bad_payload(error) from None
        # A quoted string, as the header's draft standard has it.
        order.request.headers.setdefault("idempotency-key", f'"{ctx.task}"')
        started_s = self._now_s()
        try:
            async with asyncio.timeout(order.timeout_s):
                request, reply, redirects = await self._follow(order)
        except TimeoutError:
            raise RequestTimeout(f"no whole answer within {order.timeout_s:g} s") from None
        result = {
            "status": reply.status,
            "url": str(request.url),
            "headers": reply.headers,
            **_shown(reply.body, reply.truncated),
            "redirects": redirects,
            "elapsed_s": round(self._now_s() - started_s, 6),
        }
        if reply.status not in order.expected:
            raise _unexpected(reply, result)
        return result

    async def _follow(self, order: Order) -> tuple[Request, Reply, int]:
        """The last answer: one that is expected, or leads nowhere."""
        request, redirects = order.request, 0
        while True:
            reply = await self._exchange(request, order.max_bytes)
            location = reply.location
            if location is None or reply.status in order.expected:
                return request, reply, redirects
            if redirects == order.redirects:
                raise RedirectRefused(f"more than {order.redirects} redirects, the last to {location[:200]}")
            try:
                request = request.redirected(reply.status, location)
            except InvalidInput as error:
                raise RedirectRefused(str(error)) from None
            redirects += 1

    async def _exchange(self, request: Request, max_bytes: int) -> Reply:
        scheme, host, port = request.origin
        origin = httpcore.Origin(scheme.encode(), host, port)
        url = httpcore.URL(scheme=origin.scheme, host=host, port=port, target=request.url.raw_path)
        try:
            async with (
                Guard(self._reach, self._resolve) as network,
                httpcore.AsyncHTTPConnection(origin, self._tls, network_backend=network) as connection,
                connection.stream(
                    request.method, url, headers=_headers(request), content=request.body
                ) as response,
            ):
                headers, cut = _kept(response.headers)
                body, truncated = await _read(response, max_bytes)
                return Reply(response.status, headers, body, cut or truncated)
        except Refused as error:
            _log.warning("an http task was kept from %s:%d", host.decode(), port)
            raise AddressRefused(str(error)) from None
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise ConnectFailed(f"{request.host}: {_why(error)}") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            raise ExchangeFailed(f"{request.host}: {_why(error)}") from None


def _why(error: BaseException) -> str:
    """The reason that the system gave, below what the layers above made of it."""
    says, cause = str(error) or type(error).__name__, error.__cause__
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno and not isinstance(cause, ssl.SSLError):
            says = os.strerror(cause.errno)
        cause = cause.__cause__
    return says


def _headers(request: Request) -> list[tuple[str, str]]:
    # Asked for plain, a body needs no unpacking, and cannot grow a thousandfold in it.
    usual = {"accept": "*/*", "accept-encoding": "identity", "user-agent": f"mainspring/{__version__}"}
    return [("host", request.host), ("connection", "close"), *{**usual, **request.headers}.items()]


def _kept(headers: list[tuple[bytes, bytes]]) -> tuple[dict[str, str], bool]:
    """Headers by name in lower case, repeated ones joined; whether some were left out."""
    kept: dict[str, str] = {}
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
        if size > HEADERS_KEPT_BYTES:
            return kept, True
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        kept[key] = f"{kept[key]}, {text}" if key in kept else text
    return kept, False


async def _read(response: httpcore.Response, max_bytes: int) -> tuple[bytes, bool]:
    """As much of the body as is kept; whether there was more. The rest is never fetched."""
    body = bytearray()
    async for part in response.aiter_stream():
        body += part
        if len(body) > max_bytes:
            return bytes(body[:max_bytes]), True
    return bytes(body), False


def _shown(body: bytes, truncated: bool) -> dict[str, Any]:
    text, encoding = pack(body, cut=truncated)
    return {"body": text, "encoding": encoding, "truncated": truncated}


def _unexpected(reply: Reply, result: dict[str, Any]) -> UnexpectedStatus:
    error = UnexpectedStatus(f"status {reply.status}")
    error.place = f"status {reply.status}"
    cut = reply.truncated or len(reply.body) > ERROR_BODY_BYTES
    error.details = {**result, **_shown(reply.body[:ERROR_BODY_BYTES], cut)}
    error.retryable = reply.status in _PASSING
    if error.retryable:
        error.after_s = retry_after_s(reply.headers)
    return error


def retry_after_s(headers: dict[str, str]) -> float | None:
    """How long the server asks to wait, at most a day. A date is read against the server's own clock, for
    this machine's may be wrong."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:10]), RETRY_AFTER_MOST_S)
    until, now = _date(text), _date(headers.get("date", ""))
    if until is None or now is None:
        return None
    return min(max(0.0, (until - now).total_seconds()), RETRY_AFTER_MOST_S)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo is not None else None
