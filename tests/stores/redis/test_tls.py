"""A server behind TLS: calls and hints go over connections that the library has encrypted."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
import uvloop

from mainspring.core.model import Lane, NewTask
from mainspring.ports import Accepted, Exchange, Group
from mainspring.stores.redis import RedisStore
from tests.stores.redis.conftest import new_store

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
LANE = Lane("default", "echo", "default", 5, "")
# More than one piece of TLS, and more than a socket takes at once.
PAYLOAD = b'"' + b"x" * 3_000_000 + b'"'


@contextlib.asynccontextmanager
async def behind_tls(socket: str, authority: trustme.CA) -> AsyncIterator[int]:
    """The port on which a server's socket can be reached by TLS alone."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    passed: set[asyncio.Task[None]] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_unix_connection(socket)
        task = asyncio.current_task()
        assert task is not None
        passed.add(task)
        await asyncio.gather(_pass_on(reader, here), _pass_on(there, writer))

    server = await asyncio.start_server(meet, "localhost", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in passed:
            task.cancel()
        await asyncio.gather(*passed, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()


class Heard(asyncio.Event):
    """Set when another node has told which lane has gained a task."""

    def gained(self, heads: object) -> None:
        self.set()

    def ended(self) -> None:
        pass

    def anything(self) -> None:
        pass


@pytest.mark.parametrize("loop", LOOPS)
def test_a_store_behind_tls(url: str, tmp_path: Path, loop: str):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    factory: Callable[[], asyncio.AbstractEventLoop] = LOOPS[loop]
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(submits_and_hears(urlsplit(url).path, authority, tmp_path / "ca.pem"))


async def submits_and_hears(socket: str, authority: trustme.CA, certificate: Path) -> None:
    async with asyncio.timeout(60), behind_tls(socket, authority) as port:
        address = f"rediss://localhost:{port}/0?namespace=tls{port}&ssl_ca_certs={certificate}"
        one, other = new_store(address), new_store(address)
        await one.open()
        await other.open()
        try:
            await submit(one, "first", b"1")
            await other.board()  # it knows the lane from now on
            heard = Heard()
            other.listen(heard)
            number = 0
            while not heard.is_set():
                number += 1
                await submit(one, f"task-{number}", b"1")
            await submit(one, "large", PAYLOAD)
            (found,) = await other.get(["large"])
            assert found is not None
            assert found.payload == PAYLOAD
        finally:
            await other.close()
            await one.close()


async def submit(store: RedisStore, task: str, payload: bytes) -> None:
    (answer,) = (await store.exchange(Exchange(submits=[Group([NewTask(task, LANE, payload)])]))).submits
    assert isinstance(answer, Accepted)
