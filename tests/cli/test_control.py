"""`mainspring queues`, `workers` and `stats`."""

import json

import pytest


def test_a_paused_queue_starts_nothing(cli, queue):
    assert cli.json("queues", "pause", queue, "--by", "ops")["paused_by"] == "ops"
    assert "by ops" in cli.ok("queues", "list")
    task = cli.json("submit", "echo", "--queue", queue)["id"]
    cli.fails(1, "tasks", "wait", task, "--timeout", "200ms")
    assert cli.json("queues", "resume", queue)["paused"] is False
    cli.ok("tasks", "wait", task)


def test_limits(cli, queue):
    limit = cli.json("queues", "limit", queue, "--max-running", "2", "--rate", "5", "--per", "1m")
    assert (limit["name"], limit["max_running"], limit["rate"], limit["per"]) == (f"queue:{queue}", 2, 5, 60)
    assert "0 of 2 running, 5 per 60s" in cli.ok("queues", "list")
    assert cli.ok("queues", "limit", queue, "--remove") == f"queue:{queue}: no limit\n"
    assert cli.ok("queues", "limit", "key:*", "--max-running", "1") == "key:*: 0 of 1 running\n"
    assert "key:*  0 of 1 running" in cli.ok("queues", "limits")
    cli.ok("queues", "limit", "key:*", "--remove")
    assert cli.json("queues", "limits") == {"limits": []}


def test_a_full_queue_refuses(cli, queue):
    cli.ok("queues", "pause", queue)
    cli.ok("queues", "limit", queue, "--max-waiting", "1")
    cli.ok("submit", "echo", "--queue", queue)
    assert queue in cli.fails(1, "submit", "echo", "--queue", queue)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give --remove, or at least one of"),
        (["--remove", "--rate", "1"], "give --remove, or at least one of"),
        (["--rate", "0"], "rate: out of range: 0"),
        (["--rate", "1", "--per", "0s"], "per: is zero"),
    ],
)
def test_bad_limits(cli, arguments, complaint):
    assert cli.fails(2, "queues", "limit", "bad", *arguments).startswith(complaint)


def test_workers(cli):
    (worker,) = cli.json("workers")["workers"]
    kinds = {"echo", "sleep", "command", "double", "broken", "talk", "advance"}
    assert kinds == set(worker["kinds"])
    heading, row = cli.ok("workers").splitlines()
    assert heading.startswith("WORKER")
    assert row.startswith(worker["worker"])


def test_stats(cli, queue):
    cli.ok("submit", "echo", "--queue", queue, "--wait")
    stats = cli.json("stats")
    assert stats["queues"][queue] == {"succeeded": 1}
    rows = {line.split()[0]: line.split()[1:] for line in cli.ok("stats").splitlines()}
    assert rows[queue] == ["0", "0", "0", "0", "1", "0", "0", "1"]
    assert int(rows["all"][-1]) >= stats["total"]


def test_json_is_one_document(cli):
    for command in (["queues", "list"], ["workers"], ["stats"], ["tasks", "list"], ["dead", "list"]):
        assert isinstance(json.loads(cli.ok(*command, "-o", "json")), dict)
