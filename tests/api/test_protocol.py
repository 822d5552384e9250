"""HTTP as the standards have it: problem documents, methods, media types, the guard (checks A and D)."""

import asyncio
import json
from http import HTTPStatus

import pytest

from mainspring.errors import StoreFull, StoreUnavailable
from mainspring.wire.problems import PROBLEMS

TASKS = "/api/v1/tasks"
NOBODY = "01a1fe09-27c2-7000-85f0-280dd56e7f97"
JSON = {"Content-Type": "application/json"}
ERRORS = [
    ("GET", "/nope", {}, 404),
    ("GET", "/api/v1/nope", {}, 404),
    ("GET", TASKS + "/", {}, 404),
    ("GET", f"{TASKS}/{NOBODY}", {}, 404),
    ("PUT", TASKS, {}, 405),
    ("POST", f"{TASKS}/{NOBODY}", {}, 405),
    ("OPTIONS", TASKS, {}, 405),
    ("BREW", TASKS, {}, 405),
    ("GET", "/api/v1/leases/claim", {}, 405),
    ("POST", TASKS, {"content": b"{", "headers": JSON}, 400),
    (
        "POST",
        TASKS,
        {"content": b"a=1", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        415,
    ),
    ("POST", TASKS, {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
    ("POST", TASKS, {"content": b"{}", "headers": {"Content-Encoding": "gzip"}}, 415),
    ("POST", TASKS, {"content": b"{}", "headers": {"Host": "evil.example"}}, 403),
    ("POST", TASKS, {"content": b"{}", "headers": {"Origin": "http://evil.example"}}, 403),
    ("PATCH", f"{TASKS}/{NOBODY}", {"json": {"priority": 1}, "headers": {"If-Match": "*"}}, 412),
    ("GET", f"{TASKS}?x=1", {}, 400),
    ("GET", "/livez?x=1", {}, 400),
]


@pytest.mark.parametrize(("method", "path", "request_", "status"), ERRORS)
async def test_every_error_is_a_problem(node, method, path, request_, status):
    """Protocol checks A-1, A-2, A-3, A-4, A-5, A-6, A-7, A-8, A-11 and A-13, for the router's errors too."""
    async with node() as n:
        answer = await n.http.request(method, path, **request_)
    problem = answer.json()
    kind = PROBLEMS[problem["code"]]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == problem["status"] == status == kind.status
    assert problem["type"] == f"/problems/{problem['code']}"
    assert problem["title"] == kind.title
    assert problem["detail"]
    assert "Traceback" not in answer.text
    assert ("allow" in answer.headers) == (status == 405)
    assert ("accept" in answer.headers) == (status == 415)


async def test_problem_types_can_be_followed(node):
    """Protocol check A-6: a type that is fetched gives text for people."""
    async with node() as n:
        for code, kind in PROBLEMS.items():
            answer = await n.http.get(f"/problems/{code}")
            assert answer.status_code == 200
            assert kind.meaning in answer.text
            assert HTTPStatus(kind.status)
        assert (await n.http.get("/problems/nope")).status_code == 404


async def test_allow_names_the_methods_of_that_resource(node):
    """Protocol check D-39."""
    async with node() as n:
        allowed = {
            path: (await n.http.put(path)).headers["allow"]
            for path in (TASKS, f"{TASKS}/{NOBODY}", f"{TASKS}/batch", f"{TASKS}/cancel", "/metrics", "/jobs")
        }
    assert allowed == {
        TASKS: "GET, HEAD, POST",
        f"{TASKS}/{NOBODY}": "DELETE, GET, HEAD, PATCH",
        f"{TASKS}/batch": "POST",
        f"{TASKS}/cancel": "POST",
        "/metrics": "GET, HEAD",
        "/jobs": "POST",
    }


@pytest.mark.parametrize(
    "path",
    [TASKS, "/api/v1/queues", "/api/v1/cluster/info", "/health", "/openapi.json", "/api/v1/dead", "/nope"],
)
async def test_head_is_get_without_a_body(node, path):
    """Protocol check D-40, errors included (A-3)."""
    async with node() as n:
        get, head = await n.http.get(path), await n.http.head(path)
    assert head.content == b""
    assert head.status_code == get.status_code
    assert head.headers == get.headers


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "text/html, */*;q=0.1", ";"])
async def test_answers_are_json_whatever_is_accepted(node, accept):
    """Protocol check D-41: the documented default instead of 406."""
    async with node() as n:
        listed = await n.http.get(TASKS, headers={"Accept": accept})
        missing = await n.http.get("/nope", headers={"Accept": accept})
    assert (listed.status_code, listed.headers["content-type"]) == (200, "application/json")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    "media", ["application/json", "Application/JSON; charset=utf-8", "application/x+json", None]
)
async def test_media_types_that_are_json(node, media):
    async with node() as n:
        headers = {"Content-Type": media} if media else {}
        answer = await n.http.post(TASKS, content=b"{}", headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (StoreUnavailable("gone"), 503, "1"),
        (StoreFull("no space"), 507, None),
        (RuntimeError("secret"), 500, None),
    ],
)
async def test_faults_of_the_server(node, error, status, retry_after, caplog):
    """Protocol checks A-8 and D-45: no secret leaves; a 500 has a name that the log knows too."""
    async with node() as n:

        async def broken(groups):
            raise error

        n.scheduler.submit = broken
        with caplog.at_level("WARNING"):
            answer = await n.http.post(TASKS, json={})
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry_after)
    if status == 500:
        assert "secret" not in answer.text
        assert answer.json()["instance"] == caplog.records[-1].instance
        assert caplog.records[-1].exc_info[1] is error


