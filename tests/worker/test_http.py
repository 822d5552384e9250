"""The `http` kind against real servers on loopback: what is sent, what is kept, and where it never goes."""

import asyncio
import contextlib
import os
import socket
import ssl
import threading

import msgspec
import pytest
import trustme

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome
from mainspring.sdk import Handler
from mainspring.worker import InProcessEngine
from mainspring.worker.http_call import HttpCalls, retry_after_s
from mainspring.worker.http_guard import resolve
from mainspring.worker.kinds import handlers_of
from mainspring.worker.reach import Reach
from tests.worker.scripted import ScriptedSource, working
from tests.worker.web import answer, endless, silent, web

LOOPBACK = ("127.0.0.1",)  # and no other: the rest of 127.0.0.0/8 stands for what is private
ELSEWHERE = "127.0.0.2"


class Names:
    """A resolver that says what it is told, and nothing else. The names are in no real one."""

    def __init__(self, **addresses: list[list[str]]) -> None:
        self.addresses = {name.replace("_", "."): answers for name, answers in addresses.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host not in self.addresses:
            return await resolve(host, port)
        answers = self.addresses[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


def calling(private=LOOPBACK, names=resolve, tls=None):
    clock = SystemClock()
    calls = HttpCalls(clock, Reach(private), resolve=names, tls=tls)
    return InProcessEngine(handlers_of(None, [Handler("http", calls.run)]), clock, grace_s=10)


async def call(payload, engine=None, **fields):
    """The report on one call."""
    source = ScriptedSource()
    async with working(source, engine or calling()):
        lease = await source.put("http", payload, **fields)
        await source.settled()
    return source.report_on(lease)


def result(report):
    assert report.outcome is Outcome.SUCCEEDED, report.error
    return msgspec.json.decode(report.result)


def failure(report):
    assert report.outcome is Outcome.FAILED, report.result
    return msgspec.json.decode(report.error)


# --- what is sent, and what is kept -----------------------------------------------------------------


async def test_a_call_and_its_answer():
    async with web() as w:
        w.pages["/x"] = answer(200, "größer".encode(), content_type="text/plain", X_Twice="a")
        report = await call({"url": w.url("/x?a=b c#part")})
    found = result(report)
    assert 0 < found.pop("elapsed_s") < 60
    assert found == {
        "status": 200,
        "url": w.url("/x?a=b%20c#part"),
        "headers": {
            "connection": "close",
            "content-length": "8",
            "content-type": "text/plain",
            "x-twice": "a",
        },
        "body": "größer",
        "encoding": "text",
        "truncated": False,
        "redirects": 0,
    }
    (seen,) = w.seen
    assert (seen.method, seen.target, seen.body) == ("GET", "/x?a=b%20c", b"")
    assert seen.headers["host"] == f"127.0.0.1:{w.port}"
    assert seen.headers["accept-encoding"] == "identity"
    assert seen.headers["user-agent"].startswith("mainspring/")


async def test_every_attempt_carries_the_tasks_id_as_its_key():
    """Peers: a repeated call must be recognisable to the server (Idempotency-Key, a quoted string)."""
    async with web() as w:
        w.pages["/"] = answer(201)
        payload = {"url": w.url(), "method": "POST", "body": {"n": 1}}
        for attempt in (1, 2):
            await call(payload, task="01a1fe09-27c2-7000-85f0-280dd56e7f97", attempt=attempt)
        await call({**payload, "headers": {"idempotency-KEY": "mine"}})
    keys = [seen.headers["idempotency-key"] for seen in w.seen]
    assert keys == ['"01a1fe09-27c2-7000-85f0-280dd56e7f97"'] * 2 + ["mine"]
    assert {seen.body for seen in w.seen} == {b'{"n":1}'}
    assert {seen.headers["content-type"] for seen in w.seen} == {"application/json"}


@pytest.mark.parametrize(
    ("method", "status", "body"), [("HEAD", 200, b""), ("DELETE", 204, b""), ("OPTIONS", 200, b"x")]
)
async def test_methods_and_answers_without_a_body(method, status, body):
    async with web() as w:
        length = {"content_length": 5 if method == "HEAD" else None if status == 204 else len(body)}
        w.pages["/"] = answer(status, body, **length)
        found = result(await call({"url": w.url(), "method": method}))
    assert (w.seen[0].method, found["status"], found["body"]) == (method, status, body.decode())


@pytest.mark.parametrize(
    ("status", "expect", "outcome", "retryable"),
    [
        (200, "2xx", Outcome.SUCCEEDED, True),
        (404, [200, 404], Outcome.SUCCEEDED, True),
        (500, "5xx", Outcome.SUCCEEDED, True),
        (302, 302, Outcome.SUCCEEDED, True),
        (201, 200, Outcome.FAILED, False),
        (304, "2xx", Outcome.FAILED, False),
        (400, "2xx", Outcome.FAILED, False),
        (404, "2xx", Outcome.FAILED, False),
        (408, "2xx", Outcome.FAILED, True),
        (429, "2xx", Outcome.FAILED, True),
        (500, "2xx", Outcome.FAILED, True),
        (503, "2xx", Outcome.FAILED, True),
    ],
)
async def test_statuses(status, expect, outcome, retryable):
    """Tried again is what may pass; an answer that will be the same tomorrow is final."""
    async with web() as w:
        w.pages["/"] = answer(status, location="/elsewhere" if status == 302 else "")
        report = await call({"url": w.url(), "expect_status": expect})
    assert (report.outcome, report.retryable) == (outcome, retryable)
    assert len(w.seen) == 1
    if outcome is Outcome.FAILED:
        error = failure(report)
        assert (report.error_type, error["message"]) == ("UnexpectedStatus", f"status {status}")
        assert error["status"] == status


async def test_the_error_of_an_answer_has_the_start_of_it():
    async with web() as w:
        w.pages["/"] = answer(500, b"no room left, " * 10_000)
        error = failure(await call({"url": w.url()}))
    assert error["truncated"]
    assert error["body"].startswith("no room left")
    assert len(error["body"]) == 8192


async def test_retry_after_is_the_delay():
    async with web() as w:
        w.pages["/later"] = answer(429, retry_after=7)
        w.pages["/never"] = answer(404, retry_after=7)
        later, never = [await call({"url": w.url(path)}) for path in ("/later", "/never")]
    assert (later.delay_us, never.delay_us, never.retryable) == (7_000_000, None, False)


@pytest.mark.parametrize(
    ("headers", "delay_s"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120),
        ({"retry-after": " 0 "}, 0),
        ({"retry-after": "9" * 400}, 86400),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:10 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 10),
        ({"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 2115 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 86400),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_what_retry_after_says(headers, delay_s):
    """A date counts from the server's own: this machine's clock may be hours off."""
    assert retry_after_s(headers) == delay_s


async def test_of_an_endless_answer_the_start_is_kept_and_the_connection_ended():
    async with web() as w:
        w.pages["/"] = endless
        found = result(await call({"url": w.url(), "max_bytes": 1000}))
        await w.hung_up.wait()
    assert (found["truncated"], found["body"]) == (True, ("more and " * 112)[:1000])


@pytest.mark.parametrize(
    ("body", "max_bytes", "kept", "encoding"),
    [
        (b"\xff\x00", 10, "/wA=", "base64"),
        ("aé".encode(), 2, "a", "text"),
        ("aé".encode(), 3, "aé", "text"),
        (b"a\xc3", 3, "YcM=", "base64"),
        (b"\x01" * 3000, 5000, "AQEB" * 1000, "base64"),
        (b"abc", 0, "", "text"),
    ],
)
async def test_bytes_that_are_no_text(body, max_bytes, kept, encoding):
    async with web() as w:
        w.pages["/"] = answer(200, body)
        found = result(await call({"url": w.url(), "max_bytes": max_bytes}))
    assert (found["body"], found["encoding"]) == (kept, encoding)
    assert found["truncated"] is (len(body) > max_bytes)


async def test_the_largest_answer_is_still_a_result():
    async with web() as w:
        w.pages["/"] = answer(200, b"\xff" * 700_000)
        found = result(await call({"url": w.url(), "max_bytes": 655_360}))
    assert len(found["body"]) == 4 * -(-655_360 // 3)


async def test_many_headers_are_cut():
    async with web() as w:
        w.pages["/"] = answer(200, **{f"X-{n}": "v" * 1000 for n in range(60)})
        found = result(await call({"url": w.url()}))
    assert found["truncated"]
    assert 20 < len(found["headers"]) < 40


# --- redirects --------------------------------------------------------------------------------------


async def test_redirects_are_followed_and_counted():
    async with web() as w:
        w.pages |= {"/a": answer(302, location="b"), "/b": answer(307, location=w.url("/c"))}
        w.pages["/c"] = answer(200, b"there")
        found = result(await call({"url": w.url("/a"), "method": "POST", "body": "x"}))
    assert (found["url"], found["redirects"], found["body"]) == (w.url("/c"), 2, "there")
    assert [(seen.method, seen.target, seen.body) for seen in w.seen] == [
        ("POST", "/a", b"x"),
        ("GET", "/b", b""),
        ("GET", "/c", b""),
    ]


async def test_a_location_that_is_not_escaped_is_read_as_utf_8():
    async with web() as w:
        w.pages |= {"/a": answer(302, location="/é").replace(b"\xe9", b"\xc3\xa9"), "/%C3%A9": answer(200)}
        assert result(await call({"url": w.url("/a")}))["url"] == w.url("/%C3%A9")


@pytest.mark.parametrize("most", [0, 3])
async def test_redirects_have_an_end(most):
    async with web() as w:
        w.pages["/"] = answer(302, location="/")
        report = await call({"url": w.url(), "redirects": most})
    assert (report.error_type, report.retryable, len(w.seen)) == ("RedirectRefused", False, most + 1)


async def test_credentials_do_not_follow_to_another_origin():
    async with web() as w, web() as other:
        w.pages["/"] = answer(302, location="/same")
        w.pages["/same"] = answer(302, location=other.url("/"))
        other.pages["/"] = answer(200)
        secret = {"Authorization": "Bearer x", "Cookie": "a=b"}
        result(await call({"url": w.url(), "headers": secret}))
    assert [seen.headers.get("authorization") for seen in w.seen + other.seen] == ["Bearer x"] * 2 + [None]
    assert "cookie" not in other.seen[0].headers
    assert "idempotency-key" in other.seen[0].headers


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("http://127.0.0.2:{port}/", "AddressRefused"),
        ("http://localhost.test:{port}/", "AddressRefused"),
        ("http://169.254.169.254/latest/meta-data/", "AddressRefused"),
        ("http://[::1]:{port}/", "AddressRefused"),
        ("file:///etc/passwd", "RedirectRefused"),
        ("http://user:pw@127.0.0.1:{port}/", "RedirectRefused"),
    ],
)
async def test_a_redirect_is_checked_as_the_first_address_is(location, error):
    async with web() as w, web(ELSEWHERE, w.port) as other:
        w.pages["/"] = answer(302, location=location.format(port=w.port))
        names = Names(localhost_test=[[ELSEWHERE]])
        report = await call({"url": w.url()}, calling(names=names))
    assert (report.error_type, report.retryable) == (error, False)
    assert (len(w.seen), other.connections) == (1, 0)


# --- addresses --------------------------------------------------------------------------------------

SPELLINGS = [
    "127.0.0.1",
    "localhost",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "0.0.0.0",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "127.0.0.1.",
]


@pytest.mark.parametrize("host", SPELLINGS)
async def test_loopback_is_refused_however_it_is_spelled(host):
    async with web() as w:
        w.pages["/"] = answer(200)
        report = await call({"url": w.url(host=host)}, calling(private=()))
    # Some are no address to this library or system, which cannot reach anything by them then.
    assert report.error_type in ("AddressRefused", "ConnectFailed", "BadPayload")
    assert report.error_type == "AddressRefused" or host not in SPELLINGS[:2]
    assert w.connections == 0


async def test_a_name_server_that_does_not_answer_holds_up_nobody_else(monkeypatch):
    """Each such name would take one of the few threads that the event loop has for them."""
    answering, real = threading.Event(), socket.getaddrinfo

    def slow(host, *args):
        if host != "slow.test" or args[-1] & socket.AI_NUMERICHOST:
            return real(host, *args)
        answering.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    source = ScriptedSource()
    async with web() as w, working(source, calling(), slots=50):
        w.pages["/"] = answer(200)
        waiting = [await source.put("http", {"url": "http://slow.test/"}) for _ in range(40)]
        quick = await source.put("http", {"url": w.url(host="localhost")})
        await source.settled()
        assert source.outcome_of(quick) is Outcome.SUCCEEDED
        answering.set()
        await source.settled(41)
    assert {source.report_on(lease).error_type for lease in waiting} == {"ConnectFailed"}


async def test_what_a_refusal_says_tells_nothing_of_the_inside():
    names = Names(intranet_test=[["10.20.30.40"]])
    report = await call({"url": "http://intranet.test/"}, calling(names=names))
    assert failure(report)["message"] == "intranet.test has no public address"
    assert b"10.20.30.40" not in report.error


async def test_the_address_that_was_checked_is_the_one_connected_to():
    """DNS rebinding: the name has another address each time it is asked for. It is asked once."""
    async with web() as w, web(ELSEWHERE, w.port) as other:
        w.pages["/"] = other.pages["/"] = answer(200)
        names = Names(rebinding_test=[["127.0.0.1"], [ELSEWHERE]])
        found = result(await call({"url": w.url(host="rebinding.test")}, calling(names=names)))
    assert (names.asked, found["status"]) == (["rebinding.test"], 200)
    assert (w.seen[0].headers["host"], other.connections) == (f"rebinding.test:{w.port}", 0)


async def test_the_next_connection_is_checked_anew():
    """A name that was good for the first request is not good for the redirected one."""
    async with web() as w, web(ELSEWHERE, w.port) as other:
        w.pages["/"] = answer(307, location="/again")
        names = Names(rebinding_test=[["127.0.0.1"], [ELSEWHERE]])
        report = await call({"url": w.url(host="rebinding.test")}, calling(names=names))
    assert report.error_type == "AddressRefused"
    assert (len(names.asked), w.connections, other.connections) == (2, 1, 0)


async def test_of_mixed_addresses_only_the_allowed_are_tried():
    async with web() as w, web(ELSEWHERE, w.port) as other:
        w.pages["/"] = other.pages["/"] = answer(200)
        names = Names(mixed_test=[[ELSEWHERE, "10.0.0.1", "::1", "127.0.0.1"]])
        result(await call({"url": w.url(host="mixed.test")}, calling(names=names)))
    assert (w.connections, other.connections) == (1, 0)


async def test_an_address_where_nobody_listens_leaves_the_next():
    async with web() as w:
        w.pages["/"] = answer(200)
        names = Names(two_test=[[ELSEWHERE, "127.0.0.1"]])
        result(await call({"url": w.url(host="two.test")}, calling((*LOOPBACK, ELSEWHERE), names)))
    assert w.connections == 1


async def test_a_host_can_be_allowed_by_name():
    async with web() as w:
        w.pages["/"] = answer(200)
        names = Names(here_test=[["127.0.0.1"]], there_test=[["127.0.0.1"]])
        engine = calling(["here.test"], names)
        reports = [await call({"url": w.url(host=host)}, engine) for host in ("here.test", "there.test")]
    assert [report.outcome for report in reports] == [Outcome.SUCCEEDED, Outcome.FAILED]
    assert reports[1].error_type == "AddressRefused"


async def test_the_environments_proxies_are_not_used(monkeypatch):
    """A proxy would connect where nobody checks, and see what is sent."""
    async with web() as w, web() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        w.pages["/"] = answer(200)
        result(await call({"url": w.url()}))
    assert (w.connections, proxy.connections) == (1, 0)


# --- TLS --------------------------------------------------------------------------------------------


class Secure:
    """A server's certificate from an authority of its own; `asked` is the name that clients asked for."""

    def __init__(self, *names: str) -> None:
        authority = trustme.CA()
        self.asked: list[str | None] = []
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(self.server)
        self.server.sni_callback = lambda _, name, __: self.asked.append(name)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)


async def test_tls_asks_for_the_name_while_the_number_is_connected_to():
    secure = Secure("secure.test", "127.0.0.1")
    async with web(tls=secure.server) as w:
        w.pages["/"] = answer(200, b"safe")
        engine = calling(names=Names(secure_test=[["127.0.0.1"]]), tls=secure.client)
        by_name = await call({"url": w.url(host="secure.test", scheme="https")}, engine)
        by_number = await call({"url": w.url(scheme="https")}, engine)
    assert [result(report)["body"] for report in (by_name, by_number)] == ["safe", "safe"]
    assert secure.asked == ["secure.test", None]


async def test_a_certificate_for_another_name_is_no_connection():
    secure, names = Secure("other.test"), Names(secure_test=[["127.0.0.1"]])
    async with web(tls=secure.server) as w:
        url = w.url(host="secure.test", scheme="https")
        wrong_name = await call({"url": url}, calling(names=names, tls=secure.client))
        stranger = await call({"url": url}, calling(names=names, tls=Secure("secure.test").client))
    for report, says in ((wrong_name, "Hostname mismatch"), (stranger, "certificate verify failed")):
        assert (report.error_type, report.retryable) == ("ConnectFailed", True)
        assert says in failure(report)["message"]
    assert w.seen == []


# --- what goes wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {"url": "nonsense"},
        {"url": "http://x/", "headers": {"A": "b\r\nC: d"}},
        {"url": "http://x/", "metod": 1},
    ],
)
async def test_a_bad_payload_fails_and_is_not_retried(payload):
    report = await call(payload)
    assert (report.outcome, report.error_type, report.retryable) == (Outcome.FAILED, "BadPayload", False)
    assert failure(report)["message"].startswith("payload")
    assert "traceback" not in failure(report)


