"""Redis and Valkey alone: addresses, settings, topologies, scripts. What every store must do: conformance."""

import itertools
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mainspring.clock import SystemClock
from mainspring.ports import RedisOptions
from mainspring.stores.redis import RedisStore
from tests import servers
from tests.servers import RedisServer, ValkeyServer, running

KINDS = {"redis": RedisServer, "valkey": ValkeyServer}
_numbers = itertools.count(1)


def pytest_sessionfinish() -> None:
    servers.stop_all()


def needed(kind: type[RedisServer]) -> type[RedisServer]:
    reason = kind.missing()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    elif reason:
        pytest.skip(reason)
    return kind


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[RedisServer]:
    return needed(KINDS[request.param])


@pytest.fixture
def url(kind: type[RedisServer]) -> str:
    """An empty namespace of a server that many tests share."""
    return f"{running(kind).url}?namespace=alone{next(_numbers)}"


@pytest.fixture
def new_server(kind: type[RedisServer]) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers of the test's own, with options of its choice."""
    made: list[RedisServer] = []

    def start(*options: str, of: type[RedisServer] = kind) -> RedisServer:
        made.append(of(*options))
        return made[-1]

    yield start
    for server in reversed(made):
        server.stop()


def free_port() -> int:
    """A cluster's nodes listen on a second one, 10,000 above."""
    while True:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55_000:
            return port


def new_store(url: str, **options: Any) -> RedisStore:
    return RedisStore(url, SystemClock(), RedisOptions(**options))


class Sentinel(RedisServer):
    """Watches a primary; its configuration is a file that it writes itself."""

    def command(self) -> list[str]:
        return [str(self.binary()), str(self.configuration), "--sentinel"]

    @property
    def configuration(self) -> Path:
        return self.folder / "sentinel.conf"


def sentinel_of(kind: type[RedisServer], port: int, primary: int) -> type[RedisServer]:
    """A kind of server that is a sentinel at `port`, for the service `tasks`."""

    class Watching(Sentinel):
        package, program = kind.package, kind.program

        def prepare(self) -> dict[str, Any]:
            self.configuration.write_text(
                f"port {port}\nbind 127.0.0.1\nunixsocket {self.socket}\ndir {self.folder}\n"
                f"sentinel monitor tasks 127.0.0.1 {primary} 1\n"
                "sentinel down-after-milliseconds tasks 500\nsentinel failover-timeout tasks 2000\n"
            )
            return {}

    return Watching
