"""`mainspring submit`: one task, or a file of them."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest

from tests.e2e.processes import until


def test_a_task_and_its_result(cli):
    task = cli.json("submit", "double", "--payload", "21", "--wait")
    assert (task["state"], task["result"], task["kind"]) == ("succeeded", 42, "double")
    first, *left = cli.ok("submit", "double", "--payload", "21", "--wait").splitlines()
    assert first.startswith("1 task in ")
    assert left == ["  42"]
    assert cli.ok("submit", "--command", "echo a; echo b", "--wait").splitlines()[1:] == ["  a", "  b"]


def test_every_digit_comes_back(cli):
    payload = '{"big": 9007199254740993, "float": 1.0e5}'
    identity = cli.ok("submit", "echo", "--payload", payload, "-o", "id").strip()
    cli.ok("tasks", "wait", identity)
    text = cli.ok("tasks", "get", identity, "-o", "json")
    assert text.count(payload) == 2  # the payload, and as its echo the result


def test_fields_of_a_task(cli, queue):
    task = cli.json(
        "submit", "echo", "--queue", queue, "--priority", "high", "--tenant", "acme", "--key", "account-7",
        "--name", "nightly import", "--delay", "1h30m", "--timeout", "2m", "--soft-timeout", "90s",
        "--max-retries", "7", "--deadline", "2100-01-01T00:00:00Z", "--on-parent-failure", "run",
        "--label", "a=b", "--label", "c=d=e", "--retry", '{"strategy": "fixed", "delay": "10s"}',
        "--unique", "true",
    )  # fmt: skip
    wanted = {
        "state": "scheduled", "queue": queue, "priority": 8, "tenant": "acme", "key": "account-7",
        "name": "nightly import", "timeout": 120, "soft_timeout": 90, "max_retries": 7,
        "deadline": "2100-01-01T00:00:00Z", "on_parent_failure": "run", "labels": {"a": "b", "c": "d=e"},
    }  # fmt: skip
    assert {name: task[name] for name in wanted} == wanted
    assert (task["retry"]["strategy"], task["retry"]["delay"]) == ("fixed", 10)


def test_depends_on(cli):
    parent = cli.json("submit", "echo", "--delay", "1h")
    child = cli.json("submit", "echo", "--depends-on", parent["id"])
    assert (child["state"], child["depends_on"]) == ("blocked", [parent["id"]])


def test_an_idempotency_key_stores_once(cli):
    submit = ("submit", "echo", "--payload", "1", "--idempotency-key", "once", "-o", "id")
    assert cli.ok(*submit) == cli.ok(*submit)
    complaint = cli.fails(1, "submit", "echo", "--payload", "2", "--idempotency-key", "once")
    assert "key" in complaint


def test_a_failed_task_is_exit_code_1_and_told(cli):
    result = cli("submit", "broken", "--payload", '{"reason": "no such customer"}', "--wait")
    assert result.exit_code == 1
    assert "1 failed" in result.stdout
    assert "ValueError: no such customer" in result.stdout


WORKFLOW = [
    {"ref": "last", "command": "cat one two", "depends_on": ["first", "second"]},
    {"ref": "first", "command": "echo 1 > one"},
    {"ref": "second", "kind": "command", "payload": {"command": "echo 2 > two"}},
]


@pytest.mark.parametrize("lines", [False, True])
def test_a_file_is_one_workflow(cli, write, lines):
    """S1-32: a JSON array or NDJSON, with names that the dependencies use, and `command` for short."""
    content = "\n".join(map(json.dumps, WORKFLOW)) if lines else json.dumps(WORKFLOW)
    tasks = cli.json("submit", "--file", write("workflow", content), "--wait")["tasks"]
    assert [task["state"] for task in tasks] == ["succeeded"] * 3
    assert tasks[0]["result"]["stdout"] == "1\n2\n"
    assert tasks[0]["depends_on"] == [tasks[1]["id"], tasks[2]["id"]]
    assert (
        min(tasks[0]["started_at"], tasks[1]["finished_at"], tasks[2]["finished_at"])
        != tasks[0]["started_at"]
    )


def test_a_file_may_be_standard_input(cli):
    identities = cli.ok("submit", "--file", "-", "-o", "id", stdin='[{"kind": "echo"}, {"kind": "echo"}]')
    assert len(identities.split()) == 2


def test_the_summary_counts_and_names_failures(cli, write):
    tasks = [{"kind": "echo"}] * 3 + [{"kind": "broken", "payload": "no such file", "name": "import"}]
    tasks += [{"ref": "a", "kind": "broken", "payload": "x"}, {"kind": "echo", "depends_on": ["a"]}]
    result = cli("submit", "--file", write("batch.json", tasks), "--wait")
    assert result.exit_code == 1
    first, *rest = result.stdout.splitlines()
    assert first.startswith("6 tasks in ")
    assert first.endswith(": 1 cancelled, 2 failed, 3 succeeded")
    assert any(line.startswith("slowest: ") for line in rest)
    assert any(
        line.startswith("failed import ") and line.endswith("ValueError: no such file") for line in rest
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["echo", "--priority", "11"], "priority: not a priority: 11; accepted: 1 to 10"),
        (["echo", "--delay", "soon"], "delay: not a duration: 'soon'; accepted: seconds"),
        (["echo", "--run-at", "2031-05-01T12:00:00"], "run_at: a time without offset"),
        (["echo", "--payload", "{"], "--payload: not JSON"),
        (["echo", "--payload", '{"a": 1, "a": 2}'], "--payload: a: the key appears twice"),
        (["echo", "--payload", "NaN"], "--payload: NaN is not JSON"),
        (["echo", "--payload", "1e400"], "--payload: number out of range"),
        (["echo", "--payload", '"\\ud800"'], "--payload: a lone surrogate"),
        (["echo", "--payload", '"\udcff"'], "--payload: not UTF-8"),
        (["--command", "\udcff"], "arguments: not UTF-8"),
        (["echo", "--retry", '{"delya": 1}'], "retry.delya: unknown field; did you mean delay?"),
        (["echo", "--label", "plain"], "--label: not a label: 'plain'; accepted: NAME=VALUE"),
        (["echo", "--max-retries", "many"], "Invalid value for '--max-retries'"),
        (["echo", "--no-such-option"], "No such option"),
        ([], "give a KIND, --command or --file"),
        (["echo", "--file", "x"], "give a KIND, --command or --file"),
        (["--file", "absent.json"], "--file: cannot be read"),
        (["echo", "--depends-on", "me"], "depends_on[0]: no such task: 'me'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, arguments, complaint):
    before = cli.json("stats")["total"]
    assert cli.fails(2, "submit", *arguments).startswith(complaint)
    assert cli.json("stats")["total"] == before


def test_one_bad_task_refuses_the_file_and_is_located(cli, write):
    before = cli.json("stats")["total"]
    path = write("batch.ndjson", '{"kind": "echo"}\n\n{"kind": "echo", "priorty": 3}\n')
    complaint = cli.fails(2, "submit", "--file", path)
    assert complaint.startswith(f"{path}, line 3: priorty: unknown field; did you mean priority?")
    cycle = [{"ref": "a", "depends_on": ["b"]}, {"ref": "b", "depends_on": ["a"]}]
    assert "cycle" in cli.fails(2, "submit", "--file", write("cycle.json", cycle))
    assert cli.json("stats")["total"] == before


def test_interrupted_waiting_leaves_the_task_alone(cli, queue):
    cli.ok("queues", "pause", queue)
    command = [sys.executable, "-m", "mainspring", "submit", "echo", "--queue", queue, "--wait"]
    environment = {**os.environ, **cli.environment}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as waiting:
        try:
            (task,) = until(lambda: cli.json("tasks", "list", "--queue", queue)["tasks"])
            waiting.send_signal(signal.SIGINT)
            assert b"mainspring: interrupted" in waiting.communicate()[1]
        finally:
            waiting.kill()
    assert waiting.returncode == 130
    assert cli.json("tasks", "get", task["id"])["state"] == "ready"


def test_a_terminal_sees_progress_and_a_pipe_does_not(cli, write):
    path = write("batch.json", [{"kind": "echo"}] * 5)
    assert "\x1b" not in cli.ok("submit", "--file", path, "--wait")
    command = [sys.executable, "-m", "mainspring", "submit", "--file", path, "--wait"]
    controller, terminal = pty.openpty()
    environment = {**os.environ, **cli.environment, "TERM": "xterm-256color"}
    with subprocess.Popen(command, env=environment, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        try:
            while chunk := os.read(controller, 4096):
                shown += chunk
        except OSError:
            pass  # how a pseudo-terminal says that its other end is gone
    os.close(controller)
    assert process.returncode == 0
    assert "━".encode() in shown
    assert b"5/5" in shown
