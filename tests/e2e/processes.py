"""Real `mainspring` processes on loopback, started and ended by the tests that need them."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

DEADLINE_S = 180.0


class Process:
    """One `mainspring` process with its output in a file, so that it can never block on a full pipe. `under`
    is a program, and what it is told, that runs it."""

    def __init__(
        self,
        directory: Path,
        name: str,
        *arguments: str,
        env: dict[str, str] | None = None,
        under: Sequence[str] = (),
    ) -> None:
        self._clients: list[Api] = []
        self.log = directory / f"{name}.log"
        with self.log.open("ab") as log:
            self.start_of_log = log.tell()
            self.popen = subprocess.Popen(
                [*under, sys.executable, "-m", "mainspring", *arguments],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def printed(self) -> str:
        return self.log.read_bytes()[self.start_of_log :].decode()

    def url(self) -> str:
        """The address it listens on, once it does."""
        found = until(lambda: self._dead() or re.search(r"listens on (http://\S+)", self.printed()))
        if isinstance(found, re.Match):
            return str(found[1])
        raise AssertionError(f"ended with {self.popen.returncode}: {self.printed()}")

    def api(self) -> "Api":
        """A client of this server, closed with it."""
        self._clients.append(api := Api(self.url()))
        return api

    def _let_go(self) -> None:
        for api in self._clients:
            api.client.close()

    def _dead(self) -> bool:
        return self.popen.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        self._let_go()
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> int:
        self._let_go()
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.terminate()
        try:
            return self.popen.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


def until(condition: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """The condition's first true value. Fails when the deadline, which only tells a hang, is over."""
    give_up = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > give_up:
            raise AssertionError("it did not come true in time")
        time.sleep(0.01)
    return value


@contextlib.contextmanager
def running(
    directory: Path, name: str, *arguments: str, env: dict[str, str] | None = None
) -> Iterator[Process]:
    process = Process(directory, name, *arguments, env=env)
    try:
        yield process
    finally:
        process.stop()


class Api:
    """A patient client: what a user's program would do while a server restarts."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=30)

    def submit(self, tasks: list[dict[str, Any]]) -> list[str]:
        answer = self.client.post("/api/v1/tasks/batch", json={"tasks": tasks})
        assert answer.status_code == 201, answer.text
        return [task["id"] for task in answer.json()["tasks"]]

    def get(self, task: str) -> dict[str, Any]:
        answer = self.client.get(f"/api/v1/tasks/{task}")
        assert answer.status_code == 200, answer.text
        record: dict[str, Any] = answer.json()
        return record

    def states(self) -> dict[str, int]:
        counts: dict[str, int] = self.client.get("/api/v1/cluster/stats").json()["tasks"]
        return counts

    def all(self) -> list[dict[str, Any]]:
        tasks, token = [], None
        while True:
            params = {"page_size": 500} | ({"page_token": token} if token else {})
            page = self.client.get("/api/v1/tasks", params=params).json()
            tasks += page["tasks"]
            token = page["next_page_token"]
            if token is None:
                return tasks
