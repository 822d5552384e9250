"""A worker is killed around the commit of a handler's own transaction: effects and completion are one."""

import sqlite3
from pathlib import Path

import psycopg
import pytest

from tests.e2e.processes import Process, running, until
from tests.stores import addresses

# One that is kept though the machine stands still for a few seconds.
LEASE_S = 10

BOOKS = """
import os, signal, sqlite3
import psycopg
from mainspring import Context, Mainspring

URL, MOMENT = os.environ["BOOKS_URL"], os.environ["BOOKS_MOMENT"]
app = Mainspring()


def connected():
    return psycopg.connect(URL) if "postgres" in URL else sqlite3.connect(URL.removeprefix("sqlite:///"), 30)


def die(moment):
    if moment == MOMENT:
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


@app.task
def charge(ctx: Context) -> str:
    connection = connected()
    connection.execute(f"INSERT INTO books (attempt) VALUES ({ctx.attempt})")
    app.submit_in(connection, "echo", ctx.attempt, name="receipt")
    ctx.complete_in(connection, "charged")
    die("before")
    connection.commit()
    connection.close()
    die("after")
    return "not looked at"
"""


class Books:
    """The user's own table, in the scheduler's database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.file = url.removeprefix("sqlite:///")

    def run(self, sql: str) -> list[tuple[object, ...]]:
        if "postgres" in self.url:
            with psycopg.connect(self.url, autocommit=True) as connection:
                cursor = connection.execute(sql)
                return cursor.fetchall() if cursor.description else []
        connection = sqlite3.connect(self.file, 30)
        try:
            with connection:
                return connection.execute(sql).fetchall()
        finally:
            connection.close()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    with addresses.address(request.param, tmp_path) as address:
        yield address


@pytest.mark.parametrize("moment", ["before", "after", "never"])
def test_a_worker_killed_around_the_commit(url: str, moment: str, tmp_path: Path):
    """SIGKILL before the commit: nothing has happened, and it runs again. After it: it has happened, and does
    not run again, though nobody has reported it."""
    (tmp_path / "books.py").write_text(BOOKS)
    server = ("server", "--store", url, "--listen", "127.0.0.1:0", "--lease", f"{LEASE_S}s")
    with running(tmp_path, "server", *server) as process:
        api, books = process.api(), Books(url)
        books.run("CREATE TABLE books (attempt integer)")
        worker = ("worker", "--api-url", process.url(), "-A", "books:app", "--worker-id")
        (task,) = api.submit([{"kind": "charge", "payload": {"args": [], "kwargs": {}}}])
        environment = {"BOOKS_URL": url, "BOOKS_MOMENT": moment}
        first = Process(tmp_path, "first", *worker, "first", env=environment)
        if moment == "never":
            until(lambda: api.get(task)["state"] == "succeeded")
            first.stop()
        else:
            until(lambda: first.popen.poll() is not None)
        survives = {"BOOKS_URL": url, "BOOKS_MOMENT": "never"}
        with running(tmp_path, "second", *worker, "second", env=survives):
            record = until(lambda: (got := api.get(task))["state"] == "succeeded" and got)
            # A lease later it is still so.
            (proof,) = api.submit([{"kind": "sleep", "payload": {"duration": LEASE_S + 1}}])
            until(lambda: api.get(proof)["state"] == "succeeded")
            attempt = 2 if moment == "before" else 1
            until(lambda: api.states()["succeeded"] == 3)
            assert api.get(task) == record
            assert (record["attempt"], record["losses"]) == (attempt, attempt - 1), record
            assert (record["result"], record["worker"]) == ("charged", "second" if attempt == 2 else "first")
            assert books.run("SELECT attempt FROM books") == [(attempt,)]
            (receipt,) = [found for found in api.all() if found["name"] == "receipt"]
            assert (receipt["state"], receipt["payload"]) == ("succeeded", attempt)


def test_a_server_killed_while_it_takes_in_loses_and_doubles_nothing(url: str, tmp_path: Path):
    """Twenty kills while 4,000 submissions are taken in, each task runs once."""
    server = ("standalone", "--store", url, "--listen", "127.0.0.1:0", "--lease", "1s")
    process = Process(tmp_path, "server", *server)
    try:
        process.api()
        books = Books(url)
        table = "mainspring.submissions" if "postgres" in url else "submissions"
        numbers = "WITH RECURSIVE g (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 200) SELECT"
        kind = "CAST('{\"max_losses\": 25}' AS json)" if "postgres" in url else "'{\"max_losses\": 25}'"
        for _ in range(20):
            books.run(f"INSERT INTO {table} (task) {numbers} {kind} FROM g")
            process.kill()
            process = Process(tmp_path, "server", *server)
            process.api()
        api = process.api()
        until(lambda: api.states()["succeeded"] == 4_000, 240)
        assert {record["state"] for record in api.all()} == {"succeeded"}
        assert books.run(f"SELECT count(*) FROM {table}") == [(0,)]
    finally:
        process.stop()
