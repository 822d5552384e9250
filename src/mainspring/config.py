"""Settings: one frozen record, filled from flags, environment, a file and defaults, in that order.

Every value knows where it came from (`Settings.origin`), so that a start-up log can say so and an error
can name the setting as the user wrote it.
"""

import os
import tomllib
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from mainspring.core.addresses import POSTGRES, scheme_of
from mainspring.core.durations import parse_duration_s
from mainspring.core.redis_address import redis_url
from mainspring.errors import InvalidInput
from mainspring.ports import PostgresOptions, RedisOptions, StoreOptions

PREFIX = "MAINSPRING_"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting of a node. Durations are seconds; the empty string means "not set"."""

    node_id: str = ""
    listen: str = "127.0.0.1:8080"
    store: str = ""
    queue: str = ""
    db: str = "scheduler.db"
    pg_max_conns: int = PostgresOptions().most
    pg_min_conns: int = PostgresOptions().fewest
    pg_max_conn_lifetime_s: float = PostgresOptions().lifetime_s
    pg_statement_cache: Literal["auto", "on", "off"] = PostgresOptions().statement_cache
    redis_any_policy: bool = False
    api_url: str = "http://localhost:8080"
    worker_id: str = ""
    concurrency: int = 10
    app: str = ""
    queues: tuple[str, ...] = ()
    commands: bool = False
    http: bool = False
    http_private: tuple[str, ...] = ()
    file_root: str = ""
    token: str = ""
    insecure: bool = False
    lease_s: float = 15.0
    grace_s: float = 30.0
    keep_succeeded_s: float = 7 * 86400.0
    keep_cancelled_s: float = 7 * 86400.0
    keep_failed_s: float = 30 * 86400.0
    history: bool = False
    no_migrate: bool = False
    log_level: str = "info"
    origins: Mapping[str, str] = {}

    def origin(self, name: str) -> str:
        """Where the value came from: a flag, a variable, a file, or `default`."""
        return self.origins.get(name, "default")

    @property
    def store_url(self) -> str:
        return self.store or f"sqlite:///{self.db}"

    @property
    def store_origin(self) -> str:
        """Where the store's address came from, as an error should name it."""
        name = "store" if self.store else "db"
        return self.origin(name) if name in self.origins else f"--{name}"

    @property
    def store_options(self) -> StoreOptions:
        postgres = PostgresOptions(
            fewest=self.pg_min_conns,
            most=self.pg_max_conns,
            lifetime_s=self.pg_max_conn_lifetime_s,
            statement_cache=self.pg_statement_cache,
        )
        return StoreOptions(
            history=self.history,
            migrates=not self.no_migrate,
            queue=self.queue,
            postgres=postgres,
            redis=RedisOptions(any_policy=self.redis_any_policy),
        )

    @property
    def listen_address(self) -> tuple[str, int]:
        return parse_address(self.listen, "listen")


# Names of the sources' own settings, accepted as aliases (contract: S1-47, S2-20, S2-22, ...).
ALIASES: dict[str, tuple[str, ...]] = {
    "node_id": ("NODE_ID",),
    "listen": ("LISTEN_ADDR",),
    "log_level": ("LOG_LEVEL",),
    "lease_s": (),
    "pg_max_conns": ("PG_MAX_CONNS",),
    "pg_min_conns": ("PG_MIN_CONNS",),
    "pg_max_conn_lifetime_s": ("PG_MAX_CONN_LIFETIME",),
}
# What other programs of the same environment read, too: a setting of our own goes first.
SHARED: dict[str, tuple[str, ...]] = {"store": ("DATABASE_URL",)}
# The sources' names for the Redis beside PostgreSQL; REDIS_PASSWORD and REDIS_DB go with each (S1-51).
REDIS_VARIABLES = ("REDIS_ADDR", "REDIS_ADDRESS", "REDIS_URL")
_DURATIONS = (
    "lease_s", "grace_s", "keep_succeeded_s", "keep_cancelled_s", "keep_failed_s", "pg_max_conn_lifetime_s",
)  # fmt: skip
_CHOICES = {"pg_statement_cache": ("auto", "on", "off")}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def load(
    flags: Mapping[str, Any], environment: Mapping[str, str] | None = None, file: Path | None = None
) -> Settings:
    """Settings from all sources. `flags` holds those the user gave; `None` values count as not given.

    Raises `InvalidInput` naming the setting, by the name under which it was given.
    """
    environment = os.environ if environment is None else environment
    written = _read_file(file)
    given: dict[str, _Given] = {}
    for name in Settings.__struct_fields__:
        if name != "origins" and (found := _lookup(name, flags, environment, written, file)) is not None:
            given[name] = found
    if "db" in given and "store" in given and given["db"].source < given["store"].source:
        # Both say where tasks are kept, and the file was named closer by.
        del given["store"]
    if (queue := _queue(given, environment)) is not None:
        given["queue"] = queue
    values = {name: _parse(name, found.value, found.origin) for name, found in given.items()}
    settings = Settings(**values, origins={name: found.origin for name, found in given.items()})
    _check_together(settings)
    return settings


