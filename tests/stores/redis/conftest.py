"""Redis and Valkey alone: addresses, settings, topologies, scripts. What every store must do: conformance."""

import itertools
import os
from collections.abc import Callable, Iterator
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


def new_store(url: str, **options: Any) -> RedisStore:
    return RedisStore(url, SystemClock(), RedisOptions(**options))
