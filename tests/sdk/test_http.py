"""An application and its server, when what lies between them does not behave."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import pytest

from mainspring import Mainspring
from mainspring.config import load
from mainspring.errors import (
    Forbidden,
    Gone,
    NotFound,
    StoreUnavailable,
    Unauthenticated,
)
from mainspring.node import Node
from mainspring.wire.problems import IdTaken
from tests.sdk.jobs import Jobs

PROBLEM = b'{"type":"/problems/%b","code":"%b","title":"","status":%d,"detail":"told so","retry_after":1}'


class Between:
    """What carries requests to a server. `fates` of the next requests: `lose` the answer, `drop` the request,
    or `say` another answer; when there are none left, everything is delivered."""

    def __init__(self, port: int) -> None:
        self.fates: list[tuple[str, bytes]] = []
        self.requests: list[bytes] = []
        self._port = port

    def answer(self, status: int, body: bytes) -> None:
        head = b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        self.fates.append(("say", head + body))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                request = await _message(reader)
                self.requests.append(request)
                fate, answer = self.fates.pop(0) if self.fates else ("deliver", b"")
                if fate in ("deliver", "lose"):
                    answer = await self._asked(request)
                if fate in ("drop", "lose"):
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()

    async def _asked(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(request)
        answer = await _message(reader)
        writer.close()
        await writer.wait_closed()
        return answer


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    size = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            size = int(line.partition(b":")[2])
    return head + await reader.readexactly(size)


def address(host: str, port: int) -> str:
    return f"http://{host}:{port}"


class Bench:
    """An application, what is between it and its server, and the server's own scheduler."""

    def __init__(self, between: Between, node: Node, url: str, timeout: float) -> None:
        self.between = between
        self.scheduler = node.scheduler
        self.direct = address(*node.address)
        self.jobs = Jobs(url, timeout=timeout)
        self.app = self.jobs.app

    async def stored(self) -> int:
        return sum((await self.scheduler.stats()).counts.values())


@contextlib.asynccontextmanager
async def bench(timeout: float = 20.0, **settings: str) -> AsyncIterator[Bench]:
    settings = {"store": "memory:", "listen": "127.0.0.1:0", **settings}
    async with Node(load(settings, environment={})) as node:
        between = Between(node.address[1])
        server = await asyncio.start_server(between.serve, "127.0.0.1", 0)
        async with server:
            bench = Bench(between, node, address(*server.sockets[0].getsockname()), timeout)
            async with bench.app:
                yield bench


# --- answers that do not come -----------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["lose", "drop"])
async def test_a_submit_without_an_answer_is_repeated_and_never_doubled(fate):
    async with bench() as b:
        b.between.fates = [(fate, b"")] * 2
        handle = await b.jobs.add.submit.aio(1)
        assert await b.stored() == 1
        assert await handle.status.aio() == "ready"
        assert len(b.between.requests) > 2


@pytest.mark.parametrize("fate", ["lose", "drop"])
async def test_a_batch_without_an_answer_is_repeated_and_never_doubled(fate):
    async with bench() as b:
        b.between.fates = [(fate, b"")]
        one = b.jobs.add.bind(1)
        child = b.jobs.add.with_options(depends_on=[one]).bind(2)
        handles = await b.app.submit_many.aio([child, one])
        assert await b.stored() == 2
        assert (await handles[0].refresh.aio()).depends_on == (handles[1].id,)


async def test_a_lost_answer_under_a_unique_rule_names_the_task_that_was_found():
    """The earlier task, and the one that was stored beside it, however often it is asked."""
    async with bench() as b:
        unique = b.jobs.add.with_options(unique=True)
        first = await unique.submit.aio(1)
        b.between.fates = [("lose", b"")] * 2
        assert await unique.submit.aio(1) == first
        b.between.fates = [("lose", b"")] * 2
        found, made = await b.app.submit_many.aio([unique.bind(1), unique.bind(2)])
        assert found == first
        assert await made.status.aio() == "ready"
        assert await b.stored() == 2


async def test_a_lost_answer_under_an_idempotency_key():
    async with bench() as b:
        keyed = b.jobs.add.with_options(idempotency_key="k")
        b.between.fates = [("lose", b"")]
        assert await keyed.submit.aio(1) == await keyed.submit.aio(1)
        assert await b.stored() == 1


async def test_a_cancel_without_an_answer_is_repeated():
    async with bench() as b:
        handle = await b.jobs.add.submit.aio(1)
        b.between.fates = [("lose", b"")]
        assert await handle.cancel.aio() is True
        assert await handle.status.aio() == "cancelled"


async def test_a_wait_outlives_connections_that_break():
    async with bench() as b:
        handle = await b.jobs.double.submit.aio(1)
        b.between.fates = [("drop", b"")] * 3
        waiting = asyncio.create_task(handle.result.aio())
        while len(b.between.requests) < 5:
            await asyncio.sleep(0.001)
        async with Jobs(b.direct).app.worker():
            assert await waiting == 2


