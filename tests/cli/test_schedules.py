"""`mainspring schedules`: made, listed, changed and forgotten, in the way of the other nouns."""

import json

import pytest

from tests.e2e.processes import until


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A schedule's id that only this test uses."""
    return "".join(letter if letter.isalnum() else "-" for letter in str(request.node.name))


def create(cli, name, *arguments):
    given = arguments or ("--cron", "0 3 1 1 *", "--", "echo")
    return json.loads(cli.ok("schedules", "create", name, "-o", "json", *given))


# --- making -----------------------------------------------------------------------------------------


def test_a_nightly_command(cli, name):
    made = create(
        cli, name, "--cron", "0 3 * * *", "--zone", "Europe/Berlin", "--overlap", "skip", "--dst", "both",
        "--misfire", "fire_all(10)", "--misfire-grace", "2m", "--jitter", "90s", "--start",
        "2031-01-01T00:00:00Z", "--end", "2032-01-01T00:00:00Z", "--paused", "--queue", "slow", "--priority",
        "high", "--timeout", "1h", "--label", "team=ops", "--max-retries", "1", "--retry", '{"delay": "10s"}',
        "--", "command", "backup.sh --all",
    )  # fmt: skip
    wanted = {
        "id": name, "cron": "0 3 * * *", "zone": "Europe/Berlin", "overlap": "skip", "dst": "both",
        "misfire": "fire_all(10)", "misfire_grace": 120, "jitter": 90, "paused": True,
        "start": "2031-01-01T00:00:00Z", "end": "2032-01-01T00:00:00Z",
    }  # fmt: skip
    assert {field: made[field] for field in wanted} == wanted
    task = made["task"]
    assert (task["kind"], task["payload"]) == ("command", {"command": "backup.sh --all"})
    assert (task["queue"], task["priority"], task["timeout"], task["max_retries"]) == ("slow", 8, 3600, 1)
    assert (task["labels"], task["retry"]["delay"]) == ({"team": "ops"}, 10)


@pytest.mark.parametrize(
    ("words", "kind", "payload"),
    [
        (("command", "ls -l | wc"), "command", {"command": "ls -l | wc"}),
        (("command", "rsync", "-a", "/x", "/y"), "command", {"command": ["rsync", "-a", "/x", "/y"]}),
        (("fetch", '{"feed": 7}'), "fetch", {"feed": 7}),
        (("fetch",), "fetch", None),
    ],
)
def test_a_task_in_words(cli, name, words, kind, payload):
    task = create(cli, name, "--every", "15m", "--", *words)["task"]
    assert (task["kind"], task["payload"]) == (kind, payload)


def test_a_task_by_options(cli, name):
    assert create(cli, name, "--every", "90s", "--command", "ls")["task"]["payload"] == {"command": "ls"}
    update = ("schedules", "update", name, "--payload", '{"big": 9007199254740993}')
    assert '{"big": 9007199254740993}' in cli.ok(*update, "-o", "json")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--cron", "0 3 * *", "--", "echo"), "cron: "),
        (("--cron", "0 0 31 2 *", "--", "echo"), "cron: "),
        (("--cron", "@daily"), "task: missing"),
        (("--", "echo"), "cron: no cron, every or at is given"),
        (("--every", "soon", "--", "echo"), "every: not a duration"),
        (("--cron", "@daily", "--zone", "Mars", "--", "echo"), "zone: no such time zone"),
        (("--cron", "@daily", "--payload", "{", "--command", "ls"), "--payload: "),
        (("--cron", "@daily", "--label", "x", "--", "echo"), "--label: not a label"),
        (("--cron", "@daily", "--command", "ls", "--", "echo"), "give --command or words"),
        (("--cron", "@daily", "--", "echo", "1", "2"), "a task of kind echo has one input"),
        (("--cron", "@daily", "--", "echo", "{"), "INPUT: "),
        (("--cron", "@daily", "--delay", "5s", "--", "echo"), "No such option"),
    ],
)
def test_bad_input_is_one_clear_line(cli, name, arguments, complaint):
    assert cli.fails(2, "schedules", "create", name, *arguments).startswith(complaint)
    cli.fails(4, "schedules", "get", name)


def test_an_id_is_made_once(cli, name):
    create(cli, name)
    assert name in cli.fails(1, "schedules", "create", name, "--every", "5m", "--", "echo")


