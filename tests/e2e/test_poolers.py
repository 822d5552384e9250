"""A whole deployment behind a real PgBouncer, which lends each connection for one transaction."""

import pytest

from tests.e2e.processes import running, until
from tests.poolers import PgBouncer
from tests.servers import PostgresServer
from tests.servers import running as server_of
from tests.stores import addresses

ANYWHERE = ("--listen", "127.0.0.1:0")


@pytest.fixture
def url(tmp_path):
    if reason := PgBouncer.missing():
        pytest.skip(reason)
    with addresses.address("postgres", tmp_path) as direct:
        pooler = PgBouncer(server_of(PostgresServer))
        try:
            yield pooler.dsn(direct.partition("?")[0].rpartition("/")[2])
        finally:
            pooler.stop()


def test_servers_and_a_worker_behind_a_pooler(tmp_path, url):
    """Tasks of either server, delayed ones and those of a schedule are done, though nobody hears of it."""
    with (
        running(tmp_path, "one", "server", *ANYWHERE, "--store", url) as one,
        running(tmp_path, "two", "server", *ANYWHERE, "--store", url) as two,
        running(tmp_path, "worker", "worker", "--api-url", one.url()),
    ):
        tasks = one.api().submit([{"kind": "echo", "payload": n} for n in range(20)])
        tasks += two.api().submit([{"kind": "echo", "payload": n, "delay": 0.5} for n in range(20)])
        fired = {"every": 1, "task": {"kind": "echo", "queue": "fired"}}
        answer = two.api().client.put("/api/v1/schedules/often", json=fired)
        assert answer.status_code in (200, 201), answer.text
        until(lambda: all(one.api().get(task)["state"] == "succeeded" for task in tasks))
        until(lambda: sum(task["queue"] == "fired" for task in two.api().all()) >= 2)
