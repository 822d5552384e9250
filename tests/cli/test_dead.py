"""`mainspring dead` by group: what killed them, replayed at a rate."""

import json

import pytest

from tests.e2e.processes import until


def die(cli, queue: str, reason: str) -> str:
    """A dead letter; its id. All of them fail at the same place."""
    result = cli("submit", "broken", "--queue", queue, "--payload", json.dumps(reason), "--wait", "-o", "id")
    assert result.exit_code == 1
    return result.stdout.strip()


def group(cli, queue: str) -> dict:
    """The group that the queue's newest letter is in."""
    (newest,) = cli.json("dead", "list", "--queue", queue, "--limit", "1")["tasks"]
    return next(found for found in groups(cli) if found["sample"] == newest["id"])


def groups(cli) -> list[dict]:
    return cli.json("dead", "groups", "--limit", "1000")["groups"]


def test_groups_are_listed(cli, queue):
    letters = [die(cli, queue, f"no customer {number}") for number in range(2)]
    found = group(cli, queue)
    assert (found["kind"], found["error_type"]) == ("broken", "ValueError")
    assert found["place"].startswith("jobs.py:broken:")
    assert found["message"] == "no customer 1"
    heading, *lines = cli.ok("dead", "groups", "--limit", "1000").splitlines()
    assert heading.split() == ["GROUP", "COUNT", "KIND", "ERROR", "PLACE", "LAST", "SAYS"]
    assert any(line.split()[:3] == [found["fingerprint"], str(found["count"]), "broken"] for line in lines)
    assert found["fingerprint"] in cli.ok("dead", "groups", "-o", "id", "--limit", "1000").split()
    chosen = ["--group", found["fingerprint"], "--queue", queue]
    assert cli.ok("dead", "list", *chosen, "-o", "id").split() == letters[::-1]
    assert cli.ok("dead", "purge", *chosen) == "2 tasks\n"


def test_a_group_is_replayed_at_a_rate(cli, queue):
    """Nobody waits for the tasks that are not due yet."""
    older, newer = die(cli, queue, "one"), die(cli, queue, "two")
    chosen = ["--group", group(cli, queue)["fingerprint"], "--queue", queue]
    assert cli.ok("dead", "replay", *chosen, "--rate", "1/h") == "2 tasks\n"
    assert cli.json("tasks", "get", older)["state"] == "scheduled"
    until(lambda: cli.json("tasks", "get", newer)["state"] == "failed")
    assert len(cli.json("tasks", "get", newer)["attempts"]) == 2
    cli.ok("tasks", "delete", older, newer)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["replay", "--group", "nonsense"], "fingerprint: not a group"),
        (["replay", "--all", "--rate", "fast"], "rate: not a rate"),
        (["replay", "--rate", "10/s"], "give ids, or a filter, or --all"),
        (["replay", "0190aaaa-0000-7000-8000-000000000000", "--rate", "10/s"], "--rate takes a group"),
        (["purge", "--all", "--rate", "10/s"], "No such option"),
        (["list", "--group", "x"], "fingerprint: not a group"),
        (["groups", "--limit", "0"], "--limit"),
    ],
)
def test_bad_input(cli, arguments, complaint):
    assert complaint in cli.fails(2, "dead", *arguments)
