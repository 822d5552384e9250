"""The worker's HTTP, against servers that answer in every way a server may."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from mainspring.core.lifecycle import Outcome, Report
from mainspring.errors import InvalidInput, MainspringError, Overloaded, StoreUnavailable, Unauthenticated
from mainspring.ports import Answer, Append, ClaimRequest, Held, Renewal
from mainspring.sdk.connections import Connections
from mainspring.worker.sources import HttpSource

Turn = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers each request by the next of `turns`, the last one for ever. Keeps the requests."""

    def __init__(self, *turns: Turn) -> None:
        self.turns = list(turns)
        self.requests: list[bytes] = []
        self.connections = 0
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0
                )
                self.requests.append(head + await reader.readexactly(size))
                turn = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
                await turn(head, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.set()
            writer.close()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/prefix"


def answering(text: str) -> Turn:
    async def turn(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(text.replace("\n", "\r\n").encode())

    return turn


async def hanging_up(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def silent(head: bytes, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


def body(status: int, text: str, fields: str = "") -> Turn:
    return answering(f"HTTP/1.1 {status} x\nContent-Length: {len(text)}\n{fields}\n{text}")


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Connections]:
    async with server.listening() as url:
        connections = Connections(url, {"Authorization": "Bearer t"})
        try:
            yield connections
        finally:
            await connections.close()


async def test_a_connection_is_kept_and_carries_what_it_must():
    server = Server(body(200, "one"), body(204, ""), body(200, "three"))
    async with connected(server) as connections:
        replies = [
            await connections.call("POST", "/a?b=1", b"{}", 5),
            await connections.call("DELETE", "/a", None, 5),
            await connections.call("POST", "/a", b"", 5),
        ]
    assert [(reply.status, reply.body) for reply in replies] == [(200, b"one"), (204, b""), (200, b"three")]
    assert server.connections == 1
    first = server.requests[0]
    assert first.startswith(b"POST /prefix/a?b=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAuthorization: Bearer t\r\n" in first
    assert first.endswith(b"\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize(
    "answer",
    [
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2;x=y\nhe\n3\nllo\n0\nTrailer: x\n\n",
        "HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\ncontent-length:5\n\nhello",
        "HTTP/1.1 200\nContent-Length: 5\nConnection: Close\n\nhello",
    ],
)
async def test_every_way_to_write_a_body_is_read(answer):
    async with connected(Server(answering(answer))) as connections:
        for _ in range(2):
            assert (await connections.call("GET", "/", None, 5)).body == b"hello"


async def test_a_body_without_a_length_ends_with_the_connection():
    async def turn(head, writer):
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
        writer.close()

    server = Server(turn)
    async with connected(server) as connections:
        for _ in range(2):
            assert (await connections.call("GET", "/", None, 5)).body == b"hello"
    assert server.connections == 2


async def test_a_kept_connection_that_the_server_has_closed_is_replaced():
    """Every call of the protocol may be repeated, so this is nobody's business."""

    async def last(head, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
        writer.close()

    server = Server(last, body(200, "b"))
    async with connected(server) as connections:
        assert (await connections.call("GET", "/", None, 5)).body == b"a"
        assert (await connections.call("GET", "/", None, 5)).body == b"b"
    assert server.connections == 2


@pytest.mark.parametrize(
    "turn",
    [
        hanging_up,
        answering("SSH-2.0-OpenSSH\n\n"),
        answering("HTTP/1.1 abc\n\n"),
        answering("HTTP/1.1 200 OK\nContent-Length: 1e3\n\n"),
        answering("HTTP/1.1 200 OK\nContent-Length: -1\n\n"),
        answering("HTTP/1.1 200 OK\nContent-Length: 99999999999\n\n"),
        answering("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nxyz\n"),
        answering("HTTP/1.1 200 OK\nX: " + "x" * 70_000 + "\n\n"),
    ],
)
async def test_what_is_no_answer_is_a_source_that_does_not_answer(turn):
    async with connected(Server(turn)) as connections:
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await connections.call("GET", "/", None, 5)


async def test_a_silent_server_is_given_up():
    server = Server(silent)
    async with connected(server) as connections:
        with pytest.raises(StoreUnavailable, match=r"within 0\.05 s"):
            await connections.call("GET", "/", None, 0.05)
    assert server.connections == 1


async def test_nobody_listening_is_a_source_that_does_not_answer():
    async with Server(silent).listening() as url:
        pass
    with pytest.raises(StoreUnavailable):
        await Connections(url, {}).call("GET", "/", None, 5)


async def test_a_cancelled_call_hangs_up():
    """So that a server that waits for tasks on the worker's behalf learns that it need not."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        assert await reader.read() == b""
        gone.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        call = asyncio.create_task(Connections(url, {}).call("GET", "/", None, 60))
        await asked.wait()
        call.cancel()
        await gone.wait()
        with pytest.raises(asyncio.CancelledError):
            await call


@pytest.mark.parametrize(
    "url", ["", "localhost:8080", "ftp://host", "http://", "http://host?x=1", "http://host#x", "unix:/sock"]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InvalidInput, match="api_url"):
        Connections(url, {})


def test_a_token_that_no_header_may_carry_is_refused():
    with pytest.raises(InvalidInput, match="token"):
        HttpSource("http://localhost:1", "a\r\nX: b")


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (401, '{"code":"unauthenticated","detail":"who?"}', Unauthenticated),
        (503, '{"code":"overloaded","detail":"later","retry_after":3}', Overloaded),
        (502, "<html>Bad gateway</html>", StoreUnavailable),
        (400, "<html>Bad request, says a proxy</html>", StoreUnavailable),
        (400, '{"code":"invalid_input","field":"kinds","detail":"kinds: no"}', InvalidInput),
    ],
)
async def test_a_refusal_is_raised_as_what_it_says(status, text, error):
    async with Server(body(status, text)).listening() as url:
        source = HttpSource(url)
        with pytest.raises(error):
            await source.claim(ClaimRequest("w", "w-1", 1, ("echo",)))
        await source.close()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"answers":["ok","ok"]}', '{"answers":["fine"]}', '{"leases":1}']
)
async def test_an_answer_that_makes_no_sense_is_a_source_that_does_not_answer(text):
    """Some other service at the address: nothing it says may be taken for the end of a lease."""
    async with Server(body(200, text)).listening() as url:
        source = HttpSource(url)
        calls = [
            source.settle([Report("t", 1, Outcome.SUCCEEDED)]),
            source.renew(Renewal("w-1", 1, [Held("t", 1)], 1)),
            source.append([Append("t", 1, b"1")]),
            source.claim(ClaimRequest("w", "w-1", 1, ("echo",))),
        ]
        for call in calls:
            with pytest.raises(MainspringError, match="not as a Mainspring server"):
                await call
        await source.close()


async def test_answers_come_in_the_order_of_the_lines():
    async with Server(body(200, '{"answers":["lost","cancel"]}')).listening() as url:
        source = HttpSource(url)
        answers = await source.renew(Renewal("w-1", 1, [Held("a", 1), Held("b", 1)], 1))
        await source.close()
    assert list(answers) == [Answer.LOST, Answer.CANCEL]
