"""The address of Redis, as the environment gives it in parts: where, which password, which database."""

from urllib.parse import parse_qsl, quote, unquote, urlsplit

from mainspring.errors import InvalidInput

ACCEPTED = "redis://:PASSWORD@HOST:PORT/DATABASE, rediss://... for TLS, unix:///SOCKET, or HOST:PORT"
# The library knows no name of Valkey's own.
_SCHEMES = {"redis": "redis", "valkey": "redis", "rediss": "rediss", "valkeys": "rediss", "unix": "unix"}
# What the library would take besides are switches of its own, and an unknown one shows only when it connects.
_OPTIONS = (
    "db", "password", "ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname",
    "ssl_keyfile", "ssl_password", "username",
)  # fmt: skip
_BOTH = "one of the two, or the same in both"


def redis_url(address: str, field: str, password: str = "", database: str = "") -> str:
    """One URL. `password` and `database` are for an address that does not say its own.

    Raises `InvalidInput` naming `field`, or the variable that says something else than the address.
    """
    if "://" not in address:
        address = f"redis://{'localhost' if address.startswith(':') else ''}{address}"
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise InvalidInput(field, "not an address of Redis", ACCEPTED) from None
    if parts.scheme not in _SCHEMES or not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise InvalidInput(field, "not an address of Redis", ACCEPTED)
    _check(parts.scheme, parts.path, parts.query, field)
    place, path, query = parts.netloc, parts.path, parts.query
    if password and parts.password is None:
        user, _, host = place.rpartition("@")
        place = f"{user}:{quote(password, safe='')}@{host}"
    elif password and password != unquote(parts.password or ""):
        raise InvalidInput("REDIS_PASSWORD", f"differs from the password in {field}", _BOTH)
    if database:
        path, query = _with_database(parts.scheme, path, query, database, field)
    return f"{_SCHEMES[parts.scheme]}://{place}{path}{'?' if query else ''}{query}"


def _check(scheme: str, path: str, query: str, field: str) -> None:
    """The library passes over a database that is no number, and uses the first one."""
    database = "" if scheme == "unix" else path.strip("/")
    if database and not (database.isascii() and database.isdigit()):
        raise InvalidInput(field, f"not the number of a database: {database!r}", "0, 1, 2 ...")
    for name, _ in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise InvalidInput(field, f"unknown option {name!r}", ", ".join(_OPTIONS))


def _with_database(scheme: str, path: str, query: str, database: str, field: str) -> tuple[str, str]:
    if not (database.isascii() and database.isdigit()):
        raise InvalidInput("REDIS_DB", f"not a database: {database!r}", "a number, such as 0")
    named = [pair.removeprefix("db=") for pair in query.split("&") if pair.startswith("db=")]
    if scheme != "unix" and path.strip("/"):
        named.append(path.strip("/"))
    if not named:
        return path, "&".join(filter(None, [query, f"db={database}"]))
    if named != [database]:
        raise InvalidInput("REDIS_DB", f"differs from the database in {field}", _BOTH)
    return path, query
