"""Faults on real servers: each test has a server of its own, and what it measured is told after the run."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.kinds import KINDS, OTHERS, Kind

Note = Callable[..., None]
_measured: list[tuple[str, str]] = []
_counted: dict[str, Counter[str]] = {}
_shared: dict[Kind, Any] = {}


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Kind:
    """The kind of server that the test is run on; a test names others than all by `parametrize`."""
    kind = (KINDS | OTHERS)[request.param]
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
def shared_server(kind: Kind) -> Any:
    """One for all tests that leave it as it is, and need nothing of it to outlive a crash."""
    if kind not in _shared:
        _shared[kind] = kind.start(*kind.settings_without_durability)
    return _shared[kind]


def pytest_sessionfinish() -> None:
    while _shared:
        _shared.popitem()[1].stop()


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Note:
    """As `measured`, for numbers that are added up over all parameters of a test but its kind."""

    def note(**values: int) -> None:
        name = f"{request.node.originalname}[{request.node.callspec.params['kind']}]"
        _counted.setdefault(name, Counter()).update(values)

    return note


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
    sums = [(test, ", ".join(f"{name} {n}" for name, n in sum_.items())) for test, sum_ in _counted.items()]
    if _measured or sums:
        terminalreporter.section("faults: what was measured")
        for test, told in [*_measured, *sums]:
            terminalreporter.line(f"{test}: {told}")
