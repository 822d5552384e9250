"""The address of Redis, as the environment gives it in parts: where, which password, which database."""

from urllib.parse import quote, unquote

from mainspring.errors import InvalidInput

_BOTH = "one of the two, or the same in both"


def redis_url(address: str, field: str, password: str = "", database: str = "") -> str:
    """One URL; whether it is one of Redis is told where it is opened. `password` and `database` are for an
    address that does not say its own.

    Raises `InvalidInput` naming the variable that says something else than the address in `field`.
    """
    if "://" not in address:
        address = f"redis://{'localhost' if address.startswith(':') else ''}{address}"
    scheme, _, rest = address.partition("://")
    rest, _, query = rest.partition("?")
    place, slash, path = rest.partition("/")
    if password:
        place = _with_password(place, query, password, field)
    if database:
        query = _with_database(scheme, path, query, database, field)
    return f"{scheme}://{place}{slash}{path}{'?' if query else ''}{query}"


def _with_password(place: str, query: str, password: str, field: str) -> str:
    user, _, host = place.rpartition("@")
    name, _, told = user.partition(":")
    told = _option(query, "password") or told
    if not told:
        return f"{name}:{quote(password, safe='')}@{host}"
    if unquote(told) != password:
        raise InvalidInput("REDIS_PASSWORD", f"differs from the password in {field}", _BOTH)
    return place


def _with_database(scheme: str, path: str, query: str, database: str, field: str) -> str:
    if not (database.isascii() and database.isdigit()):
        raise InvalidInput("REDIS_DB", f"not a database: {database!r}", "a number, such as 0")
    told = _option(query, "db")
    if scheme.endswith("sentinel"):
        told = told or path.partition("/")[2]
    elif scheme != "unix" and not scheme.endswith("socket"):
        told = told or path
    if not told:
        return "&".join(filter(None, [query, f"db={database}"]))
    if told != database:
        raise InvalidInput("REDIS_DB", f"differs from the database in {field}", _BOTH)
    return query


def _option(query: str, name: str) -> str:
    return dict(pair.partition("=")[::2] for pair in query.split("&")).get(name, "")
