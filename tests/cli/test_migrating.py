"""`mainspring migrate`: where a store's schema stands, up, down, and as SQL."""

import json

import apsw
import pytest
from click.testing import CliRunner

from mainspring.cli.root import root
from mainspring.stores import open_schema
from tests.stores import addresses


def run(*arguments, env=None):
    return CliRunner().invoke(root, ["migrate", *arguments], env=env)


@pytest.fixture(params=addresses.WITH_SCHEMA)
def url(request, tmp_path):
    with addresses.address(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def newest(url):
    return open_schema(url).steps[-1].number


def test_up_and_down_and_where_it_stands(url, newest):
    done = run("up", "--store", url, "--to", "2")
    assert (done.exit_code, done.stdout) == (0, "up 1 tasks\nup 2 schedules\n")
    told = run("status", "--store", url)
    assert told.exit_code == 1
    assert f"schema 2 of {newest}; `mainspring migrate up` brings it up to date" in told.stdout
    assert run("up", "--store", url).stdout.startswith("up 3 workflows\n")
    assert run("up", "--store", url).stdout == "nothing to do\n"
    told = run("status", "--store", url, "-o", "json")
    assert told.exit_code == 0
    document = json.loads(told.stdout)
    assert (document["current"], document["newest"]) == (newest, newest)
    assert [step["number"] for step in document["steps"] if step["applied"]] == list(range(1, newest + 1))
    done = run("down", "--store", url, "--to", "1")
    assert done.exit_code == 0
    assert done.stdout.endswith("down 3 workflows\ndown 2 schedules\n")


def test_the_variable_names_the_store(url):
    assert run("up", env={"DATABASE_URL": url}).exit_code == 0
    assert "up to date" in run("status", env={"DATABASE_URL": url}).stdout


def test_data_is_destroyed_only_if_that_is_said(tmp_path):
    path = str(tmp_path / "store.db")
    assert run("up", "--db", path).exit_code == 0
    db = apsw.Connection(path)
    db.execute("INSERT INTO schedules (id, cron) VALUES ('s', '@daily')")
    db.close()
    before = run("status", "--db", path).stdout
    refused = run("down", "--db", path, "--to", "1")
    assert refused.exit_code == 2
    assert (
        refused.stderr
        == "mainspring: --yes: going down to 1 would destroy: schedules; accepted: --yes, to do so\n"
    )
    assert run("status", "--db", path).stdout == before
    assert run("down", "--db", path, "--to", "2").exit_code == 0
    assert run("down", "--db", path, "--to", "1", "--yes").exit_code == 0


def test_sql_for_somebody_else_to_run(url, newest):
    """With --from, nothing is asked and nothing made."""
    whole = run("sql", "--store", url, "--from", "0")
    assert whole.exit_code == 0
    assert "CREATE TABLE" in whole.stdout
    assert "1 tasks" in whole.stdout
    assert run("up", "--store", url).exit_code == 0
    assert run("sql", "--store", url).stdout == f"-- nothing to do: the schema is at {newest}\n"
    assert "DROP TABLE" in run("sql", "--store", url, "--to", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("status", "--db", "nowhere.db"), "--db: there is no file nowhere.db"),
        (("status", "--store", "memory:"), "--store: 'memory:' has no schema"),
        (("up", "--store", "mysql://u:s3cret@h/db"), "--store: 'mysql://u:***@h/db' has no schema"),
        (("up", "--db", "a", "--store", "memory:"), "give --db or --store, not both"),
        (("down", "--db", "nowhere.db", "--to", "1"), "there is no file nowhere.db"),
        (("down", "--db", "nowhere.db"), "Missing option '--to'"),
        (("sql", "--db", "nowhere.db"), "there is no file nowhere.db"),
        (("sql", "--db", "nowhere.db", "--from", "0", "--to", "99"), "--to: no such schema: 99"),
        (("sql", "--db", "nowhere.db", "--from", "99"), "--from: no such schema: 99; accepted: 0 to "),
        (("sql", "--db", "nowhere.db", "--from", "-1"), "--from: no such schema: -1; accepted: 0 to "),
        (("up", "--db", "nowhere.db", "--to", "99"), "--to: no such schema: 99; accepted: 0 to "),
        (("sideways",), "No such command 'sideways'"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert complaint in line
    assert list(tmp_path.iterdir()) == []


def test_a_step_in_the_wrong_direction(tmp_path):
    path = str(tmp_path / "store.db")
    assert run("up", "--db", path, "--to", "2").exit_code == 0
    assert "the schema is at 2 already" in run("up", "--db", path, "--to", "1").stderr
    assert "the schema is at 2;" in run("down", "--db", path, "--to", "3").stderr


def test_a_node_that_may_not_migrate_ends_with_the_command_that_does(tmp_path):
    path = str(tmp_path / "store.db")
    result = CliRunner().invoke(root, ["server", "--db", path, "--no-migrate", "--listen", "127.0.0.1:0"])
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("mainspring:")]
    assert "has schema 0" in line
    assert "mainspring migrate up" in line
