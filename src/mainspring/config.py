"""Settings: one frozen record, filled from flags, environment, a file and defaults, in that order.

Every value knows where it came from (`Settings.origin`), so that a start-up log can say so and an error
can name the setting as the user wrote it.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mainspring.core.durations import parse_duration_s
from mainspring.errors import InvalidInput

PREFIX = "MAINSPRING_"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting of a node. Durations are seconds; the empty string means "not set"."""

    node_id: str = ""
    listen: str = "127.0.0.1:8080"
    store: str = ""
    db: str = "scheduler.db"
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
    log_level: str = "info"
    origins: Mapping[str, str] = {}

    def origin(self, name: str) -> str:
        """Where the value came from: a flag, a variable, a file, or `default`."""
        return self.origins.get(name, "default")

    @property
    def store_url(self) -> str:
        return self.store or f"sqlite:///{self.db}"

    @property
    def listen_address(self) -> tuple[str, int]:
        return parse_address(self.listen, "listen")


# Names of the sources' own settings, accepted as aliases (contract: S1-47, S2-20, S2-22, ...).
ALIASES: dict[str, tuple[str, ...]] = {
    "node_id": ("NODE_ID",),
    "listen": ("LISTEN_ADDR",),
    "log_level": ("LOG_LEVEL",),
    "lease_s": (),
}
_DURATIONS = ("lease_s", "grace_s", "keep_succeeded_s", "keep_cancelled_s", "keep_failed_s")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def load(
    flags: Mapping[str, Any], environment: Mapping[str, str] | None = None, file: Path | None = None
) -> Settings:
    """Settings from all sources. `flags` holds those the user gave; `None` values count as not given.

    Raises `InvalidInput` naming the setting, by the name under which it was given.
    """
    environment = os.environ if environment is None else environment
    written = _read_file(file)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name in Settings.__struct_fields__:
        if name == "origins":
            continue
        found = _lookup(name, flags, environment, written, file)
        if found is not None:
            values[name], origins[name] = _parse(name, *found), found[1]
    return Settings(**values, origins=origins)


def _lookup(
    name: str,
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    written: Mapping[str, Any],
    file: Path | None,
) -> tuple[Any, str] | None:
    public = name.removesuffix("_s")
    if flags.get(name) is not None:
        return flags[name], f"--{public.replace('_', '-')}"
    given = [
        variable
        for variable in (PREFIX + public.upper(), *ALIASES.get(name, ()))
        if environment.get(variable)
    ]
    if len({environment[variable] for variable in given}) > 1:
        raise InvalidInput(given[0], f"differs from {given[1]}", "one of the two, or the same value in both")
    if given:
        return environment[given[0]], given[0]
    if public in written:
        return written[public], f"{public} in {file}"
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
