"""Addresses of a server in all usual spellings, as what the library connects by.

redis://user:password@host:6379/0            and valkey://
rediss://host:6380/0?ssl_ca_certs=ca.pem     TLS; and valkeys://
unix:///run/redis.sock?db=0                  and redis+socket://
redis+sentinel://one:26379,two/SERVICE/0     the primary that the sentinels name
redis+cluster://one:7000,two:7000            one slot of a cluster; rediss+... with TLS
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import unquote

import msgspec

from mainspring.core.addresses import REDIS, shown
from mainspring.errors import InvalidInput

ACCEPTED = (
    "redis://USER:PASSWORD@HOST:PORT/NUMBER, rediss:// (TLS), unix:///SOCKET, "
    "redis+sentinel://HOST,HOST/SERVICE/NUMBER, redis+cluster://HOST,HOST"
)
PORT, SENTINEL_PORT = 6379, 26379
SOCKETS = ("unix", "redis+socket", "valkey+socket")
_FILES = {
    "ssl_ca_certs": "ssl_ca_certs", "ssl_ca_path": "ssl_ca_path", "ssl_certfile": "ssl_certfile",
    "ssl_keyfile": "ssl_keyfile", "ssl_password": "ssl_password",
}  # fmt: skip
_OTHERS = {
    "db", "username", "password", "namespace", "connect_timeout", "ssl_cert_reqs", "ssl_check_hostname",
    "sentinel_username", "sentinel_password",
}  # fmt: skip
_CERTIFICATES = ("required", "optional", "none")
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
# It becomes a part of every key, inside of the braces that name the slot.
_NAMESPACE = re.compile(r"[A-Za-z0-9_.:/-]{1,100}")
CONNECT_LIMIT_S = 3.0
NAMESPACE = "mainspring"


class Address(msgspec.Struct, frozen=True):
    """`arguments` are the library's own; those of sentinels stand apart. `shown` holds no password."""

    kind: Literal["server", "sentinel", "cluster"]
    hosts: tuple[tuple[str, int], ...]
    service: str
    namespace: str
    tls: bool
    arguments: Mapping[str, Any]
    sentinels: Mapping[str, Any]
    connect_s: float
    shown: str


def parse_address(text: str) -> Address:
    """Raises `InvalidInput` for one that is misspelt, or asks for what is not known."""
    scheme, separator, rest = text.strip().partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in REDIS:
        raise InvalidInput("store", f"not an address of Redis: {shown(text)!r}", ACCEPTED)
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    options = dict(_options(query, text))
    user, at, hosts = authority.rpartition("@")
    if at:
        name, _, password = user.partition(":")
        options = {"username": unquote(name), "password": unquote(password), **options}
    if scheme in SOCKETS:
        return _at_socket(text, hosts, path, options)
    kind, service, number = _what(scheme, path, text)
    if number and options.setdefault("db", number) != number:
        raise InvalidInput("store", f"{shown(text)!r} names two databases", "/NUMBER or ?db=NUMBER")
    found = tuple(_hosts(hosts, SENTINEL_PORT if kind == "sentinel" else PORT))
    if kind == "server" and len(found) > 1:
        raise InvalidInput("store", f"{shown(text)!r} names several servers", ACCEPTED)
    tls = scheme.startswith(("rediss", "valkeys"))
    if kind == "cluster" and options.get("db", "0") != "0":
        raise InvalidInput("store", "a cluster has no numbered databases", "redis+cluster://HOST,HOST")
    return _address(kind, found, service, options, tls, text)


def _what(scheme: str, path: str, text: str) -> tuple[Literal["server", "sentinel", "cluster"], str, str]:
    """What kind of address it is, and what its path says: the service, the number of the database."""
    parts = [unquote(part) for part in path.split("/")]
    if scheme.endswith("+sentinel"):
        service, number = (*parts, "", "")[:2]
        if not service or len(parts) > 2:
            raise InvalidInput("store", f"{shown(text)!r} names no service", "redis+sentinel://HOST/SERVICE")
        return "sentinel", service, number
    if len(parts) > 1:
        raise InvalidInput("store", f"not the number of a database: {path!r}", ACCEPTED)
    return "cluster" if scheme.endswith("+cluster") else "server", "", parts[0]


