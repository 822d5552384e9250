"""Real runner processes: where handlers run, what their death means, and that nothing outlives the worker."""

import asyncio
import os
import signal
import sys

import msgspec
import pytest

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome
from mainspring.errors import InvalidInput
from mainspring.ports import Answer
from mainspring.worker import Worker, WorkerSettings
from mainspring.worker.supervisor import ProcessEngine
from tests.worker.processes import appears, gone
from tests.worker.scripted import ScriptedSource, working

JOBS = "tests.worker.jobs:app"


def processes(grace_s=0.3, app=JOBS):
    return ProcessEngine(app, SystemClock(), grace_s=grace_s, log_level="warning")


def payload_of(task: str) -> object:
    return {"duration": 0.05} if task.startswith("nap") else None


async def test_user_code_runs_in_children():
    source = ScriptedSource()
    async with working(source, processes()):
        leases = [await source.put(kind) for kind in ("pid", "thread_pid", "lone_pid")]
        await source.settled(3)
    shared, thread, lone = (int(source.report_on(lease).result) for lease in leases)
    assert shared == thread
    assert len({os.getpid(), shared, lone}) == 3
    assert "tests.worker.jobs" not in sys.modules


async def test_the_kinds_are_those_that_the_runner_has():
    """A worker never claims a kind it has no handler for; `command` needs to be enabled."""
    source = ScriptedSource()
    async with working(source, processes()) as worker:
        await source.put("pid")
        await source.settled()
        assert worker.info().kinds == source.requests[0].kinds
    assert {"echo", "sleep", "pid"} <= set(source.requests[0].kinds)
    assert "command" not in source.requests[0].kinds


@pytest.mark.parametrize(
    ("app", "says"),
    [
        ("tests.worker.nowhere:app", "there is no module 'tests.worker.nowhere'"),
        ("tests.worker.jobs:nothing", "has no application 'nothing'"),
        ("tests.worker.scripted:LEASE_S", "has no application 'LEASE_S'"),
    ],
)
async def test_an_application_that_cannot_be_loaded_ends_the_worker(app, says):
    with pytest.raises(InvalidInput, match=says):
        await Worker(ScriptedSource(), processes(app=app), SystemClock(), WorkerSettings(worker="w")).run()


async def test_a_lone_runner_is_kept_warm_and_runs_one_at_a_time():
    source = ScriptedSource()
    async with working(source, processes(), slots=1):
        leases = []
        for count in range(3):
            leases.append(await source.put("lone_pid"))
            await source.settled(count + 1)
    assert len({source.report_on(lease).result for lease in leases}) == 1


async def test_a_dead_runner_loses_what_had_begun_and_nothing_else(tmp_path):
    """What waits in a runner that dies is given to the next one: it has not begun, and is not counted."""
    source, mark = ScriptedSource(), tmp_path / "mark"
    async with working(source, processes(), slots=1) as worker:
        worker._mean_us = 1.0  # lets it claim ahead
        begun = await source.put("marking", {"path": str(mark)})
        waiting = [await source.put("pid") for _ in range(3)]
        os.kill(await appears(mark), signal.SIGKILL)
        await source.settled(4)
    report = source.report_on(begun)
    assert report.outcome is Outcome.LOST
    assert "SIGKILL" in msgspec.json.decode(report.error)["message"]
    assert [source.outcome_of(lease) for lease in waiting] == [Outcome.SUCCEEDED] * 3


async def test_poison_ends_alone_and_its_neighbours_survive():
    """A task that kills its runner is lost as often as the server lets it; good tasks are lost once at most,
    and succeed when they run again."""
    source = ScriptedSource()
    losses: dict[str, int] = {}

    async def serve():
        """The server's part: a lost task is ready again, up to three losses."""
        seen = 0
        while True:
            await source.settled(seen + 1)
            for report in source.reports[seen:]:
                seen += 1
                if report.outcome is Outcome.LOST:
                    count = losses[report.task] = losses.get(report.task, 0) + 1
                    if count < 3:
                        await again(report.task, losses=count)
            if not open_tasks():
                return

    async def again(task, **fields):
        await source.put(task.partition("-")[0], payload_of(task), task=task, **fields)

    def open_tasks():
        done = {r.task for r in source.reports if r.outcome is Outcome.SUCCEEDED}
        done |= {task for task, count in losses.items() if count >= 3}
        return {*good, *bad} - done

    good, bad = [f"nap-{n}" for n in range(30)], ["poison-1", "deadly-1"]
    async with working(source, processes(), slots=8):
        for task in [*good[:15], bad[0], *good[15:25], bad[1], *good[25:]]:
            await again(task)
        await serve()
    assert {task: losses.get(task, 0) for task in bad} == dict.fromkeys(bad, 3)
    assert max((losses.get(task, 0) for task in good), default=0) <= 1
    succeeded = [r.task for r in source.reports if r.outcome is Outcome.SUCCEEDED]
    assert sorted(succeeded) == sorted(good)


async def test_a_handler_deaf_to_its_timeout_is_ended_with_its_runner(tmp_path):
    """Its neighbours go back uncounted, and the worker works on."""
    source, mark = ScriptedSource(), tmp_path / "mark"
    async with working(source, processes()):
        neighbour = await source.put("marking", {"path": str(mark)})
        await appears(mark)
        deaf = await source.put("blocked", timeout_us=200_000)
        await source.settled(2)
        after = await source.put("pid")
        await source.settled(3)
    report = source.report_on(deaf)
    assert (report.outcome, report.error_type) == (Outcome.FAILED, "Timeout")
    assert "0.2 s" in msgspec.json.decode(report.error)["message"]
    assert source.outcome_of(neighbour) is Outcome.RELEASED
    assert source.outcome_of(after) is Outcome.SUCCEEDED


