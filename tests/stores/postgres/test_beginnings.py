"""What keeps a node from starting is told in one line, which names the setting and no password."""

import asyncio
import os
import socket
import subprocess

import asyncpg
import pytest
import trustme
from click.testing import CliRunner

from mainspring.cli.root import root
from mainspring.clock import SystemClock
from mainspring.errors import StoreError
from mainspring.stores import open_store
from mainspring.stores.postgres import PostgresStore, dialling
from tests.servers import PostgresServer

SECRET = "s3cret"


class TcpServer(PostgresServer):
    """Listens on loopback, too, with passwords and a certificate of its own."""

    def prepare(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        identity = super().prepare()
        data = self.folder / "data"
        (data / "pg_hba.conf").write_text(
            "local all postgres trust\nhost all alice,bob,taskuser 127.0.0.1/32 scram-sha-256\n"
        )
        self.authority = trustme.CA()
        certificate = self.authority.issue_cert("127.0.0.1", "localhost")
        certificate.private_key_pem.write_to_path(str(data / "server.key"))
        certificate.cert_chain_pems[0].write_to_path(str(data / "server.crt"))
        (data / "server.key").chmod(0o600)
        if "user" in identity:
            for name in ("server.key", "server.crt", "pg_hba.conf"):
                os.chown(data / name, identity["user"], identity["group"])
        return identity

    def command(self):
        return [*super().command(), "-c", f"port={self.port}", "-c", "listen_addresses=127.0.0.1"]

    def is_ready(self):
        asked = [self._bin("pg_isready"), "-q", "-h", self.folder, "-p", str(self.port)]
        return subprocess.run(asked, cwd=self.folder, **self._identity).returncode == 0

    def ask(self, *statements):
        async def ask():
            connection = await asyncpg.connect(host=str(self.folder), port=self.port, user="postgres")
            try:
                for statement in statements:
                    answer = await connection.fetchval(statement)
                return answer
            finally:
                await connection.close()

        return asyncio.run(ask())

    def set(self, name, value):
        """New connections have it from now on."""
        self.ask(f"ALTER SYSTEM SET {name} = '{value}'", "SELECT pg_reload_conf()")
        while self.ask(f"SHOW {name}") != value:
            pass

    def url(self, user="alice", password=SECRET, database="shop", query=""):
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}{query}"


@pytest.fixture(scope="module")
def server():
    reason = PostgresServer.missing()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    elif reason:
        pytest.skip(reason)
    started = TcpServer()
    try:
        started.ask(
            f"CREATE ROLE alice LOGIN PASSWORD '{SECRET}'",
            f"CREATE ROLE bob LOGIN PASSWORD '{SECRET}'",
            "CREATE DATABASE shop OWNER alice",
        )
        yield started
    finally:
        started.stop()


def complaint(url, *arguments, env=None):
    """The one line with which a server ends that cannot start."""
    flags = ["server", *arguments, "--listen", "127.0.0.1:0"] + ([] if env else ["--store", url])
    result = CliRunner().invoke(root, flags, env=env)
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("mainspring:")]
    assert SECRET not in result.stderr
    return line


def opened(url):
    async def look():
        store = open_store(url, SystemClock())
        await store.open()
        try:
            return await store.stats()
        finally:
            await store.close()

    return asyncio.run(look())


def test_the_user_and_the_database_of_the_usual_container(server):
    """S3-11: the database's owner, who need not be a superuser, starts with nothing prepared."""
    server.ask("CREATE ROLE taskuser LOGIN PASSWORD 'password'", "CREATE DATABASE taskdb OWNER taskuser")
    assert opened(f"postgres://taskuser:password@localhost:{server.port}/taskdb").counts == {}


async def test_both_ends_notice_that_the_other_has_gone_without_a_word(server):
    """A host that lost its power, a cut cable: hints would never be heard again, and a server would keep the
    connections of clients that are long gone."""
    store = PostgresStore(server.url())
    await store.open()
    beside = await store._db.connect()

    async def options(connection):
        told = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
        of_server = [await connection.fetchval(f"SHOW {name}") for name in told]
        wire = connection._transport.get_extra_info("socket")
        assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        return of_server, [wire.getsockopt(socket.IPPROTO_TCP, name) for name in names]

    expected = ["6", "3", "3", "15000"], [6, 3, 3, 15_000]
    assert await store._db.read(lambda tx: options(tx._connection)) == expected
    assert await options(beside) == expected
    await beside.close()
    await store.close()


