"""Opening: who may come in, what the server must be set to, and what its settings promise."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme
from redis.asyncio import Redis

from mainspring.clock import SystemClock
from mainspring.core.model import Lane, NewTask
from mainspring.core.order import Quota
from mainspring.errors import StoreError, StoreTooNew, StoreUnavailable
from mainspring.ports import Answer, Ask, Exchange, Group, Held, Renewal
from mainspring.stores.redis import RedisStore, dialling
from mainspring.stores.redis.address import parse_address
from tests.stores.redis.conftest import new_store
from tests.stores.topologies import free_port

CLOCK = SystemClock()
# Part of all scripts: with another text of it they are those of another version.
OLDER_CLOCK = """
local function now_us()
    local told = redis.call('TIME')
    return told[1] * 1000000 + told[2]
end
"""


async def paused(store):
    return dict((await store.board()).paused)


@asynccontextmanager
async def opened(url, older=False, **options):
    store = RedisStore(url, CLOCK, server_clock=OLDER_CLOCK) if older else new_store(url, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def test_namespaces_do_not_meet(url):
    async with opened(url) as one, opened(f"{url}b") as other:
        await one.set_queue("mail", "alice")
        assert (await paused(one), await paused(other)) == ({"mail": "alice"}, {})


async def test_numbered_databases_do_not_meet(url):
    async with opened(f"{url}&db=3") as one, opened(url) as other:
        await one.set_queue("mail", "alice")
        assert (await paused(one), await paused(other)) == ({"mail": "alice"}, {})


async def test_a_password(new_server):
    """S1-20: by the password alone, as a user of the server's, and not without."""
    server = new_server("--requirepass", "s3cret", "--user", "shop", "on", ">sh0p", "~*", "&*", "+@all")
    async with opened(f"unix://:s3cret@{server.socket}") as store:
        await store.set_queue("mail", "alice")
    async with opened(f"unix://shop:sh0p@{server.socket}") as store:
        assert await paused(store) == {"mail": "alice"}
    for url in (f"unix://:wr0ng@{server.socket}", f"unix://shop:wr0ng@{server.socket}", server.url):
        with pytest.raises(StoreUnavailable, match=r"(?i)password|auth") as raised:
            await new_store(url).open()
        assert "wr0ng" not in str(raised.value)


async def test_a_server_that_has_gone_without_a_word_is_noticed(new_server):
    """A host that lost its power, a cut cable: hints would never be heard again."""
    port = free_port()
    new_server("--port", str(port), "--bind", "127.0.0.1")
    client = dialling.client_of(parse_address(f"redis://127.0.0.1:{port}"))
    connection = client.connection_pool.make_connection()
    await connection.connect()
    wire = connection._writer.get_extra_info("socket")
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert [wire.getsockopt(socket.IPPROTO_TCP, name) for name in names] == [6, 3, 3, 15_000]
    await connection.disconnect()
    await dialling.hang_up(client)


async def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(StoreUnavailable, match=r"nowhere: no server there"):
        await new_store(f"unix://{tmp_path}/nowhere").open()
    with pytest.raises(StoreUnavailable, match=r"redis://127.0.0.1:\d+: no server there"):
        await new_store(f"redis://127.0.0.1:{free_port()}").open()


async def test_sentinels_and_clusters_that_are_not_there(new_server):
    """Each in one line that says what is wrong, without the library's own objects."""
    port = free_port()
    new_server("--port", str(port), "--bind", "127.0.0.1")
    nobody = free_port()
    for url, says in (
        (f"redis+sentinel://127.0.0.1:{nobody}/tasks", "no sentinel names a primary of 'tasks': network "),
        (
            f"redis+cluster://127.0.0.1:{nobody}",
            f"no server there: Error 111 connecting to 127.0.0.1:{nobody}",
        ),
        (f"redis+cluster://127.0.0.1:{port}", "this server is of no cluster: name it by redis://"),
    ):
        with pytest.raises(StoreUnavailable) as raised:
            await new_store(url).open()
        assert str(raised.value).startswith(f"{url}: {says}")
        assert "<" not in str(raised.value)


async def test_a_database_that_is_not_there(url):
    with pytest.raises(StoreUnavailable, match="no such database"):
        await new_store(f"{url}&db=99").open()


async def test_a_closed_store(url):
    store = new_store(url)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.stats()
    async with opened(url) as store:
        pass
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.stats()
    await store.open()
    assert dict((await store.stats()).counts) == {}
    await store.close()


# --- the server's settings --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "durability"),
    [
        (("--appendonly", "yes", "--appendfsync", "always"), "A"),
        (("--appendonly", "yes", "--appendfsync", "everysec"), "B"),
        (("--appendonly", "yes", "--appendfsync", "no"), "C"),
        (("--appendonly", "no", "--save", "60 1"), "C"),
    ],
)
async def test_settings_say_what_survives_a_crash(new_server, options, durability, caplog):
    with caplog.at_level("INFO", "mainspring.stores.redis"):
        async with opened(new_server(*options).url) as store:
            assert store.features.durability == durability
    assert f"durability class {durability}" in caplog.text


