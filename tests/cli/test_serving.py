"""`mainspring standalone` and `server`: how they start, refuse, drain and stop."""

import contextlib
import json
import signal

from tests.cli.conftest import JOBS, Cli
from tests.e2e.processes import Process, running, until

ANYWHERE = ("--listen", "127.0.0.1:0")


def test_a_signal_ends_it_well_and_the_log_is_json(tmp_path):
    """S4-38: structured logs when standard error is no terminal; the address is on standard output."""
    with running(tmp_path, "server", "server", *ANYWHERE, "--store", "memory:") as process:
        url = process.url()
        process.signal(signal.SIGINT)
        assert process.popen.wait() == 0
    greeting, *log = sorted(process.printed().splitlines(), key=lambda line: line.startswith("{"))
    assert greeting == f"mainspring server listens on {url}"
    assert {"time", "level", "logger", "event"} <= json.loads(log[0]).keys()


def test_a_token_is_asked_for(tmp_path):
    """S4-36: with a token set, nobody gets in without it."""
    environment = {"MAINSPRING_TOKEN": "s3cret"}
    with running(tmp_path, "server", "server", *ANYWHERE, "--store", "memory:", env=environment) as process:
        url = process.url()
        for wrong in (Cli(url), Cli(url, MAINSPRING_TOKEN="guess")):
            assert "Authorization: Bearer TOKEN" in wrong.fails(1, "stats")
        assert Cli(url, **environment).json("stats")["total"] == 0
        assert Cli(url).json("stats", "--token", "s3cret")["total"] == 0


def test_a_file_of_settings(tmp_path):
    (tmp_path / "node.toml").write_text('listen = "127.0.0.1:0"\ndb = "from-file.db"\nlease = "7s"\n')
    with running(tmp_path, "server", "server", "--config", "node.toml", "--db", "from-flag.db") as process:
        process.url()
    assert {path.name for path in tmp_path.glob("*.db")} == {"from-flag.db"}


def test_two_servers_share_one_file(tmp_path):
    """S4-14, S1-34: what one takes the other runs, and both show."""
    arguments = (*ANYWHERE, "--db", "shared.db")
    with (
        running(tmp_path, "one", "server", *arguments) as one,
        running(tmp_path, "two", "standalone", *arguments) as two,
    ):
        submitting, reading = Cli(one.url()), Cli(two.url())
        task = submitting.json("submit", "echo", "--payload", "1", "--wait")
        assert task["state"] == "succeeded"
        assert reading.json("tasks", "get", task["id"]) == task


def test_a_drained_task_is_handed_back_and_a_second_signal_does_not_wait(tmp_path):
    arguments = (*ANYWHERE, "--db", "drain.db", "--grace", "1h")
    with running(tmp_path, "first", "standalone", *arguments) as process:
        cli = Cli(process.url())
        task = cli.json("submit", "sleep", "--payload", '{"duration": 3600}')["id"]
        until(lambda: cli.json("tasks", "get", task)["state"] == "running")
        process.signal(signal.SIGTERM)
        until(lambda: "drain" in process.printed())
        assert process.popen.poll() is None
        process.signal(signal.SIGTERM)
        assert process.popen.wait() == 0
    with running(tmp_path, "second", "server", *arguments[:-2]) as process:
        record = Cli(process.url()).json("tasks", "get", task)
    assert (record["state"], record["attempt"], record["losses"]) == ("ready", 0, 0)


DEAF = """
import asyncio, time
from mainspring import Mainspring

app = Mainspring()

@app.task
async def swallow() -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

@app.task
async def block() -> None:
    await asyncio.to_thread(time.sleep, 3600)
"""


def test_handlers_that_do_not_stop_do_not_hold_up_the_end(tmp_path):
    """Peer behaviour 122: neither one that swallows every cancel, nor one that has left a thread behind."""
    (tmp_path / "deaf.py").write_text(DEAF)
    arguments = (*ANYWHERE, "--db", "deaf.db", "--grace", "1h")
    with running(tmp_path, "deaf", "standalone", *arguments, "-A", "deaf:app") as process:
        cli = Cli(process.url())
        tasks = [cli.json("submit", kind)["id"] for kind in ("swallow", "block")]
        until(lambda: all(cli.json("tasks", "get", task)["state"] == "running" for task in tasks))
        process.signal(signal.SIGTERM)
        until(lambda: "drain" in process.printed())
        process.signal(signal.SIGTERM)
        assert process.popen.wait(180) == 0
        assert "leaving without them" in process.printed()
    with running(tmp_path, "after", "server", *arguments[:-2]) as process:
        records = [Cli(process.url()).json("tasks", "get", task) for task in tasks]
    assert [(record["state"], record["attempt"]) for record in records] == [("ready", 0)] * 2