# --- the guard --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost"}, 201),
        ({"Host": "LOCALHOST:8080"}, 201),
        ({"Host": "127.0.0.1:9"}, 201),
        ({"Host": "127.1.2.3"}, 201),
        ({"Host": "[::1]:8080"}, 201),
        ({"Host": "app.localhost:8080"}, 201),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:8080"}, 403),
        ({"Host": "10.0.0.1"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost, localhost"}, 400),
        ({"Host": "localhost/x"}, 400),
        ({"Host": "localhost:80:80"}, 400),
        ({"Origin": "http://127.0.0.1:8080"}, 201),
        ({"Origin": "http://localhost:8080"}, 403),
        ({"Origin": "http://127.0.0.1:3000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}, 403),
    ],
)
async def test_foreign_pages_are_refused_on_loopback(node, headers, status):
    async with node() as n:
        answer = await n.http.post(TASKS, json={}, headers=headers)
        total = (await n.http.get("/api/v1/cluster/stats")).json()["total"]
    assert (answer.status_code, total) == (status, 1 if status == 201 else 0)


async def test_hosts_and_origins_may_be_named(node):
    options = {"hosts": frozenset({"box.example"}), "origins": frozenset({"https://ui.example"})}
    async with node(**options) as n:
        host = await n.http.post(TASKS, json={}, headers={"Host": "box.example:8080"})
        origin = await n.http.post(TASKS, json={}, headers={"Origin": "https://ui.example"})
    assert [host.status_code, origin.status_code] == [201, 201]


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", "Basic s3cret", "s3cret", "Bearer s3cret2"]
)
async def test_a_token_is_asked_for(node, authorization):
    """S4-36; protocol checks D-43 and A-12: 401 with WWW-Authenticate, whatever else is wrong."""
    async with node(token="s3cret", loopback=False) as n:
        headers = {} if authorization is None else {"Authorization": authorization}
        for path in (TASKS, "/metrics", "/openapi.json", "/nope", "/jobs"):
            answer = await n.http.get(path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        probes = [await n.http.get(path) for path in ("/livez", "/readyz", "/health")]
        known = await n.http.get(TASKS, headers={"Authorization": "bearer s3cret", "Host": "any.example"})
    assert [answer.status_code for answer in (*probes, known)] == [200] * 4


async def raw(app, headers, http_version="1.1"):
    """A request as no client would write it."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "http_version": http_version, "method": "POST", "path": TASKS,
             "query_string": b"", "headers": headers}  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


async def test_hosts_as_http_wants_them(node):
    """Protocol check D-50: exactly one Host, and that one; HTTP/1.0 may have none."""
    async with node() as n:
        two = await raw(n.app, [(b"host", b"localhost"), (b"host", b"localhost")])
        none = await raw(n.app, [])
        old = await raw(n.app, [], "1.0")
        lists = await raw(n.app, [(b"host", b"localhost"), (b"accept", b"a/b"), (b"accept", b"c/d")])
    async with node(token="s3cret", loopback=False) as n:
        bad = await raw(n.app, [(b"host", b"any example"), (b"authorization", b"Bearer s3cret")])
    assert [status for status, _ in (two, none, bad, old, lists)] == [400, 400, 400, 201, 201]
    assert two[1]["field"] == none[1]["field"] == bad[1]["field"] == "Host"


async def test_a_caller_that_leaves_while_sending_stores_nothing(node):
    async with node() as n:
        messages = iter(
            [{"type": "http.request", "body": b'{"kind":', "more_body": True}, {"type": "http.disconnect"}]
        )

        async def receive():
            return next(messages)

        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": TASKS,
                 "query_string": b"", "headers": [(b"host", b"localhost")]}  # fmt: skip
        await n.app(scope, receive, send)
        total = (await n.http.get("/api/v1/cluster/stats")).json()["total"]
    assert (sent, total) == ([], 0)


async def test_a_call_that_is_cut_off_is_answered(node):
    """Protocol checks A-13 and D-45: a server that stops waits only so long for what has begun."""
    async with node() as n:
        begun, sent = asyncio.Event(), []

        async def stuck(groups):
            begun.set()
            await asyncio.Event().wait()

        n.scheduler.submit = stuck

        async def receive():
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": TASKS,
                 "query_string": b"", "headers": [(b"host", b"localhost")]}  # fmt: skip
        call = asyncio.create_task(n.app(scope, receive, send))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    start, body = sent
    assert (start["status"], json.loads(body["body"])["code"]) == (503, "store_unavailable")
    assert (b"retry-after", b"1") in start["headers"]


async def test_other_protocols(node):
    """A server's own start and end pass; web sockets are refused."""
    async with node() as n:
        said = []

        async def send(message):
            said.append(message["type"])

        events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive():
            return next(events)

        await asyncio.wait_for(n.app({"type": "lifespan"}, receive, send), 5)
        await asyncio.wait_for(n.app({"type": "websocket"}, receive, send), 5)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]
