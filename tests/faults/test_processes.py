"""Real processes on a server that is killed: a node that serves, a worker over HTTP, a worker straight on the
store. Nobody restarts them."""

import random
import time

import pytest

from mainspring.core.model import State
from tests.e2e.processes import running, until

KILLS, TASKS = 3, 200
BACK_WITHIN_S = 20.0


def done(api) -> int:
    """Tasks that have succeeded; while the store is away nobody knows."""
    answer = api.client.get("/api/v1/cluster/stats")
    return answer.json()["tasks"][State.SUCCEEDED.label] if answer.status_code == 200 else -1


@pytest.mark.kinds("postgres", "redis")
@pytest.mark.limit(300)
def test_processes_outlive_the_server_of_their_store(kind, server, tmp_path, measured):
    draw, recoveries = random.Random(5), []
    store = ("--store", kind.direct_url(server))
    task = {"kind": "sleep", "payload": {"duration": 0.05}, "max_losses": 10}
    with (
        running(tmp_path, "server", "server", "--listen", "127.0.0.1:0", *store) as node,
        running(tmp_path, "http", "worker", "--api-url", node.url(), "--concurrency", "2") as over_http,
        running(tmp_path, "direct", "worker", "--concurrency", "2", *store) as direct,
    ):
        api = node.api()
        until(lambda: len(api.client.get("/api/v1/workers").json()["workers"]) == 2)
        tasks = api.submit([task] * TASKS)
        for _ in range(KILLS):
            so_far = done(api)
            until(lambda so_far=so_far: done(api) >= so_far + draw.randint(5, 30))
            server.kill()
            assert api.client.post("/api/v1/tasks", json=task).status_code == 503
            server.start()
            back_s, so_far = time.monotonic(), -1
            while (now := done(api)) < 0 or now <= so_far or so_far < 0:
                so_far = now if so_far < 0 <= now else so_far
                assert time.monotonic() - back_s < BACK_WITHIN_S
                time.sleep(0.01)
            recoveries.append(time.monotonic() - back_s)
        until(lambda: done(api) >= TASKS)
        records = [api.get(one) for one in tasks]
        for process in (node, over_http, direct):
            assert process.popen.poll() is None, process.printed()
    assert {record["state"] for record in records} == {"succeeded"}
    # Both workers had their part, after the last kill too: neither was left behind.
    assert len({record["worker"] for record in records[-50:]}) == 2
    measured(kills=KILLS, recovery_s_longest=max(recoveries))
