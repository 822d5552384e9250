"""`mainspring schedules simulate`: a span of time from a file, a server or a database, with expectations."""

import json
import sqlite3

import pytest
from click.testing import CliRunner

from mainspring.cli.root import root

SPAN = ("--from", "2031-03-01T00:00:00Z", "--to", "2031-03-02T00:00:00Z")
TWO = [
    {"id": "busy", "every": "1m", "overlap": "skip", "task": {"command": "sync"}},
    {"id": "noon", "cron": "0 12 * * *", "task": {"kind": "report"}},
]


def simulate(*arguments, stdin=None):
    """Without any server."""
    environment = {"MAINSPRING_API_URL": "http://127.0.0.1:9"}
    return CliRunner().invoke(root, ("schedules", "simulate", *arguments), input=stdin, env=environment)


@pytest.fixture
def two(write):
    return write("two.json", TWO)


def test_a_day_of_a_file(two):
    result = simulate(*SPAN, "--file", two, "--duration", "150s", "--duration", "report=2h")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["SCHEDULE", "FIRES", "SKIPS", "REASONS", "RUNNING", "WAIT", "FAILED", "UNFINISHED"]
    assert lines[1] == ["busy", "480", "960", "960", "overlap", "1"]
    assert lines[2] == ["noon", "1", "0", "1"]
    totals = {line[0]: line[1:] for line in lines[3:] if line}
    assert totals["fires"] == ["481"]
    assert totals["skips"] == ["960", "(960", "overlap)"]
    assert totals["max_running"] == ["2", "at", "2031-03-01T12:00:00+00:00"]
    assert (totals["collisions"], totals["max_collision"]) == (["1"], ["2"])
    assert totals["at"] == ["2031-03-01T12:00:00+00:00", "2:", "busy,", "noon"]


def test_json_and_events(two):
    arguments = (*SPAN, "--file", two, "--duration", "busy=90s", "-o", "json")
    report = json.loads(simulate(*arguments, "--events").stdout)
    assert (report["from"], report["to"]) == ("2031-03-01T00:00:00Z", "2031-03-02T00:00:00Z")
    assert report["fires"] == sum(schedule["fires"] for schedule in report["schedules"]) == 721
    fires = [event for event in report["events"] if "reason" not in event]
    assert len(fires) == 721
    assert report["events"][1] == {
        "schedule": "busy", "fire_at": "2031-03-01T00:01:00Z", "reason": "overlap",
        "until": "2031-03-01T00:01:00Z",
    }  # fmt: skip
    assert json.loads(simulate(*arguments).stdout)["events"] is None
    shown = simulate(*SPAN, "--file", two, "--duration", "busy=90s", "--events").stdout.splitlines()
    assert shown[2].split() == ["2031-03-01T00:01:00+00:00", "busy", "skipped:", "overlap"]


def test_the_same_question_has_the_same_answer(two):
    arguments = (*SPAN, "--file", two, "--slots", "1", "--duration", "59s", "-o", "json", "--events")
    assert simulate(*arguments).stdout == simulate(*arguments).stdout


def test_expectations_decide_the_exit_code(two):
    """For continuous integration: exit code 1, and a line for each that does not hold."""
    held = simulate(*SPAN, "--file", two, "--assert", "max_running<3", "--assert", "skips == 0")
    assert (held.exit_code, held.stderr) == (0, "")
    failed = simulate(
        *SPAN, "--file", two, "--assert", "max_running<2", "--assert", "fires>0", "--assert", "noon.fires>=2"
    )
    assert failed.exit_code == 1
    assert failed.stderr.splitlines() == [
        "mainspring: assertion failed: max_running<2: max_running is 2",
        "mainspring: assertion failed: noon.fires>=2: noon.fires is 1",
    ]
    assert failed.stdout.startswith("SCHEDULE")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--assert", "max_running"), "assert: not a comparison"),
        (("--assert", "max_runing<5"), "assert: no such number"),
        (("--assert", "nightly.fires<5"), "assert: no such number"),
        (("--assert", "fires<many"), "assert: not a number"),
        (("--duration", "soon"), "--duration: not a duration"),
        (("--duration", "busy="), "--duration: not a duration"),
        (("--slots", "0"), "Invalid value for '--slots'"),
        (("--to", "2031-03-01T00:00:00Z"), "to: does not lie after from"),
        (("--to", "2131-03-01T00:00:00Z"), "to: there are"),
        (("--to", "tomorrow"), "--to: not a time"),
        (("--from", "2031-03-01"), "--from: a time without offset"),
        (("--db", "absent.db"), "Invalid value for '--db'"),
    ],
)
def test_bad_input_is_one_clear_line(two, arguments, complaint):
    result = simulate(*SPAN, "--file", two, *arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"mainspring: {complaint}")
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([{"every": "1m", "task": {}}, {"cron": "61 * * * *", "task": {}}], "schedule 2: cron: "),
        ([{"id": "a", "every": 5, "task": {}}] * 2, "schedule 2: id: used twice: a"),
        ({"every": "1m"}, "task: missing"),
    ],
)
def test_a_bad_file_is_named(write, content, complaint):
    path = write("bad.json", content)
    result = simulate(*SPAN, "--file", path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"mainspring: {path}")
    assert complaint in result.stderr


def test_standard_input_and_no_ids():
    documents = json.dumps([{"every": "1h", "task": {}}, {"every": "2h", "task": {}}])
    report = json.loads(simulate(*SPAN, "-f", "-", "-o", "json", stdin=documents).stdout)
    assert {part["id"]: part["fires"] for part in report["schedules"]} == {"schedule-1": 24, "schedule-2": 12}


def test_no_server_is_exit_code_3():
    result = simulate(*SPAN)
    assert (result.exit_code, len(result.stderr.splitlines())) == (3, 1)


def test_the_schedules_of_a_server(cli):
    made = json.loads(
        cli.ok(
            "schedules", "create", "rehearsed", "-o", "json", "--cron", "*/10 * * * *", "--jitter", "90s",
            "--label", "a=b", "--retry", '{"delays": [1, 2]}', "--", "command", "echo",
        )
    )  # fmt: skip
    report = cli.json("schedules", "simulate", *SPAN)
    (part,) = [part for part in report["schedules"] if part["id"] == "rehearsed"]
    assert part["fires"] == 144
    after = cli.json("schedules", "get", "rehearsed")
    assert after == made


def test_the_schedules_of_a_database(tmp_path):
    """Also those that plain SQL has written; one that cannot be obeyed is left out, with a word."""
    path = str(tmp_path / "scheduler.db")
    sqlite3.connect(path).close()
    assert json.loads(simulate(*SPAN, "--db", path, "-o", "json").stdout)["schedules"] == []
    database = sqlite3.connect(path)
    with database:
        for id, cron in (("hello", "0 * * * *"), ("broken", "61 * * * *")):
            database.execute("INSERT INTO schedules (id, cron) VALUES (?, ?)", (id, cron))
    database.close()
    result = simulate(*SPAN, "--db", path, "-o", "json")
    assert result.exit_code == 0
    assert {part["id"]: part["fires"] for part in json.loads(result.stdout)["schedules"]} == {"hello": 24}
    (line,) = result.stderr.splitlines()
    assert line.startswith("mainspring: schedule 'broken' cannot be obeyed and is left out: cron")
