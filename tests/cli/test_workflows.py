"""`mainspring workflows`, against a real server."""

import json
from io import StringIO

import msgspec
import pytest
from rich.console import Console

from mainspring.cli import graphs, show
from mainspring.wire.workflow_views import GraphView

CHAIN = {
    "name": "chain",
    "tasks": [
        {"name": "first", "payload": 1},
        {"name": "second", "depends_on": ["first"]},
        {"name": "third", "depends_on": ["second"]},
    ],
}


@pytest.fixture
def put(tmp_path):
    def put(document):
        path = tmp_path / "workflow.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)

    return put


def broken(queue, **document):
    """One that fails until its gate is there."""
    tasks = [
        {"name": "gate", "command": ["test", "-e", "gate"], "max_retries": 0},
        {"name": "then", "depends_on": ["gate"]},
    ]
    return {"tasks": tasks, "labels": {"queue": queue}, **document}


def test_submit_and_wait(cli, put):
    out = cli("workflows", "submit", "--file", put({**CHAIN, "on_complete": {}}), "--wait")
    assert out.exit_code == 0, out.output
    assert "chain" in out.stdout
    assert "critical: first > second > third" in out.stdout
    assert "on_complete succeeded" in out.stdout
    assert "succeeded 100%: 3 succeeded" in out.stderr


def test_submit_from_standard_input(cli):
    made = cli.json("workflows", "submit", "-f", "-", stdin=json.dumps(CHAIN))
    assert (made["name"], sum(made["counts"].values())) == ("chain", 3)
    shown = cli("workflows", "get", made["id"], "--watch", "-o", "json")
    graph = json.loads(shown.stdout)
    assert (shown.exit_code, graph["state"], graph["is_over"]) == (0, "succeeded", True)
    assert [task["name"] for task in graph["tasks"]] == ["first", "second", "third"]
    assert cli.ok("workflows", "get", made["id"], "-o", "id").strip() == made["id"]


def test_an_idempotency_key(cli, put, queue):
    once = ("workflows", "submit", "-f", put(CHAIN), "--idempotency-key", queue, "-o", "id")
    assert cli.ok(*once) == cli.ok(*once)


def test_a_failure_is_retried(cli, put, queue, tmp_path):
    gate = tmp_path / "gate"
    document = broken(queue)
    document["tasks"][0]["command"] = ["test", "-e", str(gate)]
    failed = cli("workflows", "submit", "-f", put(document), "--wait", "-o", "id")
    assert failed.exit_code == 1
    identity = failed.stdout.strip()
    assert (
        cli.ok("workflows", "list", "--state", "failed", "--label", f"queue={queue}", "-o", "id")
        == failed.stdout
    )
    shown = cli.ok("workflows", "get", identity)
    assert "1 failed, 1 cancelled" in shown
    gate.touch()
    assert "2 tasks, 1 wait for others" in cli.ok("workflows", "retry-failed", identity)
    assert cli("workflows", "get", identity, "--watch").exit_code == 0
    assert cli.json("workflows", "retry-failed", identity)["count"] == 0


def test_a_failed_callback_is_told_by_the_exit_code(cli, put):
    document = {"tasks": [{"name": "a"}], "on_success": {"command": "false", "max_retries": 0}}
    out = cli("workflows", "submit", "-f", put(document), "--wait")
    assert out.exit_code == 1
    assert "on_success failed" in out.stdout


def test_cancel(cli, put):
    document = {"tasks": [{"name": "a", "delay": "1h"}], "on_complete": {"delay": "1h"}}
    one, two = (cli.ok("workflows", "submit", "-f", put(document), "-o", "id").strip() for _ in range(2))
    assert "cancelled: 1 task" in cli.ok("workflows", "cancel", one)
    answer = cli.json("workflows", "cancel", two, "--no-callbacks")
    assert (answer["count"], answer["workflow"]["is_over"]) == (2, True)
    assert cli.fails(4, "workflows", "cancel", "nope").startswith("no workflow 'nope'")
    assert cli("workflows", "get", two, "--watch").exit_code == 1


