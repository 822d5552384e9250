"""A process of its own on a database file.

python process.py submit FILE COUNT     stores COUNT tasks one by one, prints each id once it is durable
python process.py drain FILE WORKER     claims and settles until nothing is ready, prints each task's id
python process.py hold FILE             keeps the file locked for writing until its standard input ends
"""

import asyncio
import subprocess
import sys
from pathlib import Path

import apsw

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Cause, Change
from mainspring.core.model import Lane, NewTask, State
from mainspring.core.order import Quota
from mainspring.stores.sqlite import SqliteStore
from mainspring.verbs import Answer, Ask, Exchange, Group, Settlement

ROOT = Path(__file__).parents[3]
LANE = Lane("default", "echo", "default", 5)
MINUTE_US = 60_000_000


class Process:
    """The other side: starts a role and reads what it prints."""

    def __init__(self, role: str, path: str, *arguments: object) -> None:
        command = [sys.executable, "-m", "tests.stores.sqlite.process", role, path]
        command += [str(argument) for argument in arguments]
        self._popen = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def line(self) -> str:
        """The next line it prints, without its end; empty when it has ended."""
        assert self._popen.stdout is not None
        return self._popen.stdout.readline().rstrip("\n")

    def lines(self) -> list[str]:
        """All that it prints from here to its end."""
        assert self._popen.stdout is not None
        return self._popen.stdout.read().splitlines()

    def kill(self) -> None:
        self._popen.kill()

    def end(self) -> int:
        """Let it come to its end by itself, if it waits for its input; its exit code."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.close()
        try:
            return self._popen.wait(60)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()
        finally:
            self._popen.stdout.close()


async def submit(path: str, count: str) -> None:
    clock = SystemClock()
    store = SqliteStore(path, clock)
    await store.open()
    for _ in range(int(count)):
        task = NewTask(clock.new_id(), LANE, b"{}")
        await store.submit([Group([task])])
        print(task.id, flush=True)
    await store.close()


async def drain(path: str, worker: str) -> None:
    store = SqliteStore(path, SystemClock())
    await store.open()
    done = Change(State.SUCCEEDED, Cause.SUCCEED, attempt=1)
    lines: list[Settlement] = []
    for seq in range(1, 1_000_000):
        heads = (await store.board()).heads
        quotas = [Quota(head.lane_id, 7) for head in heads]
        ask = Ask(worker, worker, seq, quotas, 7, MINUTE_US)
        answers = await store.exchange(Exchange(settles=lines, claims=[ask]))
        assert all(answer is Answer.OK for answer in answers.settles)
        leases = answers.claims[0].leases
        for lease in leases:
            print(lease.task, flush=True)
        lines = [Settlement(at.task, at.token, at.lane_id, 1, done, done) for at in leases]
        if not heads and not leases:
            break
    await store.close()


def hold(path: str) -> None:
    db = apsw.Connection(path)
    db.set_busy_timeout(30_000)
    db.execute("BEGIN IMMEDIATE")
    print("locked", flush=True)
    sys.stdin.read()
    db.execute("ROLLBACK")


if __name__ == "__main__":
    role, file, *rest = sys.argv[1:]
    if role == "hold":
        hold(file)
    else:
        asyncio.run({"submit": submit, "drain": drain}[role](file, *rest))
