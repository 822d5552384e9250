"""The document: complete, valid, and true to what is answered (protocol check D-52)."""

from pathlib import Path

import jsonschema
import pytest

from mainspring.api.routes import ROUTES

TASKS = "/api/v1/tasks"


async def document(n):
    return (await n.http.get("/openapi.json")).json()


def operations(api):
    return [(path, method, op) for path, item in api["paths"].items() for method, op in item.items()]


async def test_the_document_describes_every_route(node):
    async with node() as n:
        api = await document(n)
    assert api["openapi"] == "3.1.0"
    described = {(method.upper(), path) for path, method, _ in operations(api)}
    assert described == {(route.method, route.path.replace(":path", "")) for route in ROUTES}
    names = [op["operationId"] for _, _, op in operations(api)]
    assert len(names) == len(set(names))


async def test_its_schemas_are_schemas(node):
    async with node() as n:
        api = await document(n)
    for name, schema in api["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert name.isidentifier()
    text = str(api)
    for _, _, op in operations(api):
        for response in op["responses"].values():
            for content in response.get("content", {}).values():
                reference = content["schema"].get("$ref")
                assert reference is None or reference.rpartition("/")[2] in api["components"]["schemas"]
    assert "token" in text


async def test_every_path_answers_its_own_method(node):
    """Nothing but 404 for a missing thing, and never 405."""
    async with node() as n:
        for path, method, op in operations(await document(n)):
            url = path.replace("{id}", "01a1fe09-27c2-7000-85f0-280dd56e7f97").replace("{status}", "ready")
            url = url.replace("{name}", "queue:q").replace("{code}", "not_found")
            url = url.replace("{queue}", "q").replace("{tenant}", "t").replace("{worker}", "w")
            request = {"json": {}} if "requestBody" in op else {}
            answer = await n.http.request(method.upper(), url, **request)
            assert answer.status_code not in (405, 500, 501), (method, path, answer.text)


@pytest.fixture
def checked():
    """A check that an answer is as the document says."""

    def check(api, method, path, answer):
        responses = api["paths"][path][method]["responses"]
        response = responses.get(str(answer.status_code), responses["default"])
        if "content-type" not in answer.headers:
            assert ("content" in response, answer.content) == (False, b"")
            return
        media = answer.headers["content-type"].partition(";")[0]
        schema = {**response["content"][media]["schema"], "components": api["components"]}
        if media.endswith("json"):
            validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
            validator.validate(answer.json())

    return check


API = "/api/v1"
SCHEDULE = {"cron": "@yearly", "task": {"kind": "z"}}
WORKFLOW = {"name": "w", "tasks": [{"name": "a", "kind": "a"}, {"name": "b", "depends_on": ["a"]}]}


def calls(ids, lease):
    """Every operation, once at least: method, path, request, what the path captures."""
    one, letter, later, job = ({"id": ids[name]} for name in ("task", "letter", "later", "job"))
    schedule, workflow, queue = {"id": "nightly"}, {"id": ids["workflow"]}, {"queue": "q"}
    held = {"task": lease["task"], "token": lease["token"]}
    claim = {"worker": "w", "incarnation": "i", "claim_seq": 1, "kinds": ["echo", "x"], "slots": 1}
    until = {"until": "2040-01-01T00:00:00Z"}
    probes = ("/health", "/livez", "/healthz", "/health/live", "/readyz", "/startupz", "/health/ready")
    return [
        ("post", TASKS, {"json": {"kind": "y", "run_at": "2040-01-01T00:00:00Z"}}),
        ("post", TASKS, {"json": {"priority": 11}}),
        ("post", f"{TASKS}/batch", {"json": {"tasks": [{}, {}]}}),
        ("get", TASKS, {}),
        ("get", f"{TASKS}/{{id}}", {}, one),
        ("get", f"{TASKS}/{{id}}", {}, letter),
        ("get", f"{TASKS}/{{id}}", {"headers": {"If-None-Match": "*"}}, one),
        ("get", f"{TASKS}/{{id}}/explain", {}, one),
        ("get", f"{TASKS}/{{id}}/events", {}, letter),
        ("get", f"{TASKS}/{{id}}/logs", {}, one),
        ("get", f"{TASKS}/{{id}}/logs", {"headers": {"Accept": "text/plain"}}, one),
        ("get", f"{TASKS}/status/{{status}}", {}, {"status": "dead"}),
        ("patch", f"{TASKS}/{{id}}", {"json": {"priority": 1}}, one),
        ("post", f"{TASKS}/{{id}}/run", {}, later),
        ("post", f"{API}/leases/append", {"json": {"lines": [{**held, "progress": 0.5, "steps": {"s": 1}}]}}),
        ("post", f"{API}/leases/recall", {"json": {"lines": [held, {**held, "token": 1}]}}),
        ("post", f"{API}/leases/renew", {"json": {"incarnation": "i", "claim_seq": 0, "held": [held]}}),
        ("get", f"{TASKS}/{{id}}", {}, {"id": lease["task"]}),
        ("post", f"{API}/leases/settle", {"json": {"reports": [{**held, "outcome": "succeeded"}]}}),
        ("post", f"{API}/leases/claim", {"json": claim}),
        ("post", f"{TASKS}/cancel", {"json": {"kind": "y"}}),
        ("get", f"{API}/dead", {}),
        ("get", f"{API}/dead/groups", {}),
        ("get", f"{API}/dead/{{id}}", {}, letter),
        ("post", f"{API}/dead/{{id}}/replay", {}, letter),
        ("post", f"{API}/dead/replay", {"json": {"kind": "dead"}}),
        ("post", f"{API}/dead/purge", {"json": {"all": True}}),
        ("delete", f"{API}/dead/{{id}}", {}, letter),
        ("post", f"{API}/workflows", {"json": WORKFLOW}),
        ("get", f"{API}/workflows", {}),
        ("get", f"{API}/workflows/{{id}}", {}, workflow),
        ("post", f"{API}/workflows/{{id}}/cancel", {}, workflow),
        ("post", f"{API}/workflows/{{id}}/retry-failed", {}, workflow),
        ("post", f"{API}/schedules", {"json": {"id": "nightly", **SCHEDULE}}),
        ("post", f"{API}/schedules", {"json": {"cron": "0 0 31 2 *"}}),
        ("post", f"{API}/schedules/preview", {"json": {"every": "5m"}}),
        ("get", f"{API}/schedules/{{id}}", {}, schedule),
        ("get", f"{API}/schedules/{{id}}", {"headers": {"If-None-Match": "*"}}, schedule),
        ("put", f"{API}/schedules/{{id}}", {"json": SCHEDULE}, schedule),
        ("put", f"{API}/schedules/{{id}}", {"json": SCHEDULE}, {"id": "other"}),
        ("patch", f"{API}/schedules/{{id}}", {"json": {"jitter": 5}}, schedule),
        ("post", f"{API}/schedules/{{id}}/trigger", {}, schedule),
        ("post", f"{API}/schedules/{{id}}/skip-next", {}, schedule),
        ("post", f"{API}/schedules/{{id}}/skip-until", {"json": until}, schedule),
        ("get", f"{API}/schedules/{{id}}/fires", {}, schedule),
        ("get", f"{API}/schedules/{{id}}/next", {}, schedule),
        ("post", f"{API}/schedules/{{id}}/pause", {}, schedule),
        ("post", f"{API}/schedules/{{id}}/resume", {}, schedule),
        ("get", f"{API}/schedules", {}),
        ("delete", f"{API}/schedules/{{id}}", {}, schedule),
        ("put", f"{API}/limits/{{name}}", {"json": {"max_running": 1}}, {"name": "queue:q"}),
        ("put", f"{API}/limits/{{name}}", {"json": {"max_running": 2}}, {"name": "queue:q"}),
        ("get", f"{API}/limits", {}),
        ("get", f"{API}/limits/{{name}}", {}, {"name": "queue:q"}),
        ("delete", f"{API}/limits/{{name}}", {}, {"name": "queue:q"}),
        ("put", f"{API}/tenants/{{tenant}}/weight", {"json": {"weight": 2}}, {"tenant": "t"}),
        ("get", f"{API}/queues", {}),
        ("get", f"{API}/queues/{{queue}}", {}, queue),
        ("post", f"{API}/queues/{{queue}}/pause", {}, queue),
        ("post", f"{API}/queues/{{queue}}/resume", {}, queue),
        ("put", f"{API}/workers/{{worker}}", {"json": {"incarnation": "i", "kinds": []}}, {"worker": "w"}),
        ("get", f"{API}/workers", {}),
        ("get", f"{API}/workers/{{worker}}", {}, {"worker": "w"}),
        ("delete", f"{API}/workers/{{worker}}", {"params": {"incarnation": "i"}}, {"worker": "w"}),
        ("get", f"{API}/cluster/info", {}),
        ("get", f"{API}/cluster/stats", {}),
        ("post", "/jobs", {"json": {"type": "sleep"}}),
        ("get", "/jobs/{id}", {}, job),
        ("get", "/next-job", {"params": {"type": "sleep"}}),
        ("get", "/next-job", {"params": {"type": "nothing"}}),
        ("post", "/jobs/{id}/complete", {}, job),
        *(("get", path, {}) for path in probes),
        ("get", "/metrics", {}),
        ("get", "/metrics", {"headers": {"Accept": "application/openmetrics-text"}}),
        ("get", "/problems/{code}", {}, {"code": "gone"}),
        ("get", "/problems/{code}", {}, {"code": "nope"}),
        ("post", f"{TASKS}/{{id}}/cancel", {}, one),
        ("post", f"{TASKS}/{{id}}/retry", {}, one),
        ("delete", f"{TASKS}/{{id}}", {}, one),
    ]


async def test_real_answers_are_as_described(node, checked):
    """Protocol check D-52, for every operation there is."""
    async with node() as n:
        api = await document(n)
        letter = await n.dead_letter(kind="x")
        leased = await n.submit(kind="leased", timeout=60, deadline="2040-01-01T00:00:00Z")
        (lease,) = await n.claim("leased")
        task = await n.submit(labels={"a": "b"}, timeout=5, retry={"delays": [1, 2.5]}, max_retries=1)
        workflow = await n.http.post(f"{API}/workflows", json={**WORKFLOW, "on_complete": {"kind": "c"}})
        ids = {
            "task": task["id"],
            "letter": letter["id"],
            "later": (await n.submit(delay=60))["id"],
            "job": (await n.http.post("/jobs", json={"type": "sleep"})).json()["id"],
            "workflow": workflow.json()["id"],
        }
        assert lease["task"] == leased["id"]
        statuses = set()
        for method, path, request, *captured in (done := calls(ids, lease)):
            url = path.format(**captured[0]) if captured else path
            answer = await n.http.request(method.upper(), url, **request)
            assert answer.status_code < 500, (method, path, answer.text)
            checked(api, method, path, answer)
            statuses.add(answer.status_code)
    assert {(method, path) for method, path, *_ in done} == {(m, p) for p, m, _ in operations(api)}
    assert {200, 201, 204, 304, 400, 404} <= statuses


def test_the_reference_names_every_route():
    text = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
    missing = [route.path for route in ROUTES if route.path.replace(":path", "") not in text]
    assert missing == []
