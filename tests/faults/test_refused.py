"""The server is there and will not have it: read-only, a standby, another password, a database that is gone.
Each error says what it is, and nobody has to restart anything when it is mended."""

import asyncio

import asyncpg
import pytest
from redis.asyncio import Redis

from tests.e2e.processes import Process, until
from tests.faults.load import BACK_WITHIN_S, Diary, working
from tests.faults.proxy import Proxy
from tests.faults.test_outages import worked_through

HBA = "local all node scram-sha-256\nlocal all all trust\n"


@pytest.mark.kinds("postgres")
async def test_a_database_that_is_read_only_for_a_while(kind, server, measured):
    admin = await asyncpg.connect(server.dsn())
    async with worked_through(kind, server) as (_, house, _):
        await admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await admin.execute("SELECT pg_reload_conf()")
        problem = await house.refused("store_unavailable")
        assert problem["status"] == 503
        assert "the server is read-only: a standby" in problem["detail"]
        # What only reads is answered all the while.
        assert (await house.nodes[0].scheduler.stats()).counts
        await admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await admin.execute("SELECT pg_reload_conf()")
        recovery_s = await house.clients.probe()
    await admin.close()
    measured(recovery_s=recovery_s)
    assert recovery_s < BACK_WITHIN_S


@pytest.mark.kinds("redis", "valkey")
async def test_a_primary_that_is_a_replica_for_a_while(kind, server, measured):
    async with worked_through(kind, server) as (_, house, _), Redis.from_url(server.url) as admin:
        # Of nobody: what it has stays as it is.
        await admin.replicaof("127.0.0.1", "1")
        problem = await house.refused("store_unavailable")
        assert problem["status"] == 503
        assert "the server is read-only: READONLY" in problem["detail"]
        assert "script" not in problem["detail"]
        await admin.replicaof("NO", "ONE")
        recovery_s = await house.clients.probe()
    measured(recovery_s=recovery_s)
    assert recovery_s < BACK_WITHIN_S


@pytest.mark.kinds("redis", "valkey")
async def test_a_password_of_redis_that_is_changed(kind, server, measured):
    """Under a running node, which says so and recovers."""
    async with Redis.from_url(server.url) as admin:
        await admin.config_set("requirepass", "secret")
    diary = Diary()
    async with Proxy(kind.socket(server)) as proxy, Redis.from_url(server.url, password="secret") as admin:
        url = kind.url(proxy.port).replace("redis://", "redis://:secret@")
        async with working(url, diary) as house:
            await house.clients.probe()
            await admin.config_set("requirepass", "other")
            proxy.cut_all()
            problem = await house.refused("store_unavailable")
            assert "wrong user or password" in problem["detail"]
            assert "secret" not in problem["detail"]
            await admin.config_set("requirepass", "secret")
            recovery_s = await house.clients.probe()
    measured(recovery_s=recovery_s)
    assert recovery_s < BACK_WITHIN_S


@pytest.fixture
def password_server(start):
    """The role `node` has to show its password; `secret` at first."""
    server = start()
    (server.folder / "data" / "pg_hba.conf").write_text(HBA)

    async def prepare():
        admin = await asyncpg.connect(server.dsn())
        await admin.execute("CREATE ROLE node SUPERUSER LOGIN PASSWORD 'secret'")
        await admin.execute("CREATE DATABASE tasks OWNER node")
        await admin.execute("SELECT pg_reload_conf()")
        await admin.close()

    asyncio.run(prepare())
    return server


def url_of(proxy, password="secret"):
    return f"postgresql://node:{password}@127.0.0.1:{proxy.port}/tasks?sslmode=disable"


END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'node'"


@pytest.mark.kinds("postgres")
async def test_a_password_that_is_changed_under_a_running_node(kind, password_server, measured):
    """It says so as soon as it needs a new connection, without telling the password, and recovers."""
    server, diary = password_server, Diary()
    admin = await asyncpg.connect(server.dsn())
    async with Proxy(kind.socket(server)) as proxy, working(url_of(proxy), diary) as house:
        await house.clients.probe()
        await admin.execute("ALTER ROLE node PASSWORD 'other'")
        await admin.execute(END_ALL)
        problem = await house.refused("store_unavailable")
        assert problem["status"] == 503
        assert "wrong user or password" in problem["detail"]
        assert "secret" not in problem["detail"]
        await admin.execute("ALTER ROLE node PASSWORD 'secret'")
        recovery_s = await house.clients.probe()
    await admin.close()
    measured(recovery_s=recovery_s)
    assert recovery_s < BACK_WITHIN_S


@pytest.mark.kinds("postgres")
async def test_a_database_that_is_gone_for_a_while(kind, password_server, measured):
    """Renamed under a running node, and back."""
    server, diary = password_server, Diary()
    admin = await asyncpg.connect(server.dsn())
    async with Proxy(kind.socket(server)) as proxy, working(url_of(proxy), diary) as house:
        await house.clients.probe()
        while True:
            await admin.execute(END_ALL)
            try:
                await admin.execute("ALTER DATABASE tasks RENAME TO away")
                break
            except asyncpg.ObjectInUseError:
                continue
        problem = await house.refused("store_unavailable")
        assert "no such database" in problem["detail"]
        await admin.execute("ALTER DATABASE away RENAME TO tasks")
        recovery_s = await house.clients.probe()
    await admin.close()
    measured(recovery_s=recovery_s)
    assert recovery_s < BACK_WITHIN_S


@pytest.mark.kinds("postgres")
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://node:wrong@127.0.0.1:{port}/tasks", "wrong user or password"),
        ("postgresql://node:secret@127.0.0.1:{port}/nowhere", "no such database"),
        ("postgresql://node:secret@127.0.0.1:1/tasks", "no server there"),
    ],
)
async def test_a_node_that_cannot_begin_says_why(kind, password_server, tmp_path, url, told):
    """A real process: one line that names the setting and no password, and an exit code."""
    async with Proxy(kind.socket(password_server)) as proxy:
        arguments = ("server", "--listen", "127.0.0.1:0", "--store", url.format(port=proxy.port))
        process = Process(tmp_path, "server", *arguments)
        await asyncio.to_thread(until, lambda: process.popen.poll() is not None)
    (line,) = process.printed().strip().splitlines()
    assert told in line
    assert "--store" in line
    assert "secret" not in line
    assert "wrong@" not in line
    assert process.popen.returncode == 1


@pytest.mark.kinds("postgres")
async def test_a_standby_becomes_the_primary(kind, server, start, measured):
    """The primary dies, and its standby answers in its place: read-only at first, until it is promoted."""
    diary = Diary()
    async with Proxy(kind.socket(server)) as proxy, working(kind.url(proxy.port), diary) as house:
        await house.clients.probe()
        standby = start()
        await asyncio.to_thread(standby.follow, server)
        proxy.lead_to(kind.socket(standby))
        await asyncio.to_thread(server.kill)
        problem = await house.refused("store_unavailable")
        assert "read-only" in problem["detail"]
        admin = await asyncpg.connect(standby.dsn())
        await admin.execute("SELECT pg_promote()")
        recovery_s = await house.clients.probe()
        await admin.close()
    measured(recovery_s=recovery_s)
    assert recovery_s < BACK_WITHIN_S
