"""`mainspring tasks` and `mainspring dead`: reading, changing and waiting, by id or by filter."""

import json

import httpx
import pytest

from tests.e2e.processes import until

ABSENT = "01890a5d-ac96-774b-bcce-b302099a8057"


def later(cli, queue: str, *arguments: str) -> str:
    """A task that waits for its time; its id."""
    return cli.ok("submit", "echo", "--queue", queue, "--delay", "1h", *arguments, "-o", "id").strip()


def dead_letter(cli, queue: str, reason: str = "no such customer") -> str:
    result = cli("submit", "broken", "--queue", queue, "--payload", json.dumps(reason), "--wait", "-o", "id")
    assert result.exit_code == 1
    return result.stdout.strip()


def state(cli, task: str) -> str:
    return cli.json("tasks", "get", task)["state"]


# --- reading ----------------------------------------------------------------------------------------


def test_list_is_newest_first_and_filtered(cli, queue):
    first, second = later(cli, queue), later(cli, queue, "--label", "team=red", "--tenant", "acme")
    assert cli.ok("tasks", "list", "--queue", queue, "-o", "id").split() == [second, first]
    for only in (["--label", "team=red"], ["--tenant", "acme"], ["--limit", "1"]):
        assert cli.ok("tasks", "list", "--queue", queue, *only, "-o", "id", stdin=None).split() == [second]
    for spelling in ("scheduled", "PENDING", "ready,scheduled"):
        assert len(cli.json("tasks", "list", "--queue", queue, "--state", spelling)["tasks"]) == 2
    assert cli.json("tasks", "list", "--queue", queue, "--kind", "other")["tasks"] == []


def test_programs_are_shown_what_the_server_wrote(cli, queue):
    """Protocol check G-80, for the doors that there are: byte for byte, odd numbers and all."""
    odd = '[1.10, 1E+2, 12345678901234567890123, "\\u00e9\\u2028"]'
    task = later(cli, queue, "--payload", odd)
    shown = cli.ok("tasks", "get", task, "-o", "json")
    written = httpx.get(f"{cli.url}/api/v1/tasks/{task}").text
    assert shown == f"{written}\n"
    assert odd in written


def test_list_goes_through_all_pages(cli, queue, write):
    cli.ok("submit", "--file", write("many.json", [{"queue": queue, "delay": 3600}] * 2_345))
    listed = cli.ok("tasks", "list", "--queue", queue, "--limit", "5000", "-o", "id").split()
    assert (len(listed), len(set(listed))) == (2_345, 2_345)


def test_the_table_shows_what_it_is_about(cli, queue):
    dead_letter(cli, queue, "\x1b[31mred\nlines [bold]markup[/]")
    later(cli, queue, "--name", "nightly import")
    heading, waiting, failed = cli.ok("tasks", "list", "--queue", queue).splitlines()
    assert heading.split()[:4] == ["ID", "KIND", "STATE", "QUEUE"]
    assert "scheduled" in waiting
    assert waiting.endswith("nightly import")
    assert failed.endswith("ValueError: ?[31mred lines [bold]markup[/]")
    result = cli("tasks", "list", "--limit", "1")
    assert "--limit shows more" in result.stderr


def test_get_shows_every_attempt(cli, queue):
    task = cli.json(
        "submit", "broken", "--queue", queue, "--payload", '"odd [red]markup[/]"', "--max-retries", "1",
        "--retry", '{"strategy": "fixed", "delay": 0}',
    )  # fmt: skip
    assert cli("tasks", "wait", task["id"]).exit_code == 1
    shown = cli.ok("tasks", "get", task["id"])
    for number in (1, 2):
        assert any(
            line.startswith(f"run {number}") and line.endswith("ValueError: odd [red]markup[/]")
            for line in shown.splitlines()
        )
    assert "Traceback" in shown


@pytest.mark.parametrize(
    "arguments",
    [("tasks", "get"), ("tasks", "cancel"), ("tasks", "retry"), ("tasks", "delete"), ("tasks", "run"),
     ("tasks", "wait"), ("dead", "show"), ("dead", "replay"), ("dead", "purge")],
)  # fmt: skip
def test_what_does_not_exist_is_exit_code_4(cli, arguments):
    assert cli.fails(4, *arguments, ABSENT).startswith(f"no task {ABSENT}")
    cli.fails(4, *arguments, "../../../etc")


# --- changing ---------------------------------------------------------------------------------------


