"""What every test has: a runner for `async def` tests, the real inputs, and a quiet hypothesis."""

import asyncio
import inspect
import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests import servers

ROOT = Path(__file__).parents[1]
# Of a test that takes seconds: far from what a slow machine with much else to do needs.
HANGS_AFTER_S = 240

# A shell that runs the tests in its background makes them ignore interrupts, and so every process that they
# start: tests of Ctrl-C would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no bug; CI repeats the same examples, so that a red run can be rerun.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_sessionfinish() -> None:
    servers.stop_all()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test on a loop of its own. The limit only tells a hang from a test."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    marker = pyfuncitem.get_closest_marker("limit")
    limit = marker.args[0] if marker else HANGS_AFTER_S
    wanted = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def bounded() -> None:
        async with asyncio.timeout(limit):
            await pyfuncitem.obj(**wanted)

    asyncio.run(bounded())
    return True


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of real inputs: workflows and cron tables. CI fails without it."""
    folder = Path(os.environ.get("MAINSPRING_CASES", ROOT.parent / "shared" / "cases"))
    if not folder.is_dir():
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("the real inputs are not on this machine (MAINSPRING_CASES)")
    return folder