async def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    report = await call({"url": f"http://127.0.0.1:{port}/"})
    assert (report.error_type, report.retryable) == ("ConnectFailed", True)
    assert failure(report)["message"] == f"127.0.0.1:{port}: Connection refused"


async def test_a_name_that_nobody_knows():
    async def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    report = await call({"url": "http://no.such.test/"}, calling(names=unknown))
    assert (report.error_type, report.retryable) == ("ConnectFailed", True)
    assert "cannot be resolved" in failure(report)["message"]


@pytest.mark.parametrize(
    "page",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
)
async def test_an_answer_that_is_no_http(page):
    async with web() as w:
        w.pages["/"] = page
        report = await call({"url": w.url()})
    assert (report.error_type, report.retryable) == ("ExchangeFailed", True)


async def test_an_answer_that_breaks_off():
    async def breaking(seen, writer):
        writer.write(answer(200, b"half", content_length=8))
        await writer.drain()
        writer.close()

    async with web() as w:
        w.pages["/"] = breaking
        report = await call({"url": w.url()})
    assert (report.error_type, report.retryable) == ("ExchangeFailed", True)


async def test_a_slow_server_is_given_up_and_hung_up_on():
    async with web() as w:
        w.pages["/"] = silent
        report = await call({"url": w.url(), "timeout": "50ms"})
        await w.hung_up.wait()
    assert (report.error_type, report.retryable) == ("RequestTimeout", True)
    assert failure(report)["message"] == "no whole answer within 0.05 s"


