"""Addresses of a database in all usual spellings, as what the library connects by.

    postgresql://user:password@host:5432/database?sslmode=require      and postgres://, postgresql+asyncpg://
    postgresql://user@/database?host=/var/run/postgresql               a socket's directory
    postgresql://user@one:5432,two:5432/database                       the first that can be written
    host=localhost dbname=tasks user='an app' sslmode=disable          as in a libpq connection string

What an address leaves open comes from the environment, as for `psql` (PGHOST, PGPASSWORD, ~/.pgpass ...).
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlencode

import msgspec

from mainspring.core.addresses import POSTGRES, shown
from mainspring.errors import InvalidInput

ACCEPTED = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=..., or host=... dbname=... pairs"
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# A store must be written: a standby is of no use.
SESSIONS = ("any", "primary", "read-write")
# What goes through to the library within its own kind of address.
_TLS = (
    "sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation",
    "ssl_min_protocol_version", "ssl_max_protocol_version",
)  # fmt: skip
_FILES = ("sslcert", "sslkey", "sslrootcert", "sslcrl")
_WORDS = ("user", "password", "passfile", "service", "krbsrvname", "gsslib")
_KNOWN = {
    "host", "port", "dbname", *_WORDS, *_TLS, "target_session_attrs", "options", "application_name",
    "connect_timeout",
}  # fmt: skip
# Other names of the same, and what may be said because it is so anyway.
_ALIASES = {"database": "dbname", "username": "user", "fallback_application_name": "application_name"}
_IMPLIED = {
    "channel_binding": ("prefer", "disable"),
    "gssencmode": ("prefer", "disable"),
    "client_encoding": ("utf8", "utf-8", "auto"),
}
_PAIR = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)(?=\s|$)")
CONNECT_LIMIT_S = 10.0


class Address(msgspec.Struct, frozen=True):
    """`hosts` are tried in turn, within `connect_s` each; none named: as the library finds one. `arguments`
    are the library's own; `files` are those that they name. `shown` holds no password."""

    hosts: tuple[tuple[str | None, int | None], ...]
    arguments: dict[str, Any]
    connect_s: float
    files: dict[str, str]
    shown: str


def parse_address(text: str) -> Address:
    """Raises `InvalidInput` for one that is misspelt, or asks for what is not known."""
    named = dict(_checked(_from_url(text) if "://" in text else _from_pairs(text)))
    hosts = tuple(_hosts(named))
    arguments: dict[str, Any] = {word: named[word] for word in _WORDS if named.get(word)}
    if named.get("dbname"):
        arguments["database"] = named["dbname"]
    if tls := {word: named[word] for word in _TLS if named.get(word)}:
        arguments["dsn"] = f"postgresql://?{urlencode(tls)}"
    if sessions := named.get("target_session_attrs") or ("read-write" if len(hosts) > 1 else ""):
        arguments["target_session_attrs"] = _one_of("target_session_attrs", sessions, SESSIONS)
    arguments["server_settings"] = {"application_name": named.get("application_name") or "mainspring"}
    if named.get("options"):
        arguments["server_settings"]["options"] = named["options"]
    files = {word: named[word] for word in _FILES if named.get(word)}
    return Address(hosts, arguments, _connect_s(named.get("connect_timeout", "")), files, shown(text))


# --- the spellings ----------------------------------------------------------------------------------


def _from_url(text: str) -> Iterator[tuple[str, str]]:
    scheme, _, rest = text.strip().partition("://")
    if scheme.lower() not in POSTGRES:
        raise InvalidInput("store", f"not an address: {shown(text)!r}", ACCEPTED)
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    if at:
        user, _, password = user.partition(":")
        yield "user", unquote(user)
        yield "password", unquote(password)
    if hosts:
        # As one value each, so that what an escaped comma or colon means is settled here.
        yield "host", ",".join(_host_and_port(one)[0] for one in hosts.split(","))
        yield "port", ",".join(_host_and_port(one)[1] for one in hosts.split(","))
    yield "dbname", unquote(path)
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidInput("store", f"{name!r} in {shown(text)!r} has no value", "name=value pairs")
        yield unquote(name), unquote(value)


def _host_and_port(text: str) -> tuple[str, str]:
    found = re.fullmatch(r"\[([0-9A-Fa-f:.%\w]+)\](?::(\d*))?|([^:\[\]]*)(?::(\d*))?", text)
    if found is None:
        raise InvalidInput("store", f"not a host: {text!r}", "HOST, HOST:PORT or [IPv6]:PORT")
    return found[1] or unquote(found[3] or ""), found[2] or found[4] or ""


def _from_pairs(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    while text[place:].strip():
        found = _PAIR.match(text, place)
        if found is None:
            raise InvalidInput("store", f"not an address: {shown(text)!r}", ACCEPTED)
        value = found[2]
        if value.startswith("'"):
            value = value[1:-1]
        yield found[1], re.sub(r"\\(.)", r"\1", value)
        place = found.end()


# --- what they say ----------------------------------------------------------------------------------


def _checked(pairs: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Under libpq's names. Empty values say nothing; of two, the later one counts."""
    for given, value in pairs:
        name = _ALIASES.get(given, given)
        if name == "ssl":
            name, value = "sslmode", {"true": "require", "false": "disable"}.get(value.lower(), value)
        if not value:
            continue
        if name in _IMPLIED:
            _one_of(name, value.lower(), _IMPLIED[name])
            continue
        if name not in _KNOWN:
            known = ", ".join(sorted({*_KNOWN, *_IMPLIED}))
            raise InvalidInput("store", f"no parameter {given!r} of PostgreSQL is known", known)
        if name == "sslmode":
            _one_of(name, value, SSL_MODES)
        yield name, value


def _one_of(name: str, value: str, accepted: tuple[str, ...]) -> str:
    if value not in accepted:
        raise InvalidInput("store", f"{name} cannot be {value!r}", ", ".join(accepted))
    return value


def _hosts(named: dict[str, str]) -> Iterator[tuple[str | None, int | None]]:
    hosts = named.get("host", "").split(",")
    ports = named.get("port", "").split(",")
    if len(ports) not in (1, len(hosts)):
        raise InvalidInput("store", f"{len(ports)} ports for {len(hosts)} hosts", "one port, or one a host")
    for number, host in enumerate(hosts):
        port = ports[number % len(ports)]
        if port and not (port.isdigit() and 0 < int(port) <= 65535):
            raise InvalidInput("store", f"not a port: {port!r}", "1 to 65535")
        if host or port or len(hosts) > 1:
            yield host or None, int(port) if port else None


def _connect_s(text: str) -> float:
    """As libpq has it: whole seconds, none or 0 for the default, and at least 2."""
    if not text:
        return CONNECT_LIMIT_S
    if not text.isdigit():
        raise InvalidInput("store", f"connect_timeout cannot be {text!r}", "whole seconds")
    return max(2.0, float(text)) if int(text) else CONNECT_LIMIT_S