async def test_a_handler_that_listens_times_out_without_harm():
    source = ScriptedSource()
    async with working(source, processes()):
        first = await source.put("pid")
        late = await source.put("patient", timeout_us=100_000)
        await source.settled(2)
        second = await source.put("pid")
        await source.settled(3)
    assert source.report_on(late).error_type == "Timeout"
    assert source.report_on(first).result == source.report_on(second).result


async def test_a_deaf_handler_is_cancelled_by_force(tmp_path):
    source = ScriptedSource(lease_s=1.0)
    async with working(source, processes()):
        lease = await source.put("blocked")
        source.answers["renew", lease.task] = Answer.CANCEL
        await source.settled()
    assert source.outcome_of(lease) is Outcome.CANCELLED


async def test_a_lost_lease_ends_the_run_and_is_not_reported(tmp_path):
    source, mark = ScriptedSource(lease_s=1.0), tmp_path / "mark"
    async with working(source, processes()):
        lost = await source.put("marking", {"path": str(mark)})
        await appears(mark)
        source.answers["renew", lost.task] = Answer.LOST
        while "renew" not in source.calls:
            await asyncio.sleep(0.01)
        other = await source.put("pid")
        await source.settled()
    assert [report.task for report in source.reports] == [other.task]


async def test_a_checkpoint_crosses_from_the_runner(tmp_path):
    source, mark = ScriptedSource(), tmp_path / "mark"
    async with working(source, processes(), drain_grace_s=0.0):
        lease = await source.put("marking", {"path": str(mark)})
        await appears(mark)
    assert [(line.task, line.checkpoint) for line in source.lines] == [(lease.task, b'{"begun":true}')]
    assert source.outcome_of(lease) is Outcome.RELEASED


async def test_halt_hands_back_at_once_and_leaves_no_process(tmp_path):
    source, mark = ScriptedSource(), tmp_path / "mark"
    async with working(source, processes(grace_s=60), drain_grace_s=60.0) as worker:
        lease = await source.put("marking", {"path": str(mark)})
        pid = await appears(mark)
        worker.drain()
        worker.halt()
        await source.settled()
    assert source.outcome_of(lease) is Outcome.RELEASED
    await gone(pid)


ORPHANS = """
import asyncio, sys
from mainspring.clock import SystemClock
from mainspring.ports import Answer
from mainspring.worker import Worker, WorkerSettings
from mainspring.ports import Answer
from mainspring.worker import Worker, WorkerSettings
from mainspring.worker.allowed import Allowed
from mainspring.worker.supervisor import ProcessEngine
from tests.worker.processes import appears, gone
from tests.worker.scripted import ScriptedSource

async def main(shared, command):
    source, clock = ScriptedSource(), SystemClock()
    await source.put("marking", {"path": shared})
    script = f"echo $$ > {command}.new; mv {command}.new {command}; sleep 3600"
    await source.put("command", {"command": script})
    engine = ProcessEngine("tests.worker.jobs:app", clock, allowed=Allowed(commands=True))
    await Worker(source, engine, clock, WorkerSettings(worker="w")).run()

asyncio.run(main(*sys.argv[1:]))
"""


EMBEDDED = """
import asyncio, sys
from mainspring.clock import SystemClock
from mainspring.worker import InProcessEngine, Worker, WorkerSettings
from mainspring.worker.allowed import Allowed
from mainspring.worker.kinds import allowed_kinds, handlers_of
from tests.worker.scripted import ScriptedSource

async def main(command):
    source, clock = ScriptedSource(), SystemClock()
    script = f"echo $$ > {command}.new; mv {command}.new {command}; sleep 3600"
    await source.put("command", {"command": script})
    engine = InProcessEngine(handlers_of(None, allowed_kinds(Allowed(commands=True), clock)), clock)
    await Worker(source, engine, clock, WorkerSettings(worker="w")).run()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_no_command_outlives_a_killed_process_with_a_worker_inside(tmp_path):
    """As `standalone` is one: it has no supervisor, but a warden with its first command."""
    command = tmp_path / "command"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", EMBEDDED, command)
    try:
        pid = await appears(command)
    finally:
        process.kill()
        await process.wait()
    await gone(pid)


async def test_nothing_outlives_a_killed_supervisor(tmp_path):
    """SIGKILL the supervisor: its runners and the commands they started are ended by the warden."""
    shared, command = tmp_path / "shared", tmp_path / "command"
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", ORPHANS, shared, command)
    try:
        pids = [await appears(shared), await appears(command)]
    finally:
        worker.kill()
        await worker.wait()
    for pid in pids:
        await gone(pid)


async def test_a_signal_to_every_process_is_the_supervisors_to_obey(tmp_path):
    """Service managers send SIGTERM to runners too: the run goes on, and is not lost."""
    source, mark = ScriptedSource(), tmp_path / "mark"
    async with working(source, processes(), drain_grace_s=0.0):
        lease = await source.put("marking", {"path": str(mark)})
        os.kill(await appears(mark), signal.SIGTERM)
        other = await source.put("pid")
        await source.settled()
        assert source.outcome_of(other) is Outcome.SUCCEEDED
    assert source.outcome_of(lease) is Outcome.RELEASED


async def test_many_runs_of_each_sort_all_end():
    source = ScriptedSource()
    async with working(source, processes(), slots=6):
        leases = [await source.put(("pid", "thread_pid", "lone_pid")[n % 3]) for n in range(120)]
        await source.settled(120)
    assert {source.outcome_of(lease) for lease in leases} == {Outcome.SUCCEEDED}
    assert len(source.reports) == 120
