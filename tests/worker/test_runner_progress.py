"""Steps, logs and parents of handlers in child processes, and what a killed child leaves for the next run."""

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import pytest

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome
from mainspring.core.model import State
from mainspring.errors import InvalidInput
from mainspring.ports import Answer, Parent
from mainspring.worker.supervisor import ProcessEngine
from tests.worker.processes import appears
from tests.worker.scripted import ScriptedSource, working


def processes():
    return ProcessEngine("tests.worker.jobs:app", SystemClock(), grace_s=0.3, log_level="error")


def ran(folder: Path) -> dict[str, int]:
    return {path.name: len(path.read_text()) for path in folder.iterdir() if path.name != "pid"}


@pytest.mark.parametrize("kind", ["stepping", "stepping_on_a_thread"])
async def test_a_run_killed_between_two_steps_is_gone_on_with(kind, tmp_path):
    """S3-25: the second run replays the first step and runs the second."""
    source, payload = ScriptedSource(), {"folder": str(tmp_path)}
    async with working(source, processes()):
        await source.put(kind, payload, task="t")
        os.kill(await appears(tmp_path / "pid"), signal.SIGKILL)
        await source.settled(1)
        assert source.reports[0].outcome is Outcome.LOST
        await source.put(kind, payload, task="t", attempt=2, losses=1)
        await source.settled(2)
    assert source.reports[1].result == b'{"first":1,"second":1}'
    assert ran(tmp_path) == {"first": 1, "second": 1}


async def test_what_a_source_refuses_reaches_the_handler():
    """By its own error; a lost lease ends the run without a word."""
    source = ScriptedSource()
    append = source.append

    async def picky(lines):
        if any(line.steps for line in lines):
            raise InvalidInput("lines[0].steps", "not today")
        return await append(lines)

    source.append = picky
    async with working(source, processes()):
        refused = await source.put("badly_stepping")
        await source.settled(1)
        source.answers["recall", "lost"] = Answer.LOST
        await source.put("badly_stepping", task="lost")
        after = await source.put("pid")
        await source.settled(2)
    report = source.report_on(refused)
    assert (report.outcome, report.error_type) == (Outcome.FAILED, "InvalidInput")
    assert "not today" in msgspec.json.decode(report.error)["message"]
    assert {report.task for report in source.reports} == {refused.task, after.task}


async def test_a_log_comes_through_in_order_and_before_the_outcome():
    source = ScriptedSource()
    source.parents = [Parent("id-1", "fetch", State.SUCCEEDED, b"1"), Parent("id-2", None, State.FAILED)]
    async with working(source, processes()):
        lease = await source.put("talking", {"lines": 3_000})
        await source.settled()
    assert "".join(source.texts()) == "".join(f"line {line}\n" for line in range(3_000))
    assert source.report_on(lease).result == b'{"fetch":"succeeded","id-2":"failed"}'
    assert source.calls.index("settle") > max(n for n, verb in enumerate(source.calls) if verb == "append")


async def test_a_flood_is_told_as_far_as_the_source_takes_it(tmp_path):
    """The runner keeps the newest; neither the pipe nor the supervisor fills with what waits."""
    source = ScriptedSource()
    taken, append = asyncio.Event(), source.append

    async def stuck(lines):
        if any(line.log for line in lines):
            await taken.wait()
        return await append(lines)

    source.append = stuck
    async with working(source, processes()):
        lease = await source.put("flooding", {"folder": str(tmp_path)})
        runner = await appears(tmp_path / "pid")
        before = memory_of(runner)
        await appears(tmp_path / "flooded")
        grown = memory_of(runner) - before
        (tmp_path / "stop").touch()
        taken.set()
        await source.settled()
    assert source.outcome_of(lease) is Outcome.SUCCEEDED
    log = source.log()
    assert log[-1].offset + len(log[-1].text) == 30_000_000
    assert sum(len(piece.text) for piece in log) < 3_000_000
    assert grown < 10_000_000


def memory_of(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