def test_a_file_of_schedules(cli, name, write):
    """What `list -o json` prints can be made again elsewhere."""
    documents = [
        {"id": f"{name}-{place}", "every": "1h", "task": {"kind": "echo", "payload": place}}
        for place in (1, 2)
    ]
    made = cli.json("schedules", "create", "--file", write("two.json", documents))
    assert [schedule["task"]["payload"] for schedule in made] == [1, 2]
    listed = [one for one in cli.json("schedules", "list")["schedules"] if one["id"].startswith(name)]
    cli.ok("schedules", "delete", *(one["id"] for one in listed))
    again = write("again.json", {"schedules": listed, "next_page_token": None})
    assert [one["id"] for one in cli.json("schedules", "create", "--file", again)] == [
        one["id"] for one in made
    ]
    one = cli.json("schedules", "get", f"{name}-1")
    one["jitter"] = "5m"
    assert cli.json("schedules", "update", f"{name}-1", "-f", write("one.json", one))["jitter"] == 300


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        ("{", "not JSON"),
        ("[1]", "not a file of schedules"),
        ("7", "not a file of schedules"),
        ('{"cron": "@daily", "cron": "@daily"}', "twice"),
        ([{"cron": "@daily", "task": {}}, {"cron": "nope", "task": {}}], "schedule 2: cron: "),
        ({"crn": "@daily", "task": {}}, "crn: unknown field; did you mean cron?"),
    ],
)
def test_a_bad_file_is_named(cli, write, content, complaint):
    path = write("bad.json", content)
    told = cli.fails(2, "schedules", "create", "--file", path)
    assert told.startswith(path)
    assert complaint in told
    for schedule in cli.json("schedules", "list")["schedules"]:
        if schedule["cron"] == "@daily" and schedule["task"]["kind"] == "echo":
            cli("schedules", "delete", schedule["id"])


def test_file_and_options_exclude_each_other(cli, name, write):
    path = write("one.json", {"id": name, "every": 5, "task": {}})
    for arguments in (("create", name, "-f", path), ("create", "-f", path, "--every", "5m"), ("create",)):
        assert "--file alone" in cli.fails(2, "schedules", *arguments)
    for arguments in (("update", name, "-f", path, "--every", "5m"), ("update", name)):
        assert "--file alone" in cli.fails(2, "schedules", *arguments)


# --- reading ----------------------------------------------------------------------------------------


def test_the_table_shows_when_and_what(cli, name):
    create(cli, name, "--cron", "0 3 * * *", "--zone", "Asia/Tokyo", "--", "command", "backup [bold]x[/]")
    heading, *rows = cli.ok("schedules", "list").splitlines()
    assert heading.split() == ["ID", "WHEN", "ZONE", "STATE", "NEXT", "LAST", "WHAT"]
    (row,) = [row for row in rows if row.startswith(f"{name} ")]
    assert "0 3 * * *" in row
    assert "active" in row
    assert "03:00:00+09:00" in row
    assert row.endswith("command backup [bold]x[/]")
    shown = cli.ok("schedules", "get", name)
    assert any(line.split() == ["overlap", "allow"] for line in shown.splitlines())
    assert any(line.split()[:2] == ["task.kind", "command"] for line in shown.splitlines())
    assert cli.ok("schedules", "get", name, "-o", "id").strip() == name


def test_list_goes_on_until_its_limit(cli, name):
    for place in range(3):
        create(cli, f"{name}-{place}")
    assert len(cli.ok("schedules", "list", "-o", "id").split()) >= 3
    result = cli("schedules", "list", "--limit", "2")
    assert len(result.stdout.splitlines()) == 3
    assert "--limit shows more" in result.stderr


def test_next(cli, name):
    create(cli, name, "--every", "1h", "--", "echo")
    to_come = cli.json("schedules", "next", name, "--count", "3")["next"]
    assert len(to_come) == 3
    heading, *rows = cli.ok("schedules", "next", name).splitlines()
    assert heading.startswith("FIRE")
    assert len(rows) == 5
    assert rows[0].startswith(to_come[0]["fire_at"][:10])


# --- changing ---------------------------------------------------------------------------------------