async def test_a_server_that_does_not_tell_its_settings(new_server, caplog):
    """As those of most providers."""
    server = new_server("--rename-command", "CONFIG", "")
    with caplog.at_level("INFO", "mainspring.stores.redis"):
        async with opened(server.url) as store:
            assert store.features.durability == "C"
    assert "appendfsync is not told" in caplog.text


async def test_a_server_that_throws_data_away(new_server):
    server = new_server("--maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreError, match=r"maxmemory-policy is allkeys-lru.*noeviction"):
        await new_store(server.url).open()
    async with opened(server.url, any_policy=True) as store:
        assert await paused(store) == {}


async def test_a_server_that_is_too_old(url, monkeypatch):
    async def old(node):
        return {"redis_version": "5.0.7", "maxmemory_policy": "noeviction"}

    monkeypatch.setattr(dialling, "_information", old)
    with pytest.raises(StoreError, match=r"Redis 5\.0\.7 is too old; accepted: Redis 6\.2"):
        await new_store(url).open()


async def test_data_of_a_newer_program(url):
    async with opened(url) as store:
        await store.set_queue("mail", "alice")
    socket, _, namespace = url.removeprefix("unix://").partition("?namespace=")
    async with Redis(unix_socket_path=socket) as admin:
        assert await admin.hget(f"{{{namespace}}}:meta", "format") == b"1"
        await admin.hset(f"{{{namespace}}}:meta", "format", 2)
    with pytest.raises(StoreTooNew, match="format 2"):
        await new_store(url).open()


async def test_nodes_of_two_versions_side_by_side(url):
    """Each brings its own scripts, called by what they are; both keep one format of the data."""
    async with opened(url) as new, opened(url, older=True) as old:
        socket, _, _ = url.removeprefix("unix://").partition("?namespace=")
        async with Redis(unix_socket_path=socket) as admin:
            await admin.script_flush()
        for number, (one, other) in enumerate([(new, old), (old, new)] * 2, 1):
            task = NewTask(CLOCK.new_id(), Lane("default", "echo", "default", 5), b"1")
            exchanged = await one.exchange(Exchange(submits=[Group([task])]))
            (head,) = exchanged.ready
            ask = Ask("w", f"i{number}", 1, [Quota(head.lane_id, 1)], 1, 15_000_000)
            (claimed,) = (await other.exchange(Exchange(claims=[ask]))).claims
            (lease,) = claimed.leases
            assert lease.task == task.id
            renewal = Renewal(f"i{number}", 1, [Held(lease.task, lease.token)], 15_000_000)
            assert await one.renew([renewal]) == [[Answer.OK]]


# --- TLS --------------------------------------------------------------------------------------------


@asynccontextmanager
async def under_tls(server, context) -> AsyncIterator[int]:
    """The server behind a port that speaks TLS: those of the wheels know none."""
    port, talks = free_port(), set()

    async def pump(source, sink):
        try:
            while some := await source.read(65536):
                sink.write(some)
                await sink.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            sink.close()

    async def carry(reader, writer):
        there, back = await asyncio.open_unix_connection(str(server.socket))
        await asyncio.gather(pump(reader, back), pump(there, writer))

    def connected(reader, writer):
        talk = asyncio.ensure_future(carry(reader, writer))
        talks.add(talk)
        talk.add_done_callback(talks.discard)

    listening = await asyncio.start_server(connected, "127.0.0.1", port, ssl=context)
    try:
        yield port
    finally:
        listening.close()
        for talk in list(talks):
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
async def test_a_file_of_tls_that_is_not_there(name):
    """Nobody looks for a server that is down when a path is misspelt."""
    with pytest.raises(StoreUnavailable, match=rf"{name} names no file: '/nowhere.pem'"):
        await new_store(f"rediss://localhost:{free_port()}?{name}=/nowhere.pem").open()


async def test_tls(new_server, tmp_path):
    """The server's certificate is checked, and the client shows its own where the server wants one."""
    authority, stranger = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    mine = authority.issue_cert("client@example.org")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "mine.pem")
    own = f"ssl_certfile={tmp_path}/mine.pem&ssl_keyfile={tmp_path}/mine.pem"
    async with under_tls(new_server(), context) as port:
        async with opened(f"rediss://localhost:{port}?ssl_ca_certs={tmp_path}/ca.pem&{own}") as store:
            await store.set_queue("mail", "alice")
            assert await paused(store) == {"mail": "alice"}
        with pytest.raises(StoreUnavailable, match=r"no connection with these TLS parameters: .*certificate"):
            await new_store(f"rediss://localhost:{port}?ssl_ca_certs={tmp_path}/stranger.pem&{own}").open()
        with pytest.raises(StoreUnavailable):
            await new_store(f"rediss://localhost:{port}?ssl_ca_certs={tmp_path}/ca.pem").open()
        with pytest.raises(StoreUnavailable):
            await new_store(f"redis://localhost:{port}").open()
