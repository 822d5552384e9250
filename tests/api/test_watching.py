"""Watching tasks over HTTP: events as they happen, resumed where they broke off, gone with their reader."""

import asyncio
import json
import logging
from contextlib import aclosing, asynccontextmanager

import httpx
import pytest

from mainspring.api import streaming
from mainspring.config import Settings
from mainspring.errors import StoreUnavailable
from mainspring.node import Node
from tests.api.test_server import served

TASKS = "/api/v1/tasks"
AT_ONCE = {"delay": 0, "jitter": 0}


class Reader:
    """The events of a stream."""

    def __init__(self, reply: httpx.Response) -> None:
        self.reply = reply
        self.comments = 0
        self._lines = reply.aiter_lines()

    async def next(self) -> dict | None:
        """`{"event", "id", "data"}`, or `None` at the end."""
        found: dict = {}
        async for line in self._lines:
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                found[name] = json.loads(value) if name == "data" else value
            elif "event" in found:
                return found
            else:
                found = {}
        return None

    async def rest(self) -> list[dict]:
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


@asynccontextmanager
async def reading(http: httpx.AsyncClient, path: str, **headers: str):
    fields = {
        "Accept": "text/event-stream",
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    async with http.stream("GET", path, headers=fields, timeout=30) as reply:
        yield Reader(reply)


@asynccontextmanager
async def watched(node, **options):
    """A node, and a client of a real server before it."""
    async with (
        node(**options) as n,
        served(n) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        yield n, http


async def append(n, lease, **fields):
    line = {"task": lease["task"], "token": lease["token"], **fields}
    answer = await n.http.post("/api/v1/leases/append", json={"lines": [line]})
    assert answer.json() == {"answers": ["ok"]}


async def log(n, lease, offset, text, stream="stdout"):
    await append(
        n, lease, log=[{"offset": offset, "stream": stream, "text": text, "at_us": 1_700_000_000_000_000}]
    )


def streams_of(n):
    return n.app._door.streams._open


async def gone(n):
    """Returns when nothing is left of any stream: no task, no watcher."""
    while streams_of(n) or n.scheduler.progress.watched:
        await asyncio.sleep(0.001)


# --- states and progress ----------------------------------------------------------------------------


async def test_states_and_progress_come_as_they_happen(node):
    """S1-05: a task is watched from its waiting to its end."""
    async with watched(node) as (n, http):
        task = await n.submit(retry=AT_ONCE)
        async with reading(http, f"{TASKS}/{task['id']}/events") as reader:
            assert reader.reply.headers["content-type"] == "text/event-stream"
            assert reader.reply.headers["cache-control"] == "no-store"
            events = [await reader.next()]
            (lease,) = await n.claim()
            events.append(await reader.next())
            await append(n, lease, progress={"fraction": 0.5, "message": "half"})
            events.append(await reader.next())
            await n.settle(lease, "failed", error={"type": "E", "message": "m"})
            events.append(await reader.next())
            (lease,) = await n.claim()
            events.append(await reader.next())
            await n.settle(lease, "succeeded")
            events += await reader.rest()
        await gone(n)
    assert [(e["event"], e["data"]["state"], e["data"].get("attempt")) for e in events] == [
        ("state", "ready", 0),
        ("state", "running", 1),
        ("progress", "running", 1),
        ("state", "ready", 1),
        ("state", "running", 2),
        ("state", "succeeded", 2),
        ("end", "succeeded", None),
    ]
    assert events[1]["data"]["worker"] == "w1"
    assert events[2]["data"]["progress"] == {"fraction": 0.5, "message": "half"}
    assert events[5]["data"]["finished_at"] is not None
    assert len({event["id"] for event in events[:-1]}) == 6


async def test_a_reader_that_was_cut_off_is_told_only_what_is_new(node):
    """Protocol check E-54."""
    async with watched(node) as (n, http):
        task = await n.submit()
        path = f"{TASKS}/{task['id']}/events"
        async with reading(http, path) as reader:
            first = await reader.next()
        await gone(n)
        async with reading(http, path, Last_Event_ID=first["id"]) as reader:
            (lease,) = await n.claim()
            second = await reader.next()
        await append(n, lease, progress=0.9)
        async with reading(http, path, Last_Event_ID=second["id"]) as reader:
            third = await reader.next()
            await n.settle(lease, "succeeded")
            *_, last, end = await reader.rest()
        async with reading(http, path, Last_Event_ID=last["id"]) as reader:
            assert reader.reply.status_code == 204
        async with reading(http, path, Last_Event_ID=second["id"]) as reader:
            late = await reader.rest()
    assert (second["data"]["state"], third["data"]["progress"]) == ("running", 0.9)
    assert (last["data"]["state"], end["event"]) == ("succeeded", "end")
    assert [event["event"] for event in late] == ["state", "end"]


async def test_events_are_written_as_readers_parse_them(node):
    """Protocol check E-53: UTF-8, one line of data whatever the text holds, and a blank line behind it."""
    text = "a\r\nb\rc\n\ndata: x\n\u2028\u0085\u00e4\U0001f600\0"
    async with watched(node) as (n, http):
        task = await n.submit()
        (lease,) = await n.claim()
        await log(n, lease, 0, text)
        await n.settle(lease, "succeeded")
        reply = await http.get(f"{TASKS}/{task['id']}/logs", headers={"Accept": "text/event-stream"})
    assert reply.headers["content-type"] == "text/event-stream"
    parts = reply.content.decode("utf-8").split("\n\n")
    assert parts[0] == "retry: 1000"
    assert parts[-1] == ""
    told = [dict(line.split(": ", 1) for line in part.split("\n")) for part in parts[1:-1]]
    assert [event["event"] for event in told] == ["log", "end"]
    assert json.loads(told[0]["data"])["text"] == text
    assert "\r" not in reply.content.decode()


@pytest.mark.parametrize("what", ["events", "logs"])
async def test_the_head_of_a_stream(node, what):
    """Protocol check D-40: as GET would begin, and nothing is watched for it; over, as GET would say it."""
    async with watched(node) as (n, http):
        task = await n.submit()
        path, sse = f"{TASKS}/{task['id']}/{what}", {"Accept": "text/event-stream"}
        async with reading(http, path) as reader:
            fields = dict(reader.reply.headers)
        await gone(n)
        head = await http.head(path, headers=sse)
        assert not streams_of(n)
        (lease,) = await n.claim()
        await log(n, lease, 0, "text")
        plain = await http.head(f"{TASKS}/{task['id']}/logs"), await http.get(f"{TASKS}/{task['id']}/logs")
    assert (head.status_code, head.content) == (200, b"")
    assert {**fields, **head.headers} == {**fields, "date": head.headers["date"]}
    assert set(fields) - set(head.headers) <= {"transfer-encoding"}
    assert plain[0].headers["content-length"] == plain[1].headers["content-length"]


async def test_a_deleted_task_ends_its_streams(node):
    async with watched(node) as (n, http):
        task = await n.submit(delay=3600)
        async with (
            reading(http, f"{TASKS}/{task['id']}/events") as events,
            reading(http, f"{TASKS}/{task['id']}/logs") as logs,
        ):
            await events.next()
            await n.http.delete(f"{TASKS}/{task['id']}")
            assert [event["event"] for event in await events.rest()] in (["end"], ["state", "end"])
            (end,) = await logs.rest()
    # It is cancelled first, and the readers may be quick enough to see that.
    assert (end["event"], end["data"]["state"] in (None, "cancelled")) == ("end", True)


# --- logs -------------------------------------------------------------------------------------------


async def test_a_log_is_followed_while_its_task_runs(node):
    """S1-43: a command's progress is seen as it is printed."""
    async with watched(node) as (n, http):
        task = await n.submit()
        async with reading(http, f"{TASKS}/{task['id']}/logs") as reader:
            (lease,) = await n.claim()
            for number in range(3):
                await log(n, lease, number * 5, f"{number}/10\n")
                event = await reader.next()
                assert event["data"] == {
                    "offset": number * 5,
                    "at": "2023-11-14T22:13:20Z",
                    "stream": "stdout",
                    "text": f"{number}/10\n",
                }
            await log(n, lease, 15, "last", "stderr")
            await n.settle(lease, "succeeded")
            last, end = await reader.rest()
        await gone(n)
    assert (last["data"]["stream"], last["data"]["text"], last["id"]) == ("stderr", "last", "19")
    assert end == {"event": "end", "data": {"id": task["id"], "state": "succeeded"}}


async def test_a_log_is_gone_on_with_where_the_reader_was(node):
    """Protocol check E-54: nothing of it is told twice, and nothing is left out in silence."""
    async with watched(node) as (n, http):
        task = await n.submit()
        (lease,) = await n.claim()
        await log(n, lease, 0, "one\n")
        path = f"{TASKS}/{task['id']}/logs"
        async with reading(http, path) as reader:
            first = await reader.next()
        await log(n, lease, 4, "two\n")
        async with reading(http, f"{path}?after=0", Last_Event_ID=first["id"]) as reader:
            second = await reader.next()
        async with reading(http, f"{path}?after=8") as reader:
            await log(n, lease, 8, "three\n")
            third = await reader.next()
        await n.settle(lease, "succeeded")
        async with reading(http, path, Last_Event_ID=third["id"]) as reader:
            assert reader.reply.status_code == 204
        async with reading(http, path) as reader:
            all_of_it = await reader.rest()
    assert [event["data"]["text"] for event in (first, second, third)] == ["one\n", "two\n", "three\n"]
    assert "".join(event["data"].get("text", "") for event in all_of_it) == "one\ntwo\nthree\n"


async def test_a_log_is_read_as_json_and_as_text(node):
    async with node() as n:
        task = await n.submit()
        (lease,) = await n.claim()
        path = f"{TASKS}/{task['id']}/logs"
        empty = (await n.http.get(path)).json()
        await log(n, lease, 0, "wärn\n", "stderr")
        await log(n, lease, 100, "end\n")
        whole = (await n.http.get(path)).json()
        rest = (await n.http.get(path, params={"after": whole["next"]})).json()
        behind = (await n.http.get(path, params={"after": 6})).json()
        text = await n.http.get(path, headers={"Accept": "text/plain"})
        nothing = await n.http.get(path, headers={"Accept": "image/png, application/json;q=0.5"})
    assert empty == {"pieces": [], "left_out": 0, "next": 0}
    assert [(piece["offset"], piece["stream"], piece["text"]) for piece in whole["pieces"]] == [
        (0, "stderr", "wärn\n"),
        (100, "stdout", "end\n"),
    ]
    assert (whole["left_out"], whole["next"]) == (94, 104)
    assert rest == {"pieces": [], "left_out": 0, "next": 104}
    assert ([piece["text"] for piece in behind["pieces"]], behind["left_out"]) == (["end\n"], 94)
    assert text.text == "wärn\n[94 bytes left out]\nend\n"
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert nothing.json() == whole


@pytest.mark.parametrize("what", ["events", "logs"])
async def test_bad_questions(node, what):
    absent = "00000000-0000-7000-8000-000000000000"
    sse = {"Accept": "text/event-stream"}
    async with node() as n:
        task = await n.submit()
        path = f"{TASKS}/{task['id']}/{what}"
        missing = await n.http.get(f"{TASKS}/{absent}/{what}", headers=sse)
        no_id = await n.http.get(f"{TASKS}/nonsense/{what}")
        unknown = await n.http.get(path, params={"tail": 5})
        posted = await n.http.post(path)
        bad = [
            await n.http.get(f"{TASKS}/{task['id']}/logs", params={"after": after})
            for after in ("-1", "x", "1e3", "1" * 16, "")
        ]
        resumed = await n.http.get(f"{TASKS}/{task['id']}/logs", headers={**sse, "Last-Event-ID": "x"})
        assert not n.scheduler.progress.watched
    assert [reply.status_code for reply in (missing, no_id, unknown, posted)] == [404, 404, 400, 405]
    assert {(reply.status_code, reply.json()["field"]) for reply in bad} == {(400, "after")}
    assert (resumed.status_code, resumed.json()["field"]) == (400, "Last-Event-ID")


# --- the life of a stream ---------------------------------------------------------------------------


async def test_a_reader_that_hangs_up_leaves_nothing_behind(node):
    async with watched(node) as (n, http):
        task = await n.submit()
        for path in (f"{TASKS}/{task['id']}/events", f"{TASKS}/{task['id']}/logs"):
            for _ in range(5):
                async with reading(http, path):
                    while not n.scheduler.progress.watched:
                        await asyncio.sleep(0.001)
                await gone(n)


async def test_a_reader_that_reads_nothing_holds_no_more_than_its_pipe(node):
    """Events are made when they are taken: what is not taken is not there."""
    async with watched(node) as (n, http):
        task = await n.submit()
        (lease,) = await n.claim()
        port = http.base_url.port
        head = (
            f"GET {TASKS}/{task['id']}/logs HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode())
        await reader.readuntil(b"\r\n\r\n")
        for number in range(400):
            await log(n, lease, number * 60_000, "x" * 60_000)
        (writing,) = streams_of(n)
        assert not writing.done()
        await n.settle(lease, "succeeded")
        body = b""
        while b"event: end" not in body[-200:]:
            body += await reader.read(1 << 16)
        writer.close()
        await writer.wait_closed()
        await gone(n)
    assert len(body) < 400 * 60_000 / 2, "the store had dropped the rest before it was asked for"


async def test_a_silent_stream_is_kept_alive(node, monkeypatch):
    """Protocol check E-55: by comments, every 15 s."""
    assert streaming.KEEP_ALIVE_S == 15.0
    monkeypatch.setattr(streaming, "KEEP_ALIVE_S", 0.01)
    async with watched(node) as (n, http):
        task = await n.submit()
        async with reading(http, f"{TASKS}/{task['id']}/events") as reader:
            await reader.next()
            coming = asyncio.create_task(reader.next())
            while reader.comments < 3:
                await asyncio.sleep(0.001)
            (lease,) = await n.claim()
            assert (await coming)["data"]["state"] == "running"
            await n.settle(lease, "succeeded")
            await reader.rest()


@pytest.mark.parametrize("error", [StoreUnavailable("gone"), RuntimeError("secret")])
async def test_a_stream_that_fails_ends_without_an_end(node, error, caplog):
    """Protocol check A-14: an error is not told as an event, and no `end` pretends that this was all."""
    async with watched(node) as (n, http):
        task, works = await n.submit(), n.scheduler.progress.events

        async def fails(id):
            async with aclosing(works(id)) as records:
                async for record in records:
                    yield record
                    raise error

        n.scheduler.progress.events = fails
        with caplog.at_level(logging.WARNING):
            async with reading(http, f"{TASKS}/{task['id']}/events") as reader:
                (first,) = await reader.rest()
        n.scheduler.progress.events = works
        async with reading(http, f"{TASKS}/{task['id']}/events", Last_Event_ID=first["id"]) as reader:
            await n.claim()
            again = await reader.next()
    assert (first["event"], again["data"]["state"]) == ("state", "running")
    assert [record.name for record in caplog.records] == ["mainspring.api.streaming"]


async def test_so_many_streams_and_no_more(node, monkeypatch):
    monkeypatch.setattr(streaming, "STREAMS_MOST", 2)
    async with watched(node) as (n, http):
        path = f"{TASKS}/{(await n.submit())['id']}/events"
        async with reading(http, path) as one, reading(http, path) as two:
            await one.next()
            await two.next()
            refused = await n.http.get(path)
            plain = await n.http.get(path.replace("events", "logs"))
        await gone(n)
        async with reading(http, path) as again:
            assert (await again.next())["event"] == "state"
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert "retry-after" in refused.headers
    assert plain.status_code == 200


async def test_a_token_is_asked_for(node):
    async with node(token="secret") as n:
        for what in ("events", "logs"):
            path = f"{TASKS}/00000000-0000-7000-8000-000000000000/{what}"
            assert (await n.http.get(path)).status_code == 401


async def test_a_node_that_stops_ends_its_streams_at_once(caplog):
    """Their readers come again, to whoever is there then; nobody waits for them."""
    async with httpx.AsyncClient() as http:
        async with Node(Settings(store="memory:", listen="127.0.0.1:0")) as node:
            host, port = node.address
            submitted = await http.post(f"http://{host}:{port}{TASKS}", json={})
            path = f"http://{host}:{port}{TASKS}/{submitted.json()['id']}"
            streams = []
            for what in ("events", "logs", "events"):
                stream = reading(http, f"{path}/{what}")
                streams.append((stream, await stream.__aenter__()))
            await streams[0][1].next()
        with caplog.at_level(logging.WARNING):
            for stream, reader in streams:
                assert [event["event"] for event in await reader.rest()] in ([], ["state"])
                await stream.__aexit__(None, None, None)
    assert "timeout graceful shutdown exceeded" not in caplog.text
