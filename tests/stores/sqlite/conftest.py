"""The SQLite store alone: its file, its locks, its processes. What every store must do is in conformance."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainspring.clock import VirtualClock
from mainspring.stores.sqlite import SqliteStore
from tests.stores.sqlite.process import Process


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "mainspring.db")


@pytest.fixture
def new_store(path: str) -> Callable[..., SqliteStore]:
    """An unopened store on the test's file; several of them are like several processes."""
    return lambda **options: SqliteStore(path, VirtualClock(seed=1), **options)


@pytest.fixture
def start(path: str) -> Iterator[Callable[..., Process]]:
    """Starts real processes on the test's file (process.py) and ends those that are left."""
    running: list[Process] = []

    def begin(role: str, *arguments: object) -> Process:
        running.append(Process(role, path, *arguments))
        return running[-1]

    yield begin
    for process in running:
        process.end()
