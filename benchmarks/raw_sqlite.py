"""Raw loops over the store's own schema: the same driver, pragmas, migrations and rows of 200 bytes, in one
thread, without a server, a scheduler or an event loop. What anybody would write by hand in an afternoon.

    python -m benchmarks.raw_sqlite
"""

import os
import statistics
import tempfile
import time

import apsw

from benchmarks.mainspring_node import PAYLOAD
from mainspring.clock import SystemClock
from mainspring.stores.sqlite.connection import Database, connect
from mainspring.stores.sqlite.schema import prepare

FILE = "raw.db"
BATCH = 100
LEASE_US = 60_000_000

ADD_LANE = "INSERT INTO lanes VALUES (1, 'default', 'noop', 'default', 5, '')"
SUBMIT = (
    "INSERT INTO tasks (id, state, lane, seq, version, created_at_us, end_us, token, started_at_us,"
    " settled_token, settled_digest, claimant, claim_seq, payload)"
    " VALUES (?1, 3, 1, ?2, ?2, ?3, ?3, ?3, ?3, ?3, 0x7fffffff, 0x7fff, 0x7fff, ?4)"
)
CLAIM = (
    "UPDATE tasks SET state = 4, token = ?2, version = ?2, attempt = attempt + 1, started_at_us = ?2,"
    " end_us = ?3, claimant = 1, claim_seq = 1 WHERE n IN (SELECT n FROM tasks INDEXED BY tasks_ready"
    " WHERE lane = 1 AND state = 3 ORDER BY seq LIMIT ?1) RETURNING id, token, payload"
)
COMPLETE = (
    "UPDATE tasks SET state = 5, end_us = ?1, version = ?1, settled_token = token, settled_digest = 1,"
    " result = ?4 WHERE id = ?2 AND token = ?3 AND state = 4"
)


def now_us() -> int:
    return time.time_ns() // 1000


def opened() -> Database:
    """A new file in the working directory, with the store's own settings and schema."""
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(FILE + suffix):
            os.remove(FILE + suffix)
    db = connect(FILE)
    prepare(db, FILE)
    db.execute(ADD_LANE)
    return db


def submit(count: int) -> float:
    """Tasks stored per second, a batch in each durable commit."""
    db = opened()
    try:
        started = time.perf_counter()
        _fill(db, count)
        return count / (time.perf_counter() - started)
    finally:
        db.close()


def claim_complete(count: int) -> float:
    """Tasks claimed and completed per second: a batch is claimed in one commit, completed in the next."""
    db = opened()
    try:
        _fill(db, count)
        started = time.perf_counter()
        while leases := _claim(db):
            _complete(db, leases)
        assert db.execute("SELECT count(*) FROM tasks WHERE state = 5").get == count
        return count / (time.perf_counter() - started)
    finally:
        db.close()


def commit_latency(count: int) -> dict[str, float]:
    """Seconds for one durable commit of one new task."""
    db, clock = opened(), SystemClock()
    took_s = []
    try:
        for seq in range(count):
            started = time.perf_counter()
            now = now_us()
            db.execute("BEGIN IMMEDIATE")
            db.execute(SUBMIT, (clock.new_id(), seq, now, PAYLOAD))
            db.execute("COMMIT")
            took_s.append(time.perf_counter() - started)
    finally:
        db.close()
    return {"p50": statistics.median(took_s), "p99": statistics.quantiles(took_s, n=100)[98]}


def _fill(db: Database, count: int) -> None:
    new_id = SystemClock().new_id
    for start in range(0, count, BATCH):
        now = now_us()
        db.execute("BEGIN IMMEDIATE")
        db.executemany(SUBMIT, [(new_id(), start + place, now, PAYLOAD) for place in range(BATCH)])
        db.execute("COMMIT")


def _claim(db: Database) -> list[tuple[str, int, bytes]]:
    now = now_us()
    db.execute("BEGIN IMMEDIATE")
    leases = db.execute(CLAIM, (BATCH, now, now + LEASE_US)).fetchall()
    db.execute("COMMIT")
    return leases


def _complete(db: Database, leases: list[tuple[str, int, bytes]]) -> None:
    now = now_us()
    db.execute("BEGIN IMMEDIATE")
    db.executemany(COMPLETE, [(now, task, token, b"null") for task, token, _ in leases])
    db.execute("COMMIT")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mainspring-benchmark-") as directory:
        os.chdir(directory)
        print(f"apsw {apsw.apsw_version()}, SQLite {apsw.sqlite_lib_version()}, batches of {BATCH}")
        print(f"submit            {submit(20_000):10,.0f} tasks/s")
        print(f"claim + complete  {claim_complete(20_000):10,.0f} tasks/s")
        latency = commit_latency(400)
        print(f"one commit        {latency['p50'] * 1e6:10,.0f} us p50, {latency['p99'] * 1e6:,.0f} us p99")


if __name__ == "__main__":
    main()