def _at_socket(text: str, hosts: str, path: str, options: Mapping[str, str]) -> Address:
    if hosts or not path:
        raise InvalidInput("store", f"{shown(text)!r} names no socket", "unix:///run/redis.sock?db=0")
    return _address("server", ((f"/{unquote(path)}", 0),), "", options, False, text)


def _options(query: str, text: str) -> Iterator[tuple[str, str]]:
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        if name not in _FILES and name not in _OTHERS:
            accepted = ", ".join(sorted({*_FILES, *_OTHERS}))
            # Without its value: it may be a password, misspelt.
            raise InvalidInput("store", f"unknown option {name!r}", accepted)
        if not equals:
            raise InvalidInput("store", f"{name!r} in {shown(text)!r} has no value", "name=value pairs")
        yield name, unquote(value)


def _hosts(text: str, port: int) -> Iterator[tuple[str, int]]:
    for one in text.split(","):
        found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:\[\]]*))(?::(\d{0,5}))?", one)
        if found is None:
            raise InvalidInput("store", f"not a host: {one!r}", "HOST, HOST:PORT or [IPv6]:PORT")
        number = int(found[3] or port)
        if not 0 < number < 65536:
            raise InvalidInput("store", f"not a port: {found[3]!r}", "1 to 65535")
        yield found[1] or unquote(found[2] or "") or "localhost", number


def _address(
    kind: Literal["server", "sentinel", "cluster"],
    hosts: tuple[tuple[str, int], ...],
    service: str,
    options: Mapping[str, str],
    tls: bool,
    text: str,
) -> Address:
    arguments: dict[str, Any] = {
        name: options[name] for name in ("username", "password") if options.get(name)
    }
    number = options.get("db", "0")
    if not (number.isascii() and number.isdigit() and len(number) < 6):
        raise InvalidInput("store", f"not the number of a database: {number!r}", "0, 1, 2 ...")
    if kind != "cluster":
        arguments["db"] = int(number)
    told = {name for name in options if name.startswith("ssl_")}
    if told and not tls:
        raise InvalidInput("store", f"{min(told)} is for connections under TLS", "rediss:// or valkeys://")
    arguments |= {name: options[key] for key, name in _FILES.items() if key in options}
    if "ssl_cert_reqs" in options:
        arguments["ssl_cert_reqs"] = _one_of("ssl_cert_reqs", options["ssl_cert_reqs"], _CERTIFICATES)
    if "ssl_check_hostname" in options:
        wanted = _one_of("ssl_check_hostname", options["ssl_check_hostname"].lower(), (*_YES, *_NO))
        arguments["ssl_check_hostname"] = wanted in _YES
    elif options.get("ssl_cert_reqs") == "none":
        arguments["ssl_check_hostname"] = False
    sentinels = {
        name: options[f"sentinel_{name}"]
        for name in ("username", "password")
        if options.get(f"sentinel_{name}")
    }
    if sentinels and kind != "sentinel":
        raise InvalidInput("store", "sentinel_password is for sentinels", "redis+sentinel://HOST/SERVICE")
    namespace = options.get("namespace", NAMESPACE)
    if not _NAMESPACE.fullmatch(namespace):
        raise InvalidInput("store", f"not a namespace: {namespace!r}", "letters, digits and _ . : / -")
    return Address(
        kind, hosts, service, namespace, tls, arguments, sentinels,
        _connect_s(options.get("connect_timeout", "")), shown(text),
    )  # fmt: skip


def _connect_s(text: str) -> float:
    if not text:
        return CONNECT_LIMIT_S
    if not (text.isascii() and text.replace(".", "", 1).isdigit()) or float(text) <= 0:
        raise InvalidInput("store", f"not a time to connect: {text!r}", "seconds, as in connect_timeout=3")
    return float(text)


def _one_of(name: str, value: str, accepted: tuple[str, ...]) -> str:
    if value not in accepted:
        raise InvalidInput("store", f"{name}={value} is not known", ", ".join(accepted))
    return value
