"""`mainspring run`: as if the command ran here."""

import os
import signal
import subprocess
import sys

import pytest

from tests.e2e.processes import until


@pytest.mark.parametrize(
    ("command", "code", "stdout", "stderr"),
    [
        (["echo hello; echo trouble >&2"], 0, "hello\n", "trouble\n"),
        (["echo $((6 * 7)); exit 42"], 42, "42\n", ""),
        (["printf", "%s|", "a b", "$HOME", "--no-option"], 0, "a b|$HOME|--no-option|", ""),
        (["kill -TERM $$"], 143, "", ""),
    ],
)
def test_output_and_exit_code_are_the_commands(cli, command, code, stdout, stderr):
    result = cli("run", *command)
    assert (result.exit_code, result.stdout, result.stderr) == (code, stdout, stderr)


QUOTED = r"""python3 -c "fib=lambda n: n if n<=1 else fib(n-1)+fib(n-2); print(f\"fib(15)={fib(15)}\")" """


@pytest.mark.parametrize(
    ("command", "stdout"),
    [
        ('python3 -c "print(sum(range(1000)))"', "499500\n"),
        (QUOTED, "fib(15)=610\n"),
        ("dd if=/dev/zero of=zeros bs=1024 count=4 2>/dev/null && wc -c < zeros && rm zeros", "4096\n"),
    ],
)
def test_quotes_and_operators_reach_the_shell_as_they_are(cli, command, stdout):
    """S1-39, S1-41, S1-42: any shell command, quotes within quotes included."""
    assert cli.ok("run", command) == stdout


def test_long_output_is_shown_whole(cli):
    """As far as the task's log holds it at a time: 1 MiB."""
    assert cli.ok("run", "seq 1 100000") == "".join(f"{number}\n" for number in range(1, 100_001))


def test_a_command_runs_once_unless_told_otherwise(cli, queue):
    cli("run", "--queue", queue, "exit 1")
    (task,) = cli.json("tasks", "list", "--queue", queue)["tasks"]
    assert (task["state"], task["attempt"]) == ("failed", 1)


def test_a_command_that_did_not_run_is_told(cli):
    assert "FileNotFoundError" in cli.fails(1, "run", "no-such-program", "argument")
    assert "Timeout: timed out after 0.1 s" in cli.fails(1, "run", "--timeout", "100ms", "sleep 60")
    assert "priority: not a priority" in cli.fails(2, "run", "--priority", "99", "true")


def test_interrupted_it_cancels(cli, queue):
    command = [sys.executable, "-m", "mainspring", "run", "--queue", queue, "sleep 60"]
    environment = {**os.environ, **cli.environment}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as running:
        try:
            listed = ("tasks", "list", "--queue", queue, "--state", "running", "-o", "id")
            task = until(lambda: cli.ok(*listed).strip())
            running.send_signal(signal.SIGINT)
            assert b"mainspring: interrupted" in running.communicate()[1]
        finally:
            running.kill()
    assert running.returncode == 130
    assert "cancelled" in cli("tasks", "wait", task).stdout