async def test_an_id_of_somebody_else_does_not_pass_for_ones_own(monkeypatch):
    """Ids are random. Should two programs ever mint the same one, the second is told."""
    async with bench() as b:
        handle = await b.jobs.add.submit.aio(1)
        monkeypatch.setattr(b.app.life.opening().clock, "new_id", lambda: handle.id)
        with pytest.raises(IdTaken):
            await b.jobs.add.submit.aio(2)
        assert (await handle.refresh.aio()).payload == {"left": 1}


async def test_a_task_that_was_stored_and_deleted_before_its_answer_came(monkeypatch):
    async with bench() as b:
        handle = await b.jobs.add.submit.aio(1)
        monkeypatch.setattr(b.app.life.opening().clock, "new_id", lambda: handle.id)
        b.between.answer(409, PROBLEM % (b"id_taken", b"id_taken", 409))
        await b.scheduler.delete(handle.id)
        with pytest.raises(Gone, match="has been deleted"):
            await b.jobs.add.submit.aio(1)


# --- patience ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, PROBLEM % (b"store_unavailable", b"store_unavailable", 503)),
        (503, PROBLEM % (b"overloaded", b"overloaded", 503)),
        (502, b"<html>Bad Gateway</html>"),
        (404, b"<html>Not here</html>"),
        (200, b"<html>Welcome</html>"),
        (200, b"{}"),
        (200, b'{"id": 7}'),
    ],
)
async def test_a_server_that_cannot_answer_now_is_asked_again(status, body):
    """A proxy's own pages are no word of the server."""
    async with bench() as b:
        b.between.answer(status, body)
        asked = b.jobs.add.submit.aio(1)
        if status == 200:
            # Nobody can say what it means: it is not taken for a server, nor hammered.
            with pytest.raises(StoreUnavailable, match="not as a Mainspring server"):
                await asked
        else:
            assert await (await asked).status.aio() == "ready"


async def test_patience_has_an_end():
    async with bench(timeout=0.2) as b:
        b.between.fates = [("drop", b"")] * 1000
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await b.jobs.add.submit.aio(1)
        assert await b.stored() == 0


async def test_a_result_is_not_waited_for_beyond_its_time_for_a_server_that_is_gone():
    async with bench() as b:
        handle = await b.jobs.add.submit.aio(1)
        b.between.fates = [("drop", b"")] * 1000
        with pytest.raises(TimeoutError):
            await handle.result.aio(timeout=0.05)


async def test_what_the_server_refuses_is_not_asked_again():
    async with bench() as b:
        b.between.answer(403, PROBLEM % (b"forbidden", b"forbidden", 403))
        with pytest.raises(Forbidden, match="told so"):
            await b.jobs.add.submit.aio(1)
        assert len(b.between.requests) == 1


# --- who asks ---------------------------------------------------------------------------------------


async def test_a_token_is_shown(monkeypatch):
    async with bench(token="s3cret") as b:
        with pytest.raises(Unauthenticated):
            await b.jobs.add.submit.aio(1)
        async with Mainspring(b.app.url, token="s3cret") as app:
            assert await (await app.submit.aio("echo")).status.aio() == "ready"
        monkeypatch.setenv("MAINSPRING_TOKEN", "s3cret")
        jobs = Jobs(b.direct)
        async with jobs.app, jobs.app.worker():
            assert await (await jobs.double.submit.aio(2)) == 4


async def test_a_worker_whose_token_is_wrong_says_so_when_it_is_left():
    async with bench(token="s3cret") as b:
        worker = Mainspring(b.direct).worker()
        ended = asyncio.Event()
        worker.on_end = ended.set
        await worker.__aenter__()
        await ended.wait()
        with pytest.raises(Unauthenticated):
            await worker.__aexit__()


async def test_an_address_may_have_a_path():
    async with bench() as b:
        host = urlsplit(b.app.url).netloc
        async with Mainspring(f"http://{host}/nothing/here", timeout=2) as app:
            with pytest.raises((StoreUnavailable, NotFound)):
                await app.submit.aio("echo")
        assert b.between.requests[-1].startswith(b"POST /nothing/here/api/v1/tasks ")


async def test_connections_are_kept():
    opened: list[object] = []
    async with bench() as b:
        serve: Callable = b.between.serve
        server = await asyncio.start_server(
            lambda reader, writer: (opened.append(writer), asyncio.ensure_future(serve(reader, writer))),
            "127.0.0.1",
            0,
        )
        async with server, Mainspring(address(*server.sockets[0].getsockname())) as app:
            for _ in range(5):
                await app.submit.aio("echo")
        assert len(opened) == 1