def test_cancel_retry_run_delete(cli, queue):
    task = later(cli, queue)
    assert cli.json("tasks", "cancel", task)["state"] == "cancelled"
    assert "cancelled" in cli.fails(1, "tasks", "run", task)
    assert cli.json("tasks", "retry", task)["id"] == task
    cli.ok("tasks", "wait", task)
    assert cli.ok("tasks", "delete", task) == ""
    cli.fails(4, "tasks", "get", task)


def test_run_now(cli, queue):
    task = later(cli, queue)
    cli.ok("tasks", "run", task)
    assert cli.ok("tasks", "wait", task).split() == [task, "succeeded"]


def test_several_at_once_and_one_that_is_refused(cli, queue):
    tasks = [later(cli, queue) for _ in range(3)]
    result = cli("tasks", "cancel", tasks[0], ABSENT, tasks[1], "-o", "id")
    assert (result.exit_code, result.stdout.split()) == (4, tasks[:2])
    assert [state(cli, task) for task in tasks] == ["cancelled", "cancelled", "scheduled"]


def test_cancel_by_filter_needs_a_filter(cli, queue):
    task = later(cli, queue)
    assert "ids, or a filter, or --all" in cli.fails(2, "tasks", "cancel")
    assert "ids, or a filter, or --all" in cli.fails(2, "tasks", "cancel", task, "--queue", queue)
    assert cli.ok("tasks", "cancel", "--queue", queue) == "1 task\n"
    assert state(cli, task) == "cancelled"


def test_kill_cancels_a_running_task_at_once(cli, queue):
    task = cli.json("submit", "--command", "sleep 60", "--queue", queue)["id"]
    until(lambda: state(cli, task) == "running")
    assert cli.json("tasks", "cancel", task, "--kill")["state"] == "cancelled"


def test_edit_changes_what_is_named(cli, queue):
    task = cli.json("tasks", "get", later(cli, queue, "--priority", "3"))
    edited = cli.json("tasks", "edit", task["id"], "--priority", "high", "--payload", '{"n": 1}')
    assert (edited["priority"], edited["payload"], edited["queue"]) == (8, {"n": 1}, queue)
    stale = ("tasks", "edit", task["id"], "--priority", "1", "--if-version", str(task["version"]))
    assert "version" in cli.fails(1, *stale)
    assert "changes nothing" in cli.fails(2, "tasks", "edit", task["id"])
    assert "not a priority" in cli.fails(2, "tasks", "edit", task["id"], "--priority", "99")


# --- waiting ----------------------------------------------------------------------------------------


def test_wait_prints_each_end_as_a_line(cli, queue):
    tasks = [cli.json("submit", "echo", "--queue", queue)["id"], dead_letter(cli, queue)]
    result = cli("tasks", "wait", *tasks, "-o", "json")
    ended = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert {task["id"]: task["state"] for task in ended} == dict(
        zip(tasks, ("succeeded", "failed"), strict=True)
    )


def test_wait_gives_up(cli, queue):
    task = later(cli, queue)
    assert "not all have ended after 10ms" in cli.fails(1, "tasks", "wait", task, "--timeout", "10ms")
    assert "--timeout: not a duration" in cli.fails(2, "tasks", "wait", task, "--timeout", "soon")


# --- dead letters -----------------------------------------------------------------------------------


def test_dead_letters_are_listed_shown_replayed_and_purged(cli, queue):
    """S1-10: dead letters are inspected and replayed by hand, one or by filter."""
    one, other = dead_letter(cli, queue), dead_letter(cli, queue)
    assert cli.ok("dead", "list", "--queue", queue, "-o", "id").split() == [other, one]
    assert "ValueError: no such customer" in cli.ok("dead", "list", "--queue", queue)
    assert "ValueError: no such customer" in cli.ok("dead", "show", one)
    assert cli.json("dead", "replay", one)["state"] in ("ready", "running", "failed")
    assert cli("tasks", "wait", one).exit_code == 1
    assert len(cli.json("dead", "show", one)["attempts"]) == 2
    assert cli.json("dead", "replay", "--queue", queue) == {"count": 2}
    assert cli("tasks", "wait", one, other).exit_code == 1
    assert cli.ok("dead", "purge", one) == ""
    assert cli.json("dead", "purge", "--queue", queue) == {"count": 1}
    assert cli.json("dead", "list", "--queue", queue)["tasks"] == []


def test_what_is_not_dead_is_no_dead_letter(cli, queue):
    task = later(cli, queue)
    assert "no dead letter" in cli.fails(4, "dead", "show", task)
    assert "ids, or a filter, or --all" in cli.fails(2, "dead", "purge")