class _Source(IntEnum):
    FLAG = 0
    VARIABLE = 1
    SHARED_VARIABLE = 2
    FILE = 3


class _Given(NamedTuple):
    value: Any
    origin: str
    source: _Source


def _queue(given: Mapping[str, _Given], environment: Mapping[str, str]) -> _Given | None:
    """The Redis beside a PostgreSQL. The sources' own variables name it where there is such a store."""
    store, named = given.get("store"), given.get("queue")
    if store is None or scheme_of(str(store.value)) not in POSTGRES:
        return named
    found = {name: redis_url(environment[name], name) for name in REDIS_VARIABLES if environment.get(name)}
    if named is None and found:
        (name, url), *others = found.items()
        for other, its_url in others:
            if its_url != url:
                raise InvalidInput(name, f"differs from {other}", "one of the two, or the same value in both")
        named = _Given(url, name, _Source.SHARED_VARIABLE)
    if named is None or not isinstance(named.value, str):
        return named
    parts = environment.get("REDIS_PASSWORD", ""), environment.get("REDIS_DB", "")
    return named._replace(value=redis_url(named.value, named.origin, *parts))


def _check_together(settings: Settings) -> None:
    """What is wrong with values that are well formed, one by one or two together."""
    fewest, most = settings.pg_min_conns, settings.pg_max_conns
    if fewest > most:
        raise InvalidInput(
            settings.origin("pg_min_conns"), f"{fewest} is more than pg_max_conns", f"1 to {most}"
        )
    if settings.pg_max_conn_lifetime_s < 1.0:
        raise InvalidInput(settings.origin("pg_max_conn_lifetime_s"), "less than a second", "1s or more")


def _lookup(
    name: str,
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    written: Mapping[str, Any],
    file: Path | None,
) -> _Given | None:
    public = name.removesuffix("_s")
    if flags.get(name) is not None:
        return _Given(flags[name], f"--{public.replace('_', '-')}", _Source.FLAG)
    given = [
        variable
        for variable in (PREFIX + public.upper(), *ALIASES.get(name, ()))
        if environment.get(variable)
    ]
    if len({environment[variable] for variable in given}) > 1:
        raise InvalidInput(given[0], f"differs from {given[1]}", "one of the two, or the same value in both")
    if given:
        return _Given(environment[given[0]], given[0], _Source.VARIABLE)
    for variable in SHARED.get(name, ()):
        if environment.get(variable):
            return _Given(environment[variable], variable, _Source.SHARED_VARIABLE)
    if public in written:
        return _Given(written[public], f"{public} in {file}", _Source.FILE)
    return None


def _read_file(file: Path | None) -> Mapping[str, Any]:
    if file is None:
        return {}
    try:
        written = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput("config", f"cannot be read: {error}", "a TOML file") from None
    known = {name.removesuffix("_s") for name in Settings.__struct_fields__} - {"origins"}
    for name in written:
        if name not in known:
            raise InvalidInput(f"{name} in {file}", "no such setting", ", ".join(sorted(known)))
    return written


def _parse(name: str, value: Any, origin: str) -> Any:
    default = getattr(_DEFAULTS, name)
    if name in _DURATIONS:
        return parse_duration_s(value, origin)
    if isinstance(default, bool):
        return _parse_bool(value, origin)
    if isinstance(default, int):
        return _parse_count(value, origin)
    if isinstance(default, tuple):
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(part.strip() for part in parts if part.strip())
    if not isinstance(value, str):
        raise InvalidInput(origin, f"not text: {value!r}", "text")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise InvalidInput(origin, f"cannot be {value!r}", ", ".join(_CHOICES[name]))
    return value


def _parse_bool(value: Any, origin: str) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word not in _TRUE + _FALSE:
        raise InvalidInput(origin, f"not a switch: {value!r}", "true or false")
    return word in _TRUE


def _parse_count(value: Any, origin: str) -> int:
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = 0
    if not 1 <= count <= 10_000:
        raise InvalidInput(origin, f"out of range: {value!r}", "1 to 10000")
    return count


def parse_address(text: str, field: str) -> tuple[str, int]:
    """`host:port`, `:port` (every interface) or `[v6]:port`. Raises `InvalidInput` naming `field`."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise InvalidInput(field, f"not an address: {text!r}", "HOST:PORT, such as 127.0.0.1:8080")
    return host.strip("[]") or "0.0.0.0", int(port)


_DEFAULTS = Settings()