def test_update_changes_what_it_names(cli, name):
    made = create(cli, name, "--cron", "0 3 * * *", "--overlap", "skip", "--", "command", "ls")
    after = cli.json(
        "schedules", "update", name, "--every", "15m", "--queue", "slow", "--if-version", str(made["version"])
    )
    assert (after["every"], after["cron"], after["overlap"], after["task"]["queue"]) == (
        900,
        None,
        "skip",
        "slow",
    )
    assert after["task"]["payload"] == {"command": "ls"}
    stale = cli.fails(1, "schedules", "update", name, "--every", "5m", "--if-version", str(made["version"]))
    assert "version" in stale
    cli.fails(4, "schedules", "update", f"{name}-absent", "--every", "5m")


def test_pause_resume_and_skips(cli, name):
    created = create(cli, name)
    paused = cli.json("schedules", "pause", name)
    assert (paused["paused"], paused["next_fire_at"]) == (True, None)
    assert "paused" in cli.ok("schedules", "list")
    assert cli.json("schedules", "resume", name)["next_fire_at"] == created["next_fire_at"]
    skipping = cli.json("schedules", "skip-next", name)
    assert skipping["skip_until"] == created["next_fire_at"]
    assert "active, skips" in cli.ok("schedules", "get", name)
    assert cli.json("schedules", "next", name)["next"][0]["fire_at"] > created["next_fire_at"]
    assert cli.json("schedules", "skip-until", "2001-01-01T00:00:00Z", name)["skip_until"] is None


def test_several_at_once(cli, name):
    """What is refused does not keep the others from it; the exit code is the first refusal's."""
    for place in (1, 2):
        create(cli, f"{name}-{place}")
    result = cli("schedules", "pause", f"{name}-1", "absent", f"{name}-2", "-o", "json")
    assert result.exit_code == 4
    assert [one["paused"] for one in json.loads(result.stdout)] == [True, True]
    (line,) = result.stderr.splitlines()
    assert "absent" in line
    assert cli("schedules", "delete", f"{name}-1", "absent", f"{name}-2").exit_code == 4
    cli.fails(4, "schedules", "get", f"{name}-2")


def test_the_clock_makes_tasks(cli, name):
    """S1-11, S1-58: the leader makes a task of each fire, and moves the schedule on."""

    def fired():
        """What a busy machine has missed has no task."""
        return [fire for fire in cli.json("schedules", "fires", name)["fires"] if fire["task"]]

    create(cli, name, "--every", "1s", "--", "command", "echo tick")
    until(lambda: len(fired()) >= 2)
    cli.ok("schedules", "pause", name)
    fires = fired()
    assert [fire["fire_at"] for fire in fires] == sorted({fire["fire_at"] for fire in fires}, reverse=True)
    cli.ok("tasks", "wait", *(fire["task"] for fire in fires))
    assert cli.json("tasks", "get", fires[0]["task"])["result"]["stdout"] == "tick\n"


def test_trigger_and_fires(cli, name):
    create(cli, name, "--at", "2001-01-01T00:00:00Z", "--misfire", "skip", "--", "echo", "7")
    cli.ok("schedules", "update", name, "--queue", name)
    task = cli.json("schedules", "trigger", name, "--idempotency-key", "release-7")
    assert cli.json("schedules", "trigger", name, "--idempotency-key", "release-7")["id"] == task["id"]
    cli.ok("tasks", "wait", task["id"])
    assert cli.json("tasks", "get", task["id"])["result"] == 7
    by_hand, skip = cli.json("schedules", "fires", name)["fires"]
    assert (by_hand["reason"], by_hand["task"]) == (None, task["id"])
    assert (skip["reason"], skip["count"], skip["task"]) == ("missed", 1, None)
    assert len(cli.json("schedules", "fires", name, "--limit", "1")["fires"]) == 1
    heading, first, row = cli.ok("schedules", "fires", name).splitlines()
    assert task["id"] in first
    assert heading.split() == ["FIRE", "TO", "COUNT", "TASK", "DECIDED"]
    assert "skipped: missed" in row
    assert row.startswith("2001-01-01 00:00:00+00:00")


@pytest.mark.parametrize(
    "command", ["get", "pause", "resume", "trigger", "delete", "skip-next", "next", "fires"]
)
def test_what_does_not_exist_is_exit_code_4(cli, command):
    assert "absent" in cli.fails(4, "schedules", command, "absent")
    cli.fails(4, "schedules", command, "../../etc")
