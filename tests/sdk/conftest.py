"""Schedulers of every kind that an application can talk to, and an application of small tasks."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring.config import load
from mainspring.node import Node
from mainspring.sdk.home import ThreadHome
from tests.sdk.jobs import Jobs
from tests.stores import addresses


@contextlib.contextmanager
def serving(store: str, **settings: str) -> Iterator[str]:
    """A real server on a thread of its own; its address."""
    home = ThreadHome()
    node = Node(load({"store": store, "listen": "127.0.0.1:0", **settings}, environment={}))
    home.block(node.__aenter__)
    try:
        host, port = node.address
        yield f"http://{host}:{port}"
    finally:
        home.block(node.__aexit__)
        home.end()
        home.join()


@pytest.fixture(params=["memory", "sqlite", "postgres", "redis", "http"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where an application finds its scheduler."""
    if request.param == "memory":
        yield "memory:"
        return
    with addresses.address(request.param, tmp_path) as address:
        if request.param != "http":
            yield address
            return
        with serving(address) as server:
            yield server


@pytest.fixture
def jobs(url: str) -> Iterator[Jobs]:
    """An application that nobody works for yet."""
    jobs = Jobs(url)
    with jobs.app:
        yield jobs


@pytest.fixture
def busy(jobs: Jobs) -> Iterator[Jobs]:
    """An application with a worker."""
    with jobs.app.worker(concurrency=8):
        yield jobs
