"""The doors behind a real server: what only a socket can show."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from mainspring.api.serving import HeadWaits, OneWriteProtocol

CREATE = b"POST /api/v1/tasks HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"


@asynccontextmanager
async def served(n):
    """The port of a server for this node."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        http=OneWriteProtocol,
        app=n.app,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0)
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        listening.close()


async def send(port: int, text: bytes) -> tuple[int, bytes]:
    """The status and the rest of what the server answers before it closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), head


async def total(n) -> int:
    return (await n.http.get("/api/v1/cluster/stats")).json()["total"]


async def test_submit_and_read_over_a_socket(node):
    async with node() as n, served(n) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        answers = await asyncio.gather(*(http.post("/api/v1/tasks", json={"payload": i}) for i in range(50)))
        read = [await http.get(answer.headers["location"]) for answer in answers]
        head = await http.head(answers[0].headers["location"])
    assert {answer.status_code for answer in answers} == {201}
    assert [answer.json()["payload"] for answer in read] == list(range(50))
    assert head.headers["etag"] == read[0].headers["etag"]
    assert head.content == b""


@pytest.mark.parametrize(
    "text",
    [
        CREATE + HOST + JSON + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CREATE + HOST + JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        CREATE + HOST + JSON + b"X: a\rb\r\nContent-Length: 2\r\n\r\n{}",
        CREATE + HOST + JSON + b"Content-Length: -1\r\n\r\n{}",
        b"\x16\x03\x01 not http\r\n\r\n",
        b"BREW /api/v1/tasks HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    ],
)
async def test_ambiguous_requests_are_refused(node, text):
    """Protocol checks D-50 and A-13: what two servers could read differently is 400, a problem document even
    before it is a request, and stores nothing."""
    async with node() as n, served(n) as port:
        status, head = await send(port, text)
        assert (status, await total(n)) == (400, 0)
    assert b"content-type: application/problem+json\r\n" in head
    assert b"connection: close\r\n" in head


async def test_fields_behind_the_body_are_no_header_fields(node):
    """RFC 9110, 6.5.1: whoever looked at the head for us has not seen them."""
    async with node(token="s3cret") as n, served(n) as port:
        head = CREATE + HOST + JSON + b"Transfer-Encoding: chunked\r\n"
        body = b"\r\n2\r\n{}\r\n0\r\n"
        late, _ = await send(port, head + body + b"Authorization: Bearer s3cret\r\n\r\n")
        early, _ = await send(port, head + b"Authorization: Bearer s3cret\r\n" + body + b"Host: b\r\n\r\n")
    assert (late, early) == (401, 201)


@pytest.mark.parametrize("hosts", [b"", HOST + HOST, b"Host: a b\r\n"])
async def test_a_request_names_one_host(node, hosts):
    """Protocol check D-50."""
    async with node() as n, served(n) as port:
        status, _ = await send(port, CREATE + hosts + JSON + b"Content-Length: 2\r\n\r\n{}")
        assert (status, await total(n)) == (400, 0)


async def test_a_body_that_is_announced_too_large(node):
    """413 comes before the body is read; chunks without a length are counted (tests in process)."""
    async with node() as n, served(n) as port:
        status, head = await send(port, CREATE + HOST + JSON + b"Content-Length: 99999999999\r\n\r\n{")
        assert (status, await total(n)) == (413, 0)
    assert b"application/problem+json" in head


async def test_a_worker_that_hangs_up_leaves_no_lease(node):
    """A long claim ends with its connection, and the next task goes to somebody who is there."""
    async with node() as n, served(n) as port:
        body = json.dumps(
            {"worker": "w", "incarnation": "i", "claim_seq": 1, "kinds": ["echo"], "wait": 60}
        ).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        writer.write(b"POST /api/v1/leases/claim HTTP/1.1\r\n" + HOST + JSON + length + body)
        waiters = n.scheduler._claiming._waiters
        while not waiters:
            await asyncio.sleep(0.001)
        writer.close()
        while waiters:
            await asyncio.sleep(0.001)
        task = await n.submit()
        assert (await n.http.get(f"/api/v1/tasks/{task['id']}")).json()["state"] == "ready"


async def test_a_node_that_stops_keeps_nobody_waiting(node):
    """Peer behaviours 118 and 124: who waits for a task, a workflow or work is told at once, leases nothing,
    and may come again; the stop does not wait for those who wait."""
    async with node() as n:
        task = await n.submit(kind="later")
        document = {"tasks": [{"name": "a", "kind": "later"}]}
        workflow = (await n.http.post("/api/v1/workflows", json=document)).json()
        claim = {"worker": "w", "incarnation": "i", "claim_seq": 1, "kinds": ["none"], "wait": 60}
        async with served(n) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            asked = [
                asyncio.ensure_future(http.get(f"/api/v1/tasks/{task['id']}?wait=60")),
                asyncio.ensure_future(http.get(f"/api/v1/workflows/{workflow['id']}?wait=60")),
                asyncio.ensure_future(http.post("/api/v1/leases/claim", json=claim)),
            ]
            while len(n.app._door.waits._open) < len(asked):
                await asyncio.sleep(0.001)
            n.app.close()
            asked.append(asyncio.ensure_future(http.get(f"/api/v1/tasks/{task['id']}?wait=60")))
            answers = await asyncio.gather(*asked)
            read = await http.get(f"/api/v1/tasks/{task['id']}")
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (503, "store_unavailable")
    ] * 4
    assert all("retry-after" in answer.headers for answer in answers)
    assert (read.status_code, read.json()["state"]) == (200, "ready")


class Wire:
    """A transport that keeps each write apart."""

    def __init__(self):
        self.writes = []
        self.get_extra_info = self.is_closing = self.pause_reading = self.resume_reading = lambda *_: None
        self.set_protocol = lambda *_: None

    def write(self, data):
        self.writes.append(data)

    def close(self):
        self.writes.append("closed")


async def test_an_answer_is_one_write():
    """The head waits for the body of its turn; alone, it goes at the turn's end; a close loses nothing."""
    wire, loop = Wire(), asyncio.get_running_loop()
    held = HeadWaits(wire, loop)
    held.write(b"head,")
    held.write(b"body")
    held.write(b"more")
    assert wire.writes == [b"head,body", b"more"]
    await asyncio.sleep(0)
    held.write(b"head alone")
    assert len(wire.writes) == 2
    await asyncio.sleep(0)
    held.write(b"last")
    held.close()
    await asyncio.sleep(0)
    assert wire.writes == [b"head,body", b"more", b"head alone", b"last", "closed"]


async def test_a_head_has_an_end():
    """431 for one that goes on and on; several that come in odd pieces are not one long one."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(app, http=OneWriteProtocol, log_config=None, lifespan="off")
    begin, long = b"GET /livez HTTP/1.1\r\nX: ", b"x" * 16_384
    statuses = []
    for piece in (long, long + b"\r\n\r\n" + begin):
        wire, state = Wire(), ServerState()
        protocol = OneWriteProtocol(config, state, {})
        protocol.connection_made(wire)
        protocol.data_received(begin)
        for _ in range(5):
            protocol.data_received(piece)
        while state.tasks:
            await asyncio.sleep(0)
        statuses.append([head.split(b" ")[1] for head in wire.writes if head != "closed"])
        assert wire.writes.count("closed") == (piece == long)
    assert statuses == [[b"431"], [b"204"] * 5]