def test_a_wrong_password(server):
    for wrong in (server.url(password="wr0ng"), server.url(user="nobody")):
        told = complaint(wrong)
        assert told.startswith(
            f"mainspring: --store: postgresql://{wrong.split('//')[1].partition(':')[0]}:***@"
        )
        assert "wrong user or password: " in told
        assert "wr0ng" not in told


def test_the_setting_is_named_as_it_was_given(server):
    told = complaint("", env={"DATABASE_URL": server.url(password="wr0ng")})
    assert told.startswith("mainspring: DATABASE_URL: postgresql://alice:***@127.0.0.1:")


def test_a_missing_database(server):
    assert 'no such database: database "nowhere" does not exist' in complaint(server.url(database="nowhere"))


def test_no_server(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens on it
        told = complaint(f"postgresql://u:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/db")
        assert "no server there: " in told
    assert "no server there: " in complaint(f"postgresql://u:{SECRET}@/db?host={tmp_path}")


def test_a_server_that_does_not_answer():
    """connect_timeout counts, for each host."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        told = complaint(f"postgresql://u:{SECRET}@{host},{host}/db?connect_timeout=2&sslmode=disable")
        assert told.count("127.0.0.1: no server answers within 2 s (connect_timeout)") == 2


def test_the_first_of_several_servers_that_takes_connections(server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{taken.getsockname()[1]}"
        url = server.url().replace("@", f"@{dead},")
        assert opened(url).now_us > 0


def test_tls(server, tmp_path):
    """S1-20: sslmode, up to certificates that are checked."""
    server.authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    ca, other = f"&sslrootcert={tmp_path}/ca.pem", f"&sslrootcert={tmp_path}/other.pem"
    assert "no connection under this sslmode: " in complaint(server.url(query="?sslmode=require"))
    for mode in ("disable", "allow", "prefer"):
        assert opened(server.url(query=f"?sslmode={mode}")).now_us > 0
    server.set("ssl", "on")
    try:
        for query in (
            "sslmode=require",
            f"sslmode=verify-ca{ca}",
            f"sslmode=verify-full{ca}",
            "sslmode=disable",
        ):
            assert opened(server.url(query=f"?{query}")).now_us > 0
        told = complaint(server.url(query=f"?sslmode=verify-full{other}"))
        assert "no connection with these TLS parameters: " in told
        told = complaint(server.url(query="?sslmode=verify-full&sslrootcert=/nowhere.pem"))
        assert "sslrootcert names no file: '/nowhere.pem'" in told
    finally:
        server.set("ssl", "off")


def test_a_read_only_server(server):
    """Before a node of several begins to fail at every call."""
    assert opened(server.url()).now_us > 0
    server.ask("ALTER DATABASE shop SET default_transaction_read_only = on")
    try:
        assert "the server is read-only: " in complaint(server.url())
        several = server.url().replace("@", f"@127.0.0.1:{server.port},")
        assert "the server is read-only: " in complaint(several)
    finally:
        server.ask("ALTER DATABASE shop RESET default_transaction_read_only")


def test_too_many_connections(server):
    server.ask("ALTER ROLE alice CONNECTION LIMIT 0")
    try:
        told = complaint(server.url())
        assert "too many connections" in told
        assert "lower pg_max_conns, or raise the server's max_connections" in told
    finally:
        server.ask("ALTER ROLE alice CONNECTION LIMIT -1")


def test_a_user_who_may_not_make_the_schema(server):
    server.ask("CREATE DATABASE guarded")
    told = complaint(server.url(user="bob", database="guarded"))
    assert "permission denied for database guarded" in told
    assert "mainspring migrate sql" in told
    by_hand = CliRunner().invoke(
        root, ["migrate", "up", "--store", server.url(user="bob", database="guarded")]
    )
    assert (by_hand.exit_code, by_hand.stderr.strip()) == (1, told)


def test_a_server_that_is_too_old(server, monkeypatch):
    """S1-13: 12 is the oldest."""
    assert dialling.OLDEST == 12
    monkeypatch.setattr(dialling, "OLDEST", 99)
    told = complaint(server.url())
    assert "is too old; accepted: 99 or later" in told
    with pytest.raises(StoreError, match="too old"):
        opened(server.url())
