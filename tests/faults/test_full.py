"""The store's disk is full: submits are refused with 507, nothing that was acknowledged is lost, and all goes
on by itself when there is room again."""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from mainspring.errors import StoreFull
from tests.e2e.processes import Process, until
from tests.faults.history import look_up
from tests.faults.load import BACK_WITHIN_S, Diary, working
from tests.faults.proxy import Proxy
from tests.faults.test_outages import worked_through
from tests.servers import PostgresServer

MIB = 1024 * 1024
SMALL_DISK = [sys.executable, str(Path(__file__).with_name("small_disk.py"))]
MORE_BALLAST = "INSERT INTO ballast SELECT repeat('x', 2000) FROM generate_series(1, 100)"


class SmallDiskPostgres(PostgresServer):
    """A server that has a tablespace on a disk of 32 MiB."""

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    def prepare(self) -> dict[str, Any]:
        identity = super().prepare()
        self.disk.mkdir()
        self._owner = identity.get("user", os.geteuid()), identity.get("group", os.getegid())
        os.chown(self.disk, *self._owner)
        return identity

    def command(self) -> list[str]:
        return [*SMALL_DISK, str(self.disk), str(32 * MIB), *map(str, self._owner), *super().command()]

    def _spawn(self, command: list[str]) -> Any:
        identity, self._identity = self._identity, {"env": self._identity["env"]}
        try:
            return super()._spawn(command)
        finally:
            self._identity = identity


@pytest.mark.kinds("postgres")
async def test_a_full_disk_of_the_database(kind, measured):
    """The server's own answer to a disk without room (53100), not one that is made up."""
    server = SmallDiskPostgres()
    try:
        admin = await asyncpg.connect(server.dsn())
        await admin.execute(f"CREATE TABLESPACE small LOCATION '{server.disk}'")
        await admin.execute("CREATE DATABASE small TABLESPACE small")
        await admin.close()
        await _fill_and_empty(kind, server, measured)
    finally:
        server.stop()


async def _fill_and_empty(kind, server, measured) -> None:
    diary = Diary()
    admin = await asyncpg.connect(server.dsn("small"))
    await admin.execute("CREATE TABLE ballast (bytes text)")
    async with Proxy(kind.socket(server)) as proxy, working(kind.url(proxy.port, "small"), diary) as house:
        async with house.under_load(6):
            await diary.wait_for(50)
            with suppress(asyncpg.DiskFullError):
                while True:
                    await admin.execute(MORE_BALLAST)
            problem = await house.refused("store_full")
            assert (problem["status"], "no space" in problem["detail"]) == (507, True)
            assert house.clients.errors[StoreFull.__name__]
            # What can be read is read all the while.
            assert (await house.nodes[0].scheduler.stats()).counts
            await admin.execute("DROP TABLE ballast")
            recovery_s = await house.clients.probe()
            await diary.wait_for(50)
        await house.settled()
        clients = house.clients
    await admin.close()
    store = kind.store(kind.direct_url(server, "small"))
    await store.open()
    found = await look_up(store, clients.offered, clients.told, diary.words)
    await store.close()
    measured(recovery_s=recovery_s)
    assert (found.violations, found.lost) == ([], set())
    assert recovery_s < BACK_WITHIN_S


@pytest.mark.kinds("redis", "valkey")
async def test_a_server_that_may_take_no_more_memory(kind, server, measured):
    """`maxmemory` is reached, and nothing may be thrown away: as a full disk."""
    async with worked_through(kind, server) as (_, house, _), Redis.from_url(server.url) as admin:
        await admin.config_set("maxmemory", MIB)
        problem = await house.refused("store_full")
        assert problem["status"] == 507
        assert (await house.nodes[0].scheduler.stats()).counts
        await admin.config_set("maxmemory", 0)
        recovery_s = await house.clients.probe()
    measured(recovery_s=recovery_s)
    assert recovery_s < BACK_WITHIN_S


def test_a_full_disk_of_a_sqlite_file(tmp_path, measured):
    """A process with its file on a disk of 8 MiB: 507 while it is full, and every acknowledged task has run
    when it has room again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    arguments = ("standalone", "--listen", "127.0.0.1:0", "--db", str(disk / "tasks.db"), "--history")
    under = [*SMALL_DISK, str(disk), str(8 * MIB), str(os.geteuid()), str(os.getegid())]
    process = Process(tmp_path, "standalone", *arguments, under=under)
    try:
        api, acknowledged = process.api(), []
        ballast = Path(f"/proc/{process.pid}/root{disk}/ballast")
        ballast.write_bytes(b"x" * 5 * MIB)
        task = {"payload": "x" * 1000}
        while (answer := api.client.post("/api/v1/tasks", json=task)).status_code == 201:
            acknowledged.append(answer.json()["id"])
        assert (answer.status_code, answer.json()["code"]) == (507, "store_full"), answer.text
        assert "no space left" in answer.json()["detail"]
        assert api.get(acknowledged[0])["id"] == acknowledged[0]
        ballast.unlink()
        emptied_s = time.monotonic()
        (proof,) = api.submit([task])
        until(lambda: api.get(proof)["state"] == "succeeded")
        recovery_s = time.monotonic() - emptied_s
        until(lambda: api.states()["succeeded"] == len(acknowledged) + 1)
        assert {record["id"] for record in api.all()} == {*acknowledged, proof}
    finally:
        process.stop()
    measured(acknowledged=len(acknowledged), recovery_s=recovery_s)
    assert recovery_s < BACK_WITHIN_S
