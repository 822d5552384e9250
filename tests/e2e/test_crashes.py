"""Processes are killed and stopped in mid-work; what was acknowledged ends once, and well."""

import contextlib
import random
import signal
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import httpx

from tests.e2e.processes import Api, Process, running, until

WAITING, KILLS, HITS = 500, 20, 15


def test_a_standalone_process_killed_twenty_times_loses_and_doubles_nothing(tmp_path: Path):
    """SIGKILL with tasks running, restart, again: every acknowledged task ends succeeded, once."""
    draw, hits, acknowledged = random.Random(7), 0, list[str]()
    task = {"kind": "sleep", "payload": {"duration": 0.1}, "max_losses": 25}
    arguments = (
        "standalone", "--listen", "127.0.0.1:0", "--db", "crash.db", "--lease", "1s", "--history",
        "--concurrency", "20",
    )  # fmt: skip

    def states(api: Api) -> dict[str, int]:
        """Looked at with work ahead, however much of it was done since the last look."""
        if api.states()["ready"] < WAITING:
            acknowledged.extend(api.submit([task] * WAITING))
        return api.states()

    for _ in range(KILLS):
        process = Process(tmp_path, "standalone", *arguments)
        try:
            api = process.api()
            until(lambda api=api: states(api)["running"] >= 5)
            wanted = states(api)["succeeded"] + draw.randint(1, 40)
            until(lambda api=api, wanted=wanted: states(api)["succeeded"] >= wanted)
            hits += states(api)["running"] > 0
        finally:
            process.kill()
    assert hits >= HITS
    with running(tmp_path, "standalone", *arguments) as process:
        api = process.api()
        until(lambda: api.states()["succeeded"] == len(acknowledged), 240)
        records = api.all()
    assert sorted(record["id"] for record in records) == sorted(acknowledged)
    assert {record["state"] for record in records} == {"succeeded"}
    assert sum(record["losses"] for record in records) >= HITS
    assert set(accepted_outcomes(tmp_path / "crash.db").values()) == {1}


def accepted_outcomes(file: Path) -> Counter[str]:
    """From the full history: how many final transitions each task has had."""
    connection = sqlite3.connect(file)
    try:
        rows = connection.execute("SELECT task FROM history WHERE new IN (5, 6, 7)").fetchall()
    finally:
        connection.close()
    return Counter(task for (task,) in rows)


def waits_for(file: Path) -> dict[str, object]:
    """A task that runs for as long as the test wants it to."""
    return {"kind": "command", "payload": {"command": f"until [ -e {file} ]; do sleep 0.02; done"}}


def test_the_task_of_a_killed_worker_runs_again_within_the_lease_and_a_second(tmp_path: Path):
    with running(tmp_path, "server", "server", "--listen", "127.0.0.1:0", "--lease", "3s") as server:
        api, go_on = server.api(), tmp_path / "go-on"
        (task,) = api.submit([waits_for(go_on)])
        worker = ("worker", "--api-url", server.url(), "--allow-commands")
        first = Process(tmp_path, "first", *worker, "--worker-id", "first")
        until(lambda: api.get(task)["state"] == "running")
        with running(tmp_path, "second", *worker, "--worker-id", "second"):
            until(lambda: len(api.client.get("/api/v1/workers").json()["workers"]) == 2)
            killed_s = time.time()
            first.kill()
            until(lambda: api.get(task)["attempt"] == 2)
            go_on.touch()
            record = until(lambda: (got := api.get(task))["state"] == "succeeded" and got)
    assert (record["losses"], record["worker"]) == (1, "second")
    (lost,) = record["attempts"]
    assert lost["outcome"] == "lost"
    # At its latest the lease was renewed as the worker was killed. A busy machine needs some room.
    assert seconds(record["started_at"]) - killed_s <= 3 + 1 + 6


def seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def test_a_worker_stopped_for_three_leases_is_refused_and_its_children_are_ended(tmp_path: Path):
    """SIGSTOP, three leases, SIGCONT: one task is still running then, the other has ended meanwhile."""
    with running(tmp_path, "server", "server", "--listen", "127.0.0.1:0", "--lease", "3s") as server:
        api = server.api()
        worker = ("worker", "--api-url", server.url(), "--allow-commands")
        with running(tmp_path, "frozen", *worker) as frozen:
            stays, ends, go_on = (tmp_path / name for name in ("stays", "ends", "go-on"))
            commands = (
                f"echo $$ > {stays}; sleep 600",
                f"echo $$ > {ends}; until [ -e {go_on} ]; do sleep 0.02; done; echo done",
            )
            tasks = api.submit(
                [{"kind": "command", "payload": {"command": c}, "max_losses": 1} for c in commands]
            )
            child, other = (
                int(until(lambda file=file: file.exists() and file.read_text().strip()))
                for file in (stays, ends)
            )
            frozen.signal(signal.SIGSTOP)
            go_on.touch()
            until(lambda: not alive(other))
            until(lambda: api.states()["failed"] == 2)
            lost_at = time.monotonic()
            until(lambda: time.monotonic() - lost_at > 6)  # two more leases
            frozen.signal(signal.SIGCONT)
            until(lambda: not alive(child))
            (proof,) = api.submit([{"payload": "it works again"}])
            until(lambda: api.get(proof)["state"] == "succeeded")
        for task in tasks:
            record = api.get(task)
            assert (record["state"], record["losses"], record["result"]) == ("failed", 1, None)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


