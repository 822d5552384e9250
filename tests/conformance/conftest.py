"""One suite, every store: tests ask for `bench` and say with `verbs` what they need of a store.

A driver joins by a `Bench` subclass in BENCHES. One that has a part of the verbs (`verbs`) gets the tests
that need no more than those.
"""

import functools
import os
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.conformance.bench import VERBS, Bench, MemoryBench, SqliteBench
from tests.conformance.server_benches import SERVER_BENCHES
from tests.conformance.table import FAILED, PASSED, SKIPPED, Table

BENCHES: dict[str, type[Bench]] = {"memory": MemoryBench, "sqlite": SqliteBench, **SERVER_BENCHES}
# Per bench the tests that it does not get, and why: told after the run, so that no gap is silent.
LEFT_OUT: dict[str, dict[str, str]] = {}


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "verbs(*names): the store's verbs that the test uses",
        "breaks(*laws): laws that the test's own lines, made by hand, do not keep",
        "exact_time: the test needs a store whose clock stands still between calls",
        "loses_writes: the test needs a store that can be brought back to an earlier state",
        "several_nodes: the test needs a store that several nodes can use at once",
        "transactional: the test needs a store that takes part in transactions of its users",
        "loses_live_writes: it needs one that loses its last writes while nodes go on using it",
    ):
        config.addinivalue_line("markers", marker)


def needed(definition: Any) -> frozenset[str]:
    """The verbs of the module's and the test's own marks. A test without marks may use every verb."""
    marks = list(definition.iter_markers("verbs"))
    return frozenset(verb for mark in marks for verb in mark.args) if marks else VERBS


ABILITIES = {
    "exact_time": "exact_time",
    "loses_writes": "can_lose_writes",
    "loses_live_writes": "loses_live_writes",
    "several_nodes": "several_nodes",
    "transactional": "transactional",
}


def lacking(bench: type[Bench], definition: Any) -> list[str]:
    """The verbs and abilities that the test's marks ask for and the bench does not have."""
    marks = {mark.name for mark in definition.iter_markers()}
    unable = {name for name in marks & ABILITIES.keys() if not getattr(bench, ABILITIES[name])}
    return sorted(needed(definition) - bench.verbs | unable)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "new_bench" in metafunc.fixturenames:
        wanted = needed(metafunc.definition)
        assert wanted <= VERBS, f"no such verbs: {set(wanted - VERBS)}"
        wants = {name: lacking(bench, metafunc.definition) for name, bench in BENCHES.items()}
        names = [name for name, missed in wants.items() if not missed]
        metafunc.parametrize("new_bench", names, indirect=True, scope="function")
        for name, missed in wants.items():
            if missed:
                LEFT_OUT.setdefault(name, {})[metafunc.definition.nodeid] = ", ".join(missed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    table = Table()
    for result in (PASSED, FAILED, SKIPPED):
        for report in terminalreporter.stats.get(result, []):
            if "conformance/" in report.nodeid:
                table.add(report.nodeid, BENCHES, result)
    if lines := table.lines(list(BENCHES)):
        terminalreporter.section("store x suite: tests passed")
        for line in lines:
            terminalreporter.line(line)
    for name, tests in sorted(LEFT_OUT.items()):
        terminalreporter.section(f"{name}: {len(tests)} tests of the suite left out, for want of")
        groups = Counter(
            (test.rpartition("/")[2].partition("::")[0], missed) for test, missed in tests.items()
        )
        for (file, missed), count in sorted(groups.items()):
            terminalreporter.line(f"{file} ({count}): {missed}")


def pytest_sessionfinish() -> None:
    servers.stop_all()


@pytest.fixture
def new_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Bench]:
    """Makes benches with an empty store each, for tests that need several."""
    kind = BENCHES[request.param]
    reason = kind.missing()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    elif reason:
        pytest.skip(reason)
    made = 0

    def make() -> Bench:
        nonlocal made
        made += 1
        folder = tmp_path / f"bench{made}"
        folder.mkdir()
        bench = kind(folder)
        bench.declared = needed(request.node)
        bench.breaks = frozenset(law for mark in request.node.iter_markers("breaks") for law in mark.args)
        return bench

    return make


@pytest.fixture
def bench(new_bench: Callable[[], Bench]) -> Bench:
    """A store under test, open while the test runs."""
    return new_bench()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Open and close the test's store in the test's own event loop."""
    bench = pyfuncitem.funcargs.get("bench")
    if isinstance(bench, Bench):
        test = pyfuncitem.obj

        @functools.wraps(test)
        async def opened(**wanted: Any) -> None:
            async with bench:
                await test(**wanted)

        pyfuncitem.obj = opened
    return (yield)
