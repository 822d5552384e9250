"""`mainspring store copy`: what it says, what it refuses, what is left when it is killed, and its memory."""

import asyncio
import json
import re
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from mainspring.cli.root import root
from mainspring.clock import SystemClock
from mainspring.core.model import Lane, NewTask
from mainspring.ports import Group
from mainspring.stores import open_store
from tests.e2e.processes import Process, running, until
from tests.stores import addresses

CLOCK = SystemClock()


def copy(*arguments):
    return CliRunner().invoke(root, ["store", "copy", *arguments])


def filled(url, tasks=5):
    async def fill():
        store = open_store(url, CLOCK)
        await store.open()
        lane = Lane("default", "echo", "default", 5)
        new = [NewTask(CLOCK.new_id(), lane, b'{"n":%d}' % n, labels=b'{"a":"b"}') for n in range(tasks)]
        for start in range(0, tasks, 5_000):
            await store.submit([Group(new[start : start + 5_000])])
        await store.close()

    asyncio.run(fill())
    return url


def counts(url):
    async def count():
        store = open_store(url, CLOCK)
        await store.open()
        try:
            return dict((await store.stats()).counts), await store.unfinished_load()
        finally:
            await store.close()

    return asyncio.run(count())


@pytest.fixture
def house(tmp_path):
    """An old file with a few tasks, and the address of a new one."""
    return filled(f"sqlite:///{tmp_path}/old.db"), f"sqlite:///{tmp_path}/new.db"


def test_it_tells_what_was_copied(house):
    old, new = house
    result = copy("--from", old, "--to", new)
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.search(r"^tasks +5 +[0-9a-f]{32}$", result.stdout, re.MULTILINE)
    assert result.stdout.endswith(f"{new} holds what {old} holds, and may be worked on\n")
    assert counts(new) == counts(old)


def test_programs_are_told_the_same(house):
    old, new = house
    document = json.loads(copy("--from", old, "--to", new, "-o", "json").stdout)
    assert (document["source"], document["target"]) == (old, new)
    told = {record["kind"]: record["count"] for record in document["records"]}
    assert (told["tasks"], told["schedules"], len(told)) == (5, 0, 12)
    assert all(re.fullmatch("[0-9a-f]{32}", record["digest"]) for record in document["records"])


def test_a_queue_in_the_settings_is_for_nodes(house):
    """It holds no tasks, so there is nothing to copy: nodes on the new store fill it by themselves."""
    old, new = house
    arguments = ["store", "copy", "--from", old, "--to", new]
    result = CliRunner().invoke(root, arguments, env={"MAINSPRING_QUEUE": "redis://127.0.0.1:9"})
    assert (result.exit_code, result.stderr) == (0, "")


def test_it_refuses_to_overwrite(house):
    old, new = house
    assert copy("--from", old, "--to", new).exit_code == 0
    again = copy("--from", old, "--to", new)
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == "mainspring: the target is not empty: there are tasks in it already\n"
    assert counts(new) == counts(old)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("sqlite:///none.db", "sqlite:///new.db", "--from: there is no file none.db"),
        ("memory:", "sqlite:///new.db", "--from: such a store ends with its process"),
        ("{old}", "memory:", "--to: such a store ends with its process"),
        ("{old}", "{old}", "--to: the same store as --from"),
        ("{old}", "mysql://host/db", "--to: no driver for 'mysql://host/db'"),
        ("{old}", "mysql://me:hush@host/db", "--to: no driver for 'mysql://me:***@host/db'"),
    ],
)
def test_addresses_that_will_not_do(house, tmp_path, monkeypatch, source, target, message):
    monkeypatch.chdir(tmp_path)
    result = copy("--from", source.format(old=house[0]), "--to", target.format(old=house[0]))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"mainspring: {message}")
    assert result.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir() if path.suffix == ".db"} == {"old.db"}


def test_a_store_that_cannot_be_reached_is_named_without_its_password(house):
    result = copy("--from", house[0], "--to", "postgresql://me:hush@127.0.0.1:9/tasks")
    assert result.exit_code == 1
    assert result.stderr.startswith("mainspring: --to: ")
    assert "hush" not in result.stderr


def test_a_server_at_work_is_refused_until_it_is_gone(house, tmp_path):
    old, new = house
    with running(tmp_path, "server", "server", "--store", old, "--listen", "127.0.0.1:0") as server:
        server.url()
        refused = until(lambda: (found := copy("--from", old, "--to", new)).exit_code == 1 and found)
        assert re.match(r"mainspring: the node \S+ is at work on the source: stop it first", refused.stderr)
    assert copy("--from", old, "--to", new).exit_code == 0


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_to_a_server_and_back(house, tmp_path, kind):
    """And the doctor finds nothing amiss, there and here."""
    with addresses.address(kind, tmp_path) as server:
        there = json.loads(copy("--from", house[0], "--to", server, "-o", "json").stdout)
        back = json.loads(copy("--from", server, "--to", house[1], "-o", "json").stdout)
        for url in (server, house[1]):
            result = CliRunner().invoke(root, ["doctor", "--store", url])
            assert result.exit_code == 0, result.output
    assert there["records"] == back["records"]
    assert counts(house[1]) == counts(house[0])


KILLED_HALFWAY = """
import os, signal, sys
from mainspring.cli.root import root
from mainspring.clock import SystemClock
from mainspring.stores import open_store

driver = type(open_store(sys.argv[2], SystemClock()))
load, calls = driver.load, []

async def dying(store, *lines):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return await load(store, *lines)

driver.load = dying
root.main(["store", "copy", "--from", sys.argv[1], "--to", sys.argv[2]])
"""


@pytest.mark.parametrize("kind", addresses.SHARED)
def test_a_copy_that_is_killed_is_begun_anew(tmp_path, kind):
    """SIGKILL in the middle: no node works on what is there, and the next copy comes to a good end."""
    old = filled(f"sqlite:///{tmp_path}/old.db", 30_000)
    with addresses.address(kind, tmp_path) as new:
        killed = subprocess.run([sys.executable, "-c", KILLED_HALFWAY, old, new])
        assert killed.returncode == -signal.SIGKILL
        _, unfinished = counts(new)
        assert unfinished is not None
        server = Process(tmp_path, "server", "server", "--store", new, "--listen", "127.0.0.1:0")
        assert server.popen.wait(180) == 1
        assert "a copy from another store fills it, or broke off while it did" in server.printed()
        # Its term ends by itself: whoever was killed cannot give it back.
        again = until(lambda: (found := copy("--from", old, "--to", new)).exit_code == 0 and found)
        assert " 30000 " in again.stdout
        assert counts(new) == counts(old)


def test_a_hundred_thousand_tasks_need_no_more_memory_than_a_page(tmp_path):
    """The peak of the whole process, interpreter included, by the system's own count: that of its memory, for
    `ru_maxrss` of a child begins with what its parent had."""
    old, new = filled(f"sqlite:///{tmp_path}/old.db", 100_000), f"sqlite:///{tmp_path}/new.db"
    script = (
        "import re, sys; from mainspring.cli.root import root\n"
        "try: root.main(['store', 'copy', '--from', sys.argv[1], '--to', sys.argv[2]])\n"
        "finally: print('peak', re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
    )
    command = [sys.executable, "-c", script, old, new]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"^tasks +100000 ", done.stdout, re.MULTILINE)
    peak = re.search(r"^peak (\d+)$", done.stdout, re.MULTILINE)
    assert peak
    assert int(peak[1]) < 200 * 1024, "kilobytes"
    assert "copy: " in done.stderr
    assert counts(new) == counts(old)
