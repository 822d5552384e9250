"""Real processes are killed between two steps, and a stalled worker wakes too late: each step runs once."""

import json
import signal
from pathlib import Path

import pytest

from tests.e2e.processes import running, until

JOBS = '''
import os
import time
from pathlib import Path

from mainspring import Context, Mainspring

app = Mainspring()


def ran(step: str) -> int:
    """How often the step has run, in whichever process."""
    with open(step, "a+") as file:
        file.write("x")
        return file.tell()


@app.task
def two_steps(ctx: Context) -> list[int]:
    first = ctx.step("first", lambda: ran("first"))
    ctx.log.info("run %d is between the steps", ctx.attempt)
    ctx.checkpoint(ctx.attempt)
    if ctx.attempt == 1:
        while not Path("go on").exists():
            time.sleep(0.01)
        ran("woke")
    second = ctx.step("second", lambda: ran("second"))
    return [first, second]
'''
LEASE = ("--lease", "3s")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "jobs.py").write_text(JOBS)
    return tmp_path


def counted(home: Path) -> dict[str, int]:
    names = ("first", "second")
    return {name: (home / name).stat().st_size if (home / name).exists() else 0 for name in names}


def log_of(api, task: str) -> str:
    reply = api.client.get(f"/api/v1/tasks/{task}/logs", headers={"Accept": "text/plain"})
    return reply.text


def ended(api, task: str) -> dict:
    return until(lambda: (got := api.get(task))["finished_at"] and got)


def between_the_steps(api, task: str) -> bool:
    return api.get(task)["checkpoint"] == 1 and "run 1" in log_of(api, task)


def test_a_standalone_process_killed_between_two_steps(home):
    """S3-25: its successor replays the first step and runs the second. SIGKILL leaves no time for a word."""
    arguments = ("standalone", "--listen", "127.0.0.1:0", "--db", "m.db", "-A", "jobs:app", *LEASE)
    with running(home, "first", *arguments) as process:
        api = process.api()
        (task,) = api.submit([{"kind": "two_steps"}])
        until(lambda: between_the_steps(api, task))
        process.kill()
    with running(home, "second", *arguments) as process:
        api = process.api()
        record = ended(api, task)
        text = log_of(api, task)
    assert (record["state"], record["result"], record["attempt"], record["losses"]) == (
        "succeeded", [1, 1], 2, 1,
    )  # fmt: skip
    assert counted(home) == {"first": 1, "second": 1}
    assert text == "run 1 is between the steps\nrun 2 is between the steps\n"


def test_a_worker_killed_between_two_steps(home):
    """S3-25: the same over HTTP, with the user's code in a child process that dies with its worker."""
    with running(home, "server", "server", "--listen", "127.0.0.1:0", *LEASE) as server:
        api = server.api()
        (task,) = api.submit([{"kind": "two_steps"}])
        worker = ("worker", "--api-url", server.url(), "-A", "jobs:app")
        with running(home, "one", *worker, "--worker-id", "one") as first:
            until(lambda: between_the_steps(api, task))
            first.kill()
        with running(home, "two", *worker, "--worker-id", "two"):
            record = ended(api, task)
    assert (record["state"], record["result"], record["worker"]) == ("succeeded", [1, 1], "two")
    assert counted(home) == {"first": 1, "second": 1}


def test_a_stalled_worker_wakes_too_late_to_record_anything(home):
    """S3-25: stopped for longer than its lease, it is refused and stops its run; the other's steps stand."""
    with running(home, "server", "server", "--listen", "127.0.0.1:0", *LEASE) as server:
        api = server.api()
        (task,) = api.submit([{"kind": "two_steps"}])
        worker = ("worker", "--api-url", server.url(), "-A", "jobs:app", "--worker-id")
        with running(home, "one", *worker, "one") as first:
            until(lambda: between_the_steps(api, task))
            first.signal(signal.SIGSTOP)
            with running(home, "two", *worker, "two"):
                record = ended(api, task)
                (home / "go on").touch()
                first.signal(signal.SIGCONT)
                until(lambda: (home / "woke").exists())
                # The woken run asks to record its second step; its worker knows by then that it lost.
                first.stop()
        after = api.get(task)
    assert (record["state"], record["result"], record["worker"]) == ("succeeded", [1, 1], "two")
    assert json.dumps(after, sort_keys=True) == json.dumps(record, sort_keys=True)
    assert counted(home)["first"] == 1
