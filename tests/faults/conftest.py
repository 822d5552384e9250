"""Faults on real servers: each test has a server of its own, and what it measured is told after the run."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.kinds import KINDS, Kind

Note = Callable[..., None]
_measured: list[tuple[str, str]] = []


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Kind:
    """The kind of server that the test is run on; a test names others than all by `parametrize`."""
    kind = KINDS[request.param]
    reason = kind.server.missing()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    elif reason:
        pytest.skip(reason)
    return kind


@pytest.fixture
def start(kind: Kind) -> Iterator[Callable[..., Any]]:
    """Starts servers of the test's kind, with further options, and stops them after the test."""
    servers: list[Any] = []

    def begin(*options: str) -> Any:
        servers.append(kind.start(*options))
        return servers[-1]

    yield begin
    for server in servers:
        server.stop()


@pytest.fixture
def server(start: Callable[..., Any]) -> Any:
    return start()


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Note:
    """Takes down what the test has measured."""

    def note(**values: object) -> None:
        told = ", ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in values.items())
        _measured.append((request.node.name, told))

    return note


def _text(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        marks = {mark.name: mark for mark in metafunc.definition.iter_markers()}
        names = marks["kinds"].args if "kinds" in marks else tuple(KINDS)
        metafunc.parametrize("kind", names, indirect=True)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kinds(*names): the kinds of server that the test is for; else all")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _measured:
        terminalreporter.section("faults: what was measured")
        for test, told in _measured:
            terminalreporter.line(f"{test}: {told}")
