"""What an `http` task asks for, checked before anything is sent, and what becomes of it in a redirect."""

import re
from typing import NamedTuple

import httpx
import msgspec

from mainspring.core.durations import parse_duration_s
from mainspring.errors import InvalidInput
from mainspring.wire.strict import Shape

BODY_KEPT_BYTES = 64 * 1024
BODY_MOST_BYTES = 640 * 1024  # in base64 still below what is kept of a result
REDIRECTS = 5
REDIRECTS_MOST = 20
TIMEOUT_S = 30.0
URL_CHARS = 8_192
HEADERS_MOST = 100

STATUS_ACCEPTED = "a status (200), a class (2xx), or a list of them"
HEADER_ACCEPTED = "printable ASCII in one line"
URL_ACCEPTED = "http:// or https:// with a host, without user and password"

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")
_METHOD = re.compile(r"[A-Z]{1,20}")
_VALUE = re.compile(r"[\x20-\x7e\t]{0,8192}")
_HOST = re.compile(rb"[A-Za-z0-9_-]([A-Za-z0-9._-]*[A-Za-z0-9._-])?|[0-9a-f:.]*:[0-9a-f:.]*")
_CLASS = re.compile(r"[1-5]xx")
_STATUS = range(100, 600)
# The client's own: whoever could set these could make one message look like two, or switch protocols.
_FRAMING = {
    "connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip
_SECRETS = {"authorization", "cookie", "proxy-authorization"}
_WITH_BODY = ("POST", "PUT", "PATCH")
_PORTS = {"http": 80, "https": 443}


class HttpPayload(msgspec.Struct, forbid_unknown_fields=True):
    """`body` goes out as it is if it is text, and as JSON if it is anything else but null."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = {}
    body: msgspec.Raw = msgspec.Raw(b"null")
    expect_status: int | str | list[int | str] = "2xx"
    timeout: int | float | str = TIMEOUT_S
    max_bytes: int = BODY_KEPT_BYTES
    redirects: int = REDIRECTS


_SHAPE = Shape(
    HttpPayload,
    accepted={"url": URL_ACCEPTED, "expect_status": STATUS_ACCEPTED, "headers": "text under names"},
)


class Order(NamedTuple):
    """A checked payload."""

    request: "Request"
    expected: frozenset[int]
    timeout_s: float
    max_bytes: int
    redirects: int


class Request(NamedTuple):
    """One message to one origin. Header names are in lower case."""

    method: str
    url: httpx.URL
    headers: dict[str, str]
    body: bytes | None

    @property
    def origin(self) -> tuple[str, bytes, int]:
        return self.url.scheme, self.url.raw_host, self.url.port or _PORTS[self.url.scheme]

    @property
    def host(self) -> str:
        """The `Host` header."""
        scheme, raw_host, port = self.origin
        host = raw_host.decode()
        shown = f"[{host}]" if ":" in host else host
        return shown if port == _PORTS[scheme] else f"{shown}:{port}"

    def redirected(self, status: int, location: str) -> "Request":
        """The request that a redirect asks for. Raises `InvalidInput` if it leads to no web address.

        As in browsers, a POST becomes a GET (but for 307 and 308). Credentials stay with the origin that
        they were given for; once left out, they do not come back.
        """
        try:
            url = self.url.join(location)
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidInput("location", f"not an address: {error}", URL_ACCEPTED) from None
        url = checked_url(str(url), "location")
        method, headers, body = self.method, dict(self.headers), self.body
        if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
            method, body = "GET", None
            headers = {name: value for name, value in headers.items() if not name.startswith("content-")}
        request = Request(method, url, headers, body)
        if request.origin != self.origin:
            for name in _SECRETS:
                headers.pop(name, None)
        return request


def parse(payload: bytes) -> Order:
    """Raises `InvalidInput` that names the field."""
    given = _SHAPE.read(payload)
    method = given.method.upper()
    if not _METHOD.fullmatch(method) or method in ("CONNECT", "TRACE"):
        raise InvalidInput("method", f"not accepted: {given.method[:40]!r}", "GET, POST, PUT, PATCH, ...")
    headers = _headers(given.headers)
    body, content_type = _body(bytes(given.body), method)
    if content_type:
        headers.setdefault("content-type", content_type)
    timeout_s = parse_duration_s(given.timeout, "timeout")
    if timeout_s <= 0:
        raise InvalidInput("timeout", "out of range: 0", "more than 0 seconds")
    _check_range("max_bytes", given.max_bytes, BODY_MOST_BYTES)
    _check_range("redirects", given.redirects, REDIRECTS_MOST)
    return Order(
        Request(method, checked_url(given.url, "url"), headers, body),
        _expected(given.expect_status),
        timeout_s,
        given.max_bytes,
        given.redirects,
    )


def checked_url(text: str, field: str) -> httpx.URL:
    """Raises `InvalidInput` for what is no plain address of a web server."""
    shown = repr(text[:200])
    try:
        url = httpx.URL(text) if len(text) <= URL_CHARS else None
        port = url.port if url is not None else None
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidInput(field, f"not an address: {error}", URL_ACCEPTED) from None
    if url is None:
        raise InvalidInput(field, f"longer than {URL_CHARS} characters", URL_ACCEPTED)
    if url.scheme not in _PORTS:
        raise InvalidInput(field, f"not a web address: {shown}", URL_ACCEPTED)
    if url.userinfo:
        raise InvalidInput(field, "has a user or a password in it; use headers", URL_ACCEPTED)
    if not _HOST.fullmatch(url.raw_host) or not (port is None or 0 < port <= 65535):
        raise InvalidInput(field, f"not a host and a port: {shown}", URL_ACCEPTED)
    return url


def _headers(given: dict[str, str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in given.items():
        field, key = f"headers.{name[:100]}", name.lower()
        if not _TOKEN.fullmatch(name):
            raise InvalidInput("headers", f"not a header's name: {name[:100]!r}", "letters, digits and -")
        if key in _FRAMING:
            raise InvalidInput(field, "is the client's own", "any other header")
        if not _VALUE.fullmatch(value):
            raise InvalidInput(field, "not a header's value", HEADER_ACCEPTED)
        if key in headers:
            raise InvalidInput(field, "given twice", "each header once, in any case")
        headers[key] = value.strip()
    if len(headers) > HEADERS_MOST:
        raise InvalidInput("headers", f"there are {len(headers)}", f"at most {HEADERS_MOST}")
    return headers


def _body(raw: bytes, method: str) -> tuple[bytes | None, str]:
    if raw == b"null":
        return (b"" if method in _WITH_BODY else None), ""
    if raw.startswith(b'"'):
        return msgspec.json.decode(raw, type=str).encode(), "text/plain; charset=utf-8"
    return raw, "application/json"


def _expected(given: int | str | list[int | str]) -> frozenset[int]:
    found: set[int] = set()
    for one in given if isinstance(given, list) else [given]:
        text = str(one).strip().lower()
        if _CLASS.fullmatch(text):
            found.update(range(int(text[0]) * 100, int(text[0]) * 100 + 100))
        elif text.isascii() and text.isdecimal() and len(text) == 3 and int(text) in _STATUS:
            found.add(int(text))
        else:
            raise InvalidInput("expect_status", f"not a status: {text[:40]!r}", STATUS_ACCEPTED)
    if not found:
        raise InvalidInput("expect_status", "an empty list", STATUS_ACCEPTED)
    return frozenset(found)


def _check_range(field: str, value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise InvalidInput(field, f"out of range: {value}", f"0 to {most}")