def test_a_worker_needs_only_http(tmp_path):
    """S4-05, S4-09, S4-13: it opens no store, and its work is seen at the server."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/jobs.py").write_text(JOBS)
    with running(tmp_path, "server", "server", *ANYWHERE, "--db", "only-the-servers.db") as process:
        cli = Cli(process.url())
        arguments = ("--api-url", cli.url, "--worker-id", "worker-1", "-A", "jobs:app", "--allow-commands")
        with running(tmp_path / "home", "worker", "worker", *arguments) as worker:
            task = cli.json("submit", "double", "--payload", "4", "--wait")
            assert (task["result"], task["worker"]) == (8, "worker-1")
            assert cli.ok("run", "echo $((6 * 7))") == "42\n"
            assert [shown["worker"] for shown in cli.json("workers")["workers"]] == ["worker-1"]
            assert worker.stop() == 0
        assert cli.json("workers")["workers"] == []
    assert list((tmp_path / "home").glob("*.db*")) == []


def test_a_worker_runs_commands_only_if_told(tmp_path):
    """S1-07, S4-27: shell commands are an opt-in of each worker; a name is not asked for."""
    with (
        running(tmp_path, "server", "server", *ANYWHERE, "--store", "memory:") as process,
        running(tmp_path, "worker", "worker", "--api-url", process.url()),
    ):
        cli = Cli(process.url())
        command = cli.json("submit", "--command", "touch it-ran")["id"]
        cli.ok("submit", "echo", "--wait")
        assert cli.json("tasks", "get", command)["state"] == "ready"
    assert not (tmp_path / "it-ran").exists()


def test_an_application_that_cannot_be_loaded_is_told(tmp_path):
    with running(tmp_path, "server", "server", *ANYWHERE, "--store", "memory:") as process:
        arguments = ("--api-url", process.url(), "-A", "no_such_module:app")
        with running(tmp_path, "worker", "worker", *arguments) as worker:
            assert worker.popen.wait() == 2
            assert "there is no module 'no_such_module'" in worker.printed()


def test_killed_it_leaves_nothing_that_a_restart_cannot_read(tmp_path):
    first = Process(tmp_path, "first", "server", *ANYWHERE, "--db", "killed.db")
    task = Cli(first.url()).json("submit", "echo", "--delay", "1h")["id"]
    first.kill()
    with running(tmp_path, "second", "server", *ANYWHERE, "--db", "killed.db") as process:
        assert Cli(process.url()).json("tasks", "get", task)["state"] == "scheduled"


def test_six_terminals(tmp_path):
    """S4-12, S4-13, S4-14: two schedulers on one file, two workers at each; all four work at the same time.

    Each task waits for the other three, so fewer workers than four would never end them.
    """
    meet = 'touch "met-$MAINSPRING_TASK"; while [ $(ls met-* | wc -l) -lt 4 ]; do sleep 0.05; done'
    with contextlib.ExitStack() as terminals:
        urls = []
        for name in ("one", "two"):
            arguments = (*ANYWHERE, "--db", "scheduler.db")
            urls.append(terminals.enter_context(running(tmp_path, name, "server", *arguments)).url())
        for number in range(4):
            arguments = ("--api-url", urls[number // 2], "--worker-id", f"worker-{number + 1}")
            arguments += ("--concurrency", "1", "--allow-commands")
            terminals.enter_context(running(tmp_path, f"worker-{number + 1}", "worker", *arguments))
        one, two = map(Cli, urls)
        (tmp_path / "meet.json").write_text(
            json.dumps([{"command": meet, "timeout": "600s", "max_retries": 0}] * 4)
        )
        tasks = one.json("submit", "--file", str(tmp_path / "meet.json"), "--wait")["tasks"]
        workers = [worker["worker"] for worker in two.json("workers")["workers"]]
    assert {task["state"] for task in tasks} == {"succeeded"}
    assert sorted(task["worker"] for task in tasks) == workers == [f"worker-{n}" for n in range(1, 5)]
