"""Processes over PostgreSQL with a Redis beside it, which may lose all it has, or go, at any time."""

import asyncio
import os

import asyncpg
import pytest
import redis

from tests.e2e.processes import Process, running, until
from tests.servers import RedisServer
from tests.stores import addresses

ANYWHERE = ("--listen", "127.0.0.1:0")
TASKS = 1500


@pytest.fixture
def url(tmp_path):
    with addresses.address("postgres", tmp_path) as found:
        yield found


@pytest.fixture
def redis_server():
    if RedisServer.missing() and not os.environ.get("CI"):
        pytest.skip(RedisServer.missing())
    server = RedisServer()
    yield server
    server.stop()


def outcomes(url):
    """From the full history: how many final transitions each task has had."""

    async def ask():
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetch(
                "SELECT task, count(*) AS n FROM mainspring.history WHERE new >= 5 GROUP BY task"
            )
        finally:
            await connection.close()

    return {row["task"]: row["n"] for row in asyncio.run(ask())}


def test_flushall_while_servers_and_a_worker_run(tmp_path, url, redis_server):
    """S1-03, S1-51, S3-06, contract 1.6-N: nothing is lost or run twice, and the store keeps its laws."""
    store = ("--store", url, "--history")
    with (
        redis.Redis.from_url(redis_server.url) as client,
        running(tmp_path, "one", "server", *ANYWHERE, *store, "--queue", redis_server.url) as one,
        running(tmp_path, "two", "server", *ANYWHERE, *store, env={"REDIS_URL": redis_server.url}) as two,
        running(tmp_path, "worker", "worker", "--api-url", one.url(), "--concurrency", "20"),
    ):
        until(lambda: client.pubsub_numsub("{mainspring}:wake")[0][1] == 2)
        near, far = one.api(), two.api()
        tasks = []
        for number in range(TASKS // 50):
            api = near if number % 2 else far
            tasks += api.submit([{"kind": "sleep", "payload": {"duration": 0.01}}] * 50)
            client.flushall()
        while near.states()["succeeded"] < TASKS:
            client.flushall()
        assert near.states() == far.states()
        assert near.get(tasks[0])["state"] == "succeeded"
    assert outcomes(url) == dict.fromkeys(tasks, 1)
    doctor = Process(tmp_path, "doctor", "doctor", "--store", url)
    until(lambda: doctor.popen.poll() is not None)
    assert doctor.popen.returncode == 0, doctor.printed()


def test_work_goes_on_while_redis_is_gone(tmp_path, url, redis_server):
    with running(
        tmp_path, "standalone", "standalone", *ANYWHERE, "--store", url, "--queue", redis_server.url
    ) as process:
        api = process.api()
        for step in (redis_server.kill, redis_server.start, redis_server.kill):
            step()
            api.submit([{"kind": "echo", "payload": n} for n in range(20)])
            until(lambda: not any(api.states()[state] for state in ("ready", "running")))
        assert api.states()["succeeded"] == 60
        until(lambda: "going on with PostgreSQL alone" in process.printed())
        (task,) = api.submit([{"kind": "echo", "delay": 3600}])
        assert api.client.get(f"/api/v1/tasks/{task}/explain").json()["reasons"]
        redis_server.start()
        until(lambda: "Redis answers again" in process.printed())


def test_a_worker_straight_on_both(tmp_path, url, redis_server):
    """S1-50, S1-51: no server between the worker and its tasks; it hears of them by Redis."""
    with (
        redis.Redis.from_url(redis_server.url) as client,
        running(
            tmp_path, "server", "server", *ANYWHERE, "--store", url, "--queue", redis_server.url
        ) as server,
        running(tmp_path, "worker", "worker", "--store", url, env={"REDIS_URL": redis_server.url}),
    ):
        until(lambda: client.pubsub_numsub("{mainspring}:wake")[0][1] == 2)
        api = server.api()
        tasks = api.submit([{"kind": "echo", "payload": n} for n in range(20)])
        until(lambda: all(api.get(task)["state"] == "succeeded" for task in tasks))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--db", "x.db", "--queue", "redis://localhost:1"), "--queue: is for a store on PostgreSQL"),
        (("--store", "postgresql:///x", "--queue", "amqp://x"), "--queue: not an address of Redis"),
    ],
)
def test_a_queue_that_cannot_be_is_one_line(tmp_path, arguments, says):
    process = Process(tmp_path, "server", "server", *ANYWHERE, *arguments)
    until(lambda: process.popen.poll() is not None)
    assert process.popen.returncode == 2
    assert says in process.printed()
    assert len(process.printed().strip().splitlines()) == 1
