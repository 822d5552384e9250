"""`mainspring tasks explain`: one line a reason."""

UNKNOWN = "0190aaaa-0000-7000-8000-000000000000"


def test_a_kind_that_nobody_knows(cli, queue):
    """Peer behaviour 3: never in silence."""
    task = cli.ok("submit", "ecko", "--queue", queue, "-o", "id").strip()
    shown = cli.ok("tasks", "explain", task)
    assert f"{task} is ready, because:" in shown
    assert "no_handler" in shown
    assert "the nearest kind there is: echo" in shown
    told = cli.json("tasks", "explain", task)
    assert (told["claimable"], told["reasons"][0]["facts"]["kind"]) == (False, "ecko")
    cli.ok("tasks", "delete", task, "-o", "id")


def test_a_task_that_is_due_later(cli, queue):
    task = cli.ok("submit", "echo", "--queue", queue, "--delay", "1h", "-o", "id").strip()
    shown = cli.ok("tasks", "explain", task)
    assert "it is scheduled: due in 59 m" in shown
    cli.ok("tasks", "delete", task, "-o", "id")


def test_no_such_task(cli):
    assert "no task" in cli.fails(4, "tasks", "explain", UNKNOWN)
    cli.fails(2, "tasks", "explain")
    cli.fails(2, "tasks", "explain", UNKNOWN, "-o", "xml")