def test_list(cli, put, queue):
    path = put({**CHAIN, "name": queue, "labels": {"queue": queue}})
    made = [cli.ok("workflows", "submit", "-f", path, "-o", "id") for _ in range(3)]
    assert cli.ok("workflows", "list", "--name", queue, "-o", "id") == "".join(reversed(made))
    newest = cli("workflows", "list", "--label", f"queue={queue}", "--limit", "2")
    assert newest.stderr == "the newest 2; --limit shows more\n"
    header, *rows = newest.stdout.splitlines()
    assert header.split() == ["ID", "STATE", "DONE", "TASKS", "FAILED", "AGE", "NAME"]
    assert [row.split()[0] for row in rows] == [one.strip() for one in made[:0:-1]]
    listed = cli.json("workflows", "list", "--name", queue)
    assert len(listed["workflows"]) == 3


def test_the_tasks_of_a_workflow(cli, put):
    made = cli.json("workflows", "submit", "-f", put(CHAIN))
    found = cli.json("tasks", "list", "--workflow", made["id"])
    assert {task["name"] for task in found["tasks"]} == {"first", "second", "third"}


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("", "is empty"),
        ("[1]", "not a workflow"),
        ('{"tasks": [}', "not JSON"),
        ({"tasks": [{"name": "a"}, {"name": "a"}]}, "tasks[1].name: used twice: 'a'"),
        ({"tasks": [{"name": "a", "depends_on": ["b"]}]}, "tasks[0].depends_on[0]: no task of this workflow"),
        ({"task": []}, "task: unknown field; did you mean tasks?"),
    ],
)
def test_bad_documents(cli, put, document, complaint):
    path = put(document)
    told = cli.fails(2, "workflows", "submit", "-f", path)
    assert told.startswith(f"{path}: ")
    assert complaint in told


def test_bad_requests(cli):
    assert "state: not a state of workflows" in cli.fails(2, "workflows", "list", "--state", "paused")
    assert "cannot be read" in cli.fails(2, "workflows", "submit", "-f", "/nowhere/at/all.json")
    cli.fails(4, "workflows", "get", "01923456-89ab-7def-8123-456789abcdef", "--watch")
    assert cli("workflows", "submit").exit_code == 2


# --- pictures ------------------------------------------------------------------------------------------


def picture(tasks, **fields):
    document = {
        "id": "w", "name": "big", "state": "running", "is_over": False, "progress": 0.5,
        "created_at": "2031-01-01T00:00:00Z", "labels": {}, "counts": {"running": 1, "succeeded": 1},
        "callbacks": {"on_complete": {"id": "c", "state": None}}, "started_at": "2031-01-01T00:00:00Z",
        "finished_at": None, "tasks": tasks,
        "critical_path": {"tasks": [task["name"] for task in tasks], "duration": 9, "left": 3},
        **fields,
    }  # fmt: skip
    return msgspec.json.decode(json.dumps(document), type=GraphView)


def member(n, state="succeeded", **fields):
    ended = state in ("succeeded", "failed")
    return {
        "id": f"id-{n}", "name": f"t{n}", "kind": "echo", "state": state, "attempt": 1, "worker": None,
        "depends_on": [f"t{n - 1}"] if n else [], "level": n, "started_at": None,
        "finished_at": "2031-01-01T00:00:00Z" if ended else None, "duration": 1, "is_estimated": not ended,
        "slack": 0, "is_critical": True, **fields,
    }  # fmt: skip


def test_a_large_workflow_is_shown_by_its_levels_and_failures(capsys):
    tasks = [member(n, "failed" if n == 90 else "succeeded") for n in range(100)]
    graphs.tables(picture(tasks))
    out = capsys.readouterr().out
    assert "critical: t0 > t1 > t2 > t3 > (92 more) > t96 > t97 > t98 > t99" in out
    assert "\n+76 " in out
    assert "id-90" in out
    assert "id-91" not in out
    assert "100 tasks; -o json shows all" in out


def test_a_live_picture(monkeypatch):
    """On a terminal the picture is drawn anew; what runs is named."""
    screen = StringIO()
    terminal = Console(file=screen, force_terminal=True, color_system=None, width=120, _environ={})
    monkeypatch.setattr(show, "console", lambda **_: terminal)
    with graphs.Watch() as watch:
        watch.draw(picture([member(0), member(1, "running"), member(2, "blocked")]))
    drawn = screen.getvalue()
    assert "1 running" in drawn
    assert "(t1)" in drawn
    assert "on_complete forgotten" in drawn
    assert "50%" in drawn
