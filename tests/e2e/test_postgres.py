"""Processes over a real PostgreSQL: what is submitted over HTTP is done by a worker of its own."""

import pytest

from mainspring import Mainspring
from tests.e2e.processes import running, until
from tests.stores import addresses

ANYWHERE = ("--listen", "127.0.0.1:0")


@pytest.fixture
def url(tmp_path):
    with addresses.address("postgres", tmp_path) as found:
        yield found


def done(api, tasks):
    return all(api.get(task)["state"] == "succeeded" for task in tasks)


def test_a_server_and_a_worker(tmp_path, url):
    """S1-01, S1-04, S1-13, S1-49, S3-05, S3-39: two servers share the database; either one's tasks are done
    by a worker of one of them."""
    with (
        running(tmp_path, "one", "server", *ANYWHERE, "--store", url) as one,
        running(tmp_path, "two", "server", *ANYWHERE, env={"DATABASE_URL": url}) as two,
        running(tmp_path, "worker", "worker", "--api-url", one.url()),
    ):
        tasks = one.api().submit([{"kind": "echo", "payload": n} for n in range(3)])
        tasks += two.api().submit([{"kind": "echo", "payload": n} for n in range(3)])
        until(lambda: done(one.api(), tasks))
        assert one.api().get(tasks[0])["result"] == 0


def test_standalone_finds_its_tasks_again(tmp_path, url):
    """S4-34: one process, PostgreSQL in place of its file."""
    with running(tmp_path, "first", "standalone", *ANYWHERE, "--store", url) as first:
        (done_before,) = first.api().submit([{"kind": "echo", "payload": 1}])
        (later,) = first.api().submit([{"kind": "echo", "payload": 2, "delay": 3600}])
        until(lambda: done(first.api(), [done_before]))
    with running(tmp_path, "second", "standalone", *ANYWHERE, "--store", url) as second:
        assert second.api().get(done_before)["state"] == "succeeded"
        assert second.api().get(later)["state"] == "scheduled"


def test_an_application_embeds_a_scheduler(url):
    app = Mainspring(url)

    @app.task
    def double(number: int) -> int:
        return 2 * number

    with app, app.worker():
        assert double.submit(21).result(timeout=60) == 42
