"""Real processes on a server that is killed: a node that serves, a worker over HTTP, a worker straight on the
store. Nobody restarts them."""

import random
import time

import pytest

from mainspring.core.model import State
from tests.e2e.processes import Api, running, until
from tests.faults.load import BACK_WITHIN_S

KILLS, AHEAD = 3, 100
TASK = {"kind": "sleep", "payload": {"duration": 0.05}, "max_losses": 10}


class Work:
    """Tasks that never run out, and those of them that the server has acknowledged."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.tasks: list[str] = []

    def done(self) -> int:
        """Tasks that have succeeded; while the store is away nobody knows."""
        stats = self._api.client.get("/api/v1/cluster/stats")
        if stats.status_code != 200:
            return -1
        if stats.json()["tasks"][State.READY.label] < AHEAD:
            answer = self._api.client.post("/api/v1/tasks/batch", json={"tasks": [TASK] * AHEAD})
            if answer.status_code == 201:
                self.tasks += [task["id"] for task in answer.json()["tasks"]]
        return stats.json()["tasks"][State.SUCCEEDED.label]

    def is_shared(self) -> bool:
        """Whether both workers have had some of those that are submitted from now on."""
        tasks = self._api.submit([TASK] * AHEAD)
        until(lambda: all(self._api.get(task)["state"] == "succeeded" for task in tasks))
        return len({self._api.get(task)["worker"] for task in tasks}) == 2


@pytest.mark.kinds("postgres", "redis")
def test_processes_outlive_the_server_of_their_store(kind, server, tmp_path, measured):
    draw, recoveries = random.Random(5), []
    store = ("--store", kind.direct_url(server))
    with (
        running(tmp_path, "server", "server", "--listen", "127.0.0.1:0", *store) as node,
        running(tmp_path, "http", "worker", "--api-url", node.url(), "--concurrency", "2") as over_http,
        running(tmp_path, "direct", "worker", "--concurrency", "2", *store) as direct,
    ):
        api = node.api()
        until(lambda: len(api.client.get("/api/v1/workers").json()["workers"]) == 2)
        work = Work(api)
        for _ in range(KILLS):
            wanted = work.done() + draw.randint(5, 30)
            until(lambda wanted=wanted: work.done() >= wanted)
            server.kill()
            assert api.client.post("/api/v1/tasks", json=TASK).status_code == 503
            server.start()
            back_s, so_far = time.monotonic(), -1
            while (now := work.done()) < 0 or now <= so_far or so_far < 0:
                so_far = now if so_far < 0 <= now else so_far
                assert time.monotonic() - back_s < BACK_WITHIN_S
                time.sleep(0.01)
            recoveries.append(time.monotonic() - back_s)
        # Neither was left behind.
        until(work.is_shared)
        until(lambda: all(api.get(task)["state"] == "succeeded" for task in work.tasks))
        for process in (node, over_http, direct):
            assert process.popen.poll() is None, process.printed()
    measured(kills=KILLS, recovery_s_longest=max(recoveries))
