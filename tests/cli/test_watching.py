"""`tasks watch`, `tasks logs` and the live output of `run`."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.cli.conftest import Cli
from tests.e2e.processes import running


@contextmanager
def started(cli, *arguments):
    """A command in a process of its own, so that it can be seen while it runs."""
    command = [sys.executable, "-m", "mainspring", *arguments]
    environment = {**os.environ, **cli.environment}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def rest_of(process):
    """What else it prints. Not `communicate`: that passes over what a line read before has buffered."""
    text = process.stdout.read()
    process.wait()
    return text


def submit(cli, *arguments):
    return cli.ok("submit", *arguments, "-o", "id").strip()


@pytest.fixture
def gate(tmp_path):
    """A file that a command waits for, and the shell's word for waiting."""
    path = tmp_path / "gate"
    return path, f"while [ ! -e {path} ]; do sleep 0.01; done"


def test_a_commands_output_is_shown_while_it_runs(cli, gate):
    """S1-43: `Progress: i/10` is seen when it is printed."""
    path, wait = gate
    with started(cli, "run", f"echo Progress: 1/2; echo odd >&2; {wait}; echo Progress: 2/2; exit 3") as run:
        assert run.stdout.readline() == "Progress: 1/2\n"
        assert run.stderr.readline() == "odd\n"
        assert run.poll() is None
        path.touch()
        assert rest_of(run) == "Progress: 2/2\n"
    assert run.returncode == 3


def test_a_log_is_followed(cli, gate):
    """S1-43: from its beginning to the task's end; the tail stays after it."""
    path, wait = gate
    task = submit(cli, "--command", f"echo one; {wait}; echo two >&2; printf three")
    with started(cli, "tasks", "logs", "-f", task) as follower:
        assert follower.stdout.readline() == "one\n"
        assert cli.ok("tasks", "logs", task) == "one\n"
        path.touch()
        assert rest_of(follower) in ("two\nthree", "threetwo\n")
    assert follower.returncode == 0
    assert cli.ok("tasks", "logs", task).startswith("one\n")
    document = cli.json("tasks", "logs", task)
    assert {piece["stream"] for piece in document["pieces"]} == {"stdout", "stderr"}
    lines = [json.loads(line) for line in cli.ok("tasks", "logs", "-f", task, "-o", "json").splitlines()]
    assert lines == document["pieces"]


def test_a_handlers_log_is_shown(cli):
    task = submit(cli, "talk")
    cli("tasks", "wait", task)
    assert cli.ok("tasks", "logs", task) == "hello from run 1\nlook out\n"
    streams = [piece["stream"] for piece in cli.json("tasks", "logs", task)["pieces"]]
    assert streams == ["info", "warning"]


def test_what_is_missing_of_a_log_shows(cli):
    result = cli("run", "seq 1 2000000")
    assert result.exit_code == 0
    assert result.stdout.endswith("1999999\n2000000\n")
    missing = int(result.stderr.removeprefix("mainspring: the output was long; left out: ").split()[0])
    assert missing + len(result.stdout) == len("".join(f"{n}\n" for n in range(1, 2_000_001)))


def test_progress_is_watched(cli, gate):
    """S1-05, S4: states and progress as they change; the exit code says whether all succeeded."""
    path, _ = gate
    task = submit(cli, "advance", "--payload", json.dumps({"gate": str(path)}))
    other = submit(cli, "--command", "exit 1", "--max-retries", "0")
    with started(cli, "tasks", "watch", task, other) as watch:
        lines = []
        while not any("half way" in line for line in lines):
            lines.append(watch.stdout.readline())
        path.touch()
        lines += rest_of(watch).splitlines(keepends=True)
    mine = [line.removeprefix(task).strip() for line in lines if line.startswith(task)]
    assert mine[-2:] == ["running run 1 50% half way", "succeeded run 1 50% half way"]
    assert [line.split()[1] for line in lines if line.startswith(other)][-1] == "failed"
    assert watch.returncode == 1


def test_watching_as_json(cli):
    task = submit(cli, "double", "--payload", "4")
    lines = [json.loads(line) for line in cli.ok("tasks", "watch", task, "-o", "json").splitlines()]
    assert {line["id"] for line in lines} == {task}
    assert lines[-1]["state"] == "succeeded"


def test_bad_questions(cli):
    absent = "00000000-0000-7000-8000-000000000000"
    for arguments in (("logs", absent), ("logs", "-f", absent), ("watch", absent), ("watch", "nonsense")):
        assert "no task" in cli.fails(4, "tasks", *arguments)
    assert "too many to watch" in cli.fails(2, "tasks", "watch", *(str(n) for n in range(51)))
    assert cli("tasks", "watch").exit_code == 2


def test_a_server_that_restarts_is_gone_on_with(tmp_path):
    """The follower comes again, tells nothing twice and misses nothing."""
    gate = tmp_path / "gate"
    command = f"echo one; while [ ! -e {gate} ]; do sleep 0.01; done; echo two"
    arguments = ("--listen", "127.0.0.1:0", "--db", "m.db", "--lease", "60s")
    with running(tmp_path, "server", "server", *arguments) as first:
        port = first.url().rpartition(":")[2]
        cli = Cli(first.url())
        worker = ("worker", "--api-url", first.url(), "--allow-commands")
        with running(tmp_path, "worker", *worker):
            task = submit(cli, "--command", command)
            with started(cli, "tasks", "logs", "-f", task) as follower:
                assert follower.stdout.readline() == "one\n"
                first.kill()
                again = ("server", "--listen", f"127.0.0.1:{port}", "--db", "m.db", "--lease", "60s")
                with running(tmp_path, "again", *again) as second:
                    second.url()
                    gate.touch()
                    assert rest_of(follower) == "two\n"
    assert follower.returncode == 0
