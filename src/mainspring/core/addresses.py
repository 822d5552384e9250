"""Addresses of stores, as people write them: which driver they name, and how to show them to others."""

import re

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")
# `key=value` pairs, as PostgreSQL's own programs take them.
_PAIRS = re.compile(r"\s*[a-z_]+\s*=")
# To the last `@`: a password may hold what should have been escaped. Also where the scheme was forgotten.
_USERINFO = re.compile(r"(?:(?<=://)|^(?![A-Za-z0-9+.-]*://))([^/?#@:]*):\S*@")
_NAMED = re.compile(r"((?:password|secret|token)\s*=\s*)('(?:[^'\\]|\\.)*'?|[^&\s]*)", re.I)
HIDDEN = "***"
SERVERS = ("http", "https")
# SQLAlchemy's spellings, too: they name a library of its own choice, which does not matter here.
POSTGRES = ("postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2")
# With TLS those of the second line; the library speaks of Redis only, and Valkey speaks the same.
REDIS = (
    "redis", "valkey", "unix", "redis+socket", "valkey+socket", "redis+sentinel", "valkey+sentinel",
    "rediss", "valkeys", "rediss+sentinel", "valkeys+sentinel", "rediss+cluster", "valkeys+cluster",
    "redis+cluster", "valkey+cluster",
)  # fmt: skip


def scheme_of(address: str) -> str:
    """What stands before the colon, in lower case; `postgresql` for `key=value` pairs, empty for neither."""
    if _PAIRS.match(address):
        return "postgresql"
    found = _SCHEME.match(address)
    return found[0].lower() if found else ""


def shown(address: str) -> str:
    """The address without what is secret in it, for logs and errors. Also for one that is no address at all:
    what stands where a password would is hidden."""
    return _NAMED.sub(rf"\1{HIDDEN}", _USERINFO.sub(rf"\1:{HIDDEN}@", address))