async def test_a_dripping_answer_is_as_slow_as_none():
    """The time is for the whole exchange, not for each byte."""

    async def dripping(seen, writer):
        writer.write(answer(200, content_length=None))
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.005)

    async with web() as w:
        w.pages["/"] = dripping
        report = await call({"url": w.url(), "timeout": 0.1})
    assert report.error_type == "RequestTimeout"


async def test_what_ends_the_task_ends_its_connection():
    """S4-04: the task's own timeout, while the server is silent."""
    async with web() as w:
        w.pages["/"] = silent
        report = await call({"url": w.url()}, timeout_us=100_000)
        await w.hung_up.wait()
    assert (report.error_type, len(w.seen)) == ("Timeout", 1)


async def test_a_handshake_that_never_ends_is_hung_up_on_too():
    """The client library would leave the socket to the garbage collector."""
    hung_up = asyncio.Event()

    async def mute(reader, writer):
        await reader.read()
        hung_up.set()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        report = await call({"url": f"https://127.0.0.1:{port}/"}, timeout_us=100_000)
        await hung_up.wait()
    assert report.error_type == "Timeout"


async def test_no_socket_stays_open_behind_a_call():
    async with web() as w:
        w.pages["/"] = answer(200)
        engine = calling()
        await call({"url": w.url()}, engine)
        before = set(os.listdir("/proc/self/fd"))
        source = ScriptedSource()
        async with working(source, engine):
            for n in range(20):
                await source.put("http", {"url": w.url() if n % 2 else "http://127.0.0.1:1/"})
            await source.settled(20)
    assert set(os.listdir("/proc/self/fd")) <= before
