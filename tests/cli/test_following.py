"""Waiting for many tasks, whatever the server does meanwhile."""

import json
import subprocess
import sys

from tests.cli.conftest import Cli
from tests.e2e.processes import running, until


def test_a_large_batch_is_followed_to_its_end(cli, queue, write):
    """More than one page, other work in between, and slow ones that keep nobody else from being counted."""
    tasks = [{"queue": queue, "payload": place} for place in range(1_500)]
    tasks[3] = {"queue": queue, "kind": "sleep", "payload": {"duration": 0.5}}
    tasks[700] = {"queue": queue, "kind": "broken", "payload": "x"}
    result = cli("submit", "--file", write("many.json", tasks), "--wait", "-o", "json")
    ended = json.loads(result.stdout)["tasks"]
    assert result.exit_code == 1
    assert [task["payload"] for task in ended if task["kind"] == "echo"] == [
        task["payload"] for task in tasks if "kind" not in task
    ]
    assert [place for place, task in enumerate(ended) if task["state"] == "failed"] == [700]


def test_a_batch_that_others_have_buried_is_found(cli, queue, write):
    """The pages of final tasks do not reach it; then each is asked for."""
    cli.ok("queues", "pause", queue)
    waiting = cli.ok("submit", "--file", write("old.json", [{"queue": queue}] * 150), "-o", "id").split()
    cli.ok("submit", "--file", write("new.json", [{}] * 4_000), "--wait")
    cli.ok("queues", "resume", queue)
    assert sorted(cli.ok("tasks", "wait", *waiting, "-o", "id").split()) == sorted(waiting)


def test_a_server_that_comes_back_is_waited_for(tmp_path):
    arguments = ("standalone", "--db", "back.db", "--lease", "3s", "--listen")
    with running(tmp_path, "first", *arguments, "127.0.0.1:0") as first:
        url = first.url()
        done = Cli(url).json("submit", "echo", "--wait")["id"]
        task = Cli(url).json("submit", "sleep", "--payload", '{"duration": 3}')["id"]
        until(lambda: Cli(url).json("tasks", "get", task)["state"] == "running")
        command = [sys.executable, "-m", "mainspring", "tasks", "wait", done, task, "--api-url", url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
            try:
                assert waiting.stdout is not None
                assert waiting.stdout.readline() == f"{done} succeeded\n"
                first.kill()
                with running(tmp_path, "second", *arguments, url.removeprefix("http://")):
                    assert waiting.stdout.read() == f"{task} succeeded\n"
            finally:
                waiting.kill()
    assert waiting.returncode == 0