POISON = """
import os
from mainspring import Mainspring

app = Mainspring()

@app.task(name="poison")
def poison():
    os._exit(9)

@app.task(name="good")
async def good():
    return 1
"""


def test_tasks_that_kill_their_runner_end_as_dead_letters_and_hurt_nobody(tmp_path: Path):
    """100 poison tasks among 1,000 good ones."""
    (tmp_path / "poison_app.py").write_text(POISON)
    with running(tmp_path, "server", "server", "--listen", "127.0.0.1:0", "--lease", "5s") as server:
        api = server.api()
        tasks = [{"kind": "poison" if place % 11 == 5 else "good", "max_losses": 2} for place in range(1100)]
        api.submit(tasks)
        with running(
            tmp_path,
            "worker",
            "worker",
            "--api-url",
            server.url(),
            "-A",
            "poison_app:app",
            "--concurrency",
            "10",
        ):
            until(lambda: api.states()["succeeded"] == 1000 and api.states()["failed"] == 100, 300)
        records = api.all()
    assert {(r["kind"], r["state"]) for r in records} == {("good", "succeeded"), ("poison", "failed")}
    assert {r["losses"] for r in records if r["kind"] == "poison"} == {2}


def test_a_worker_that_loses_its_server_reports_when_it_is_back(tmp_path: Path):
    """It finishes what it runs, and its lease still stands: one attempt, no loss."""
    arguments = ("server", "--db", "back.db", "--lease", "60s", "--listen")
    first = Process(tmp_path, "server", *arguments, "127.0.0.1:0")
    url, api = first.url(), first.api()
    with running(tmp_path, "worker", "worker", "--api-url", url, "--allow-commands"):
        (task,) = api.submit([waits_for(tmp_path / "go-on")])
        until(lambda: api.get(task)["state"] == "running")
        first.kill()
        (tmp_path / "go-on").touch()
        with running(tmp_path, "server", *arguments, url.removeprefix("http://")) as second:
            api = second.api()
            record = until(lambda: (got := api.get(task))["state"] == "succeeded" and got)
    assert (record["attempt"], record["losses"]) == (1, 0)


def test_a_signal_drains_and_hands_back_uncounted(tmp_path: Path):
    with running(tmp_path, "server", "server", "--listen", "127.0.0.1:0") as server:
        api = server.api()
        with running(
            tmp_path, "worker", "worker", "--api-url", server.url(), "--concurrency", "1", "--grace", "200ms"
        ) as worker:
            (long,) = api.submit([{"kind": "sleep", "payload": {"duration": 30}}])
            until(lambda: api.get(long)["state"] == "running")
            assert worker.stop() == 0
        record = api.get(long)
        assert (record["state"], record["attempt"], record["losses"]) == ("ready", 0, 0)


def test_a_key_stands_for_one_task_whenever_the_server_is_killed(tmp_path: Path):
    """Protocol check B-23: killed between a keyed submit and its answer, then asked again: one task, not two,
    not none; and what was acknowledged is what is found."""
    arguments = ("server", "--listen", "127.0.0.1:0", "--db", "keys.db")
    keys, acknowledged = [f"key-{n}" for n in range(600)], dict[str, str]()

    def submit_all(process: Process, killed_at: int) -> None:
        api = process.api()

        def submit(key: str) -> None:
            with contextlib.suppress(httpx.TransportError):
                answer = api.client.post(
                    "/api/v1/tasks", json={"payload": key}, headers={"Idempotency-Key": key}
                )
                assert answer.status_code == 201, answer.text
                assert acknowledged.setdefault(key, answer.json()["id"]) == answer.json()["id"]
                if len(acknowledged) >= killed_at:
                    process.popen.kill()

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(submit, keys))

    for killed_at in (100, 300):
        process = Process(tmp_path, "server", *arguments)
        try:
            submit_all(process, killed_at)
        finally:
            process.kill()
        assert len(acknowledged) < len(keys)
    with running(tmp_path, "server", *arguments) as process:
        submit_all(process, len(keys) + 1)
        records = process.api().all()
    assert len(records) == len(keys)
    assert {record["payload"]: record["id"] for record in records} == acknowledged
