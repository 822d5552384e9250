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
        if not answer.content:
            assert "content" not in response
            return
        media = answer.headers["content-type"].partition(";")[0]
        schema = {**response["content"][media]["schema"], "components": api["components"]}
        if media != "text/plain":
            validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
            validator.validate(answer.json())

    return check


async def test_real_answers_are_as_described(node, checked):
    async with node() as n:
        api = await document(n)
        task = await n.submit(labels={"a": "b"}, timeout=5, retry={"delays": [1, 2.5]}, max_retries=1)
        letter = await n.dead_letter(kind="x")
        job = (await n.http.post("/jobs", json={"type": "sleep"})).json()
        one = {"id": task["id"]}
        calls = [
            ("post", TASKS, {"json": {"kind": "y", "run_at": "2040-01-01T00:00:00Z"}}),
            ("post", TASKS, {"json": {"priority": 11}}),
            ("post", f"{TASKS}/batch", {"json": {"tasks": [{}, {}]}}),
            ("get", TASKS, {}),
            ("get", f"{TASKS}/{{id}}", {}, one),
            ("get", f"{TASKS}/{{id}}", {}, {"id": letter["id"]}),
            ("get", f"{TASKS}/status/{{status}}", {}, {"status": "dead"}),
            ("patch", f"{TASKS}/{{id}}", {"json": {"priority": 1}}, one),
            ("post", "/api/v1/leases/claim", {"json": {"worker": "w", "incarnation": "i", "claim_seq": 1,
                                                       "kinds": ["echo", "x"], "slots": 1}}),
            ("post", f"{TASKS}/cancel", {"json": {"kind": "y"}}),
            ("get", "/api/v1/dead", {}),
            ("get", "/api/v1/dead/{id}", {}, {"id": letter["id"]}),
            ("post", "/api/v1/dead/{id}/replay", {}, {"id": letter["id"]}),
            ("put", "/api/v1/limits/{name}", {"json": {"max_running": 1}}, {"name": "queue:q"}),
            ("get", "/api/v1/limits", {}),
            ("get", "/api/v1/queues", {}),
            ("post", "/api/v1/queues/{queue}/pause", {}, {"queue": "q"}),
            ("put", "/api/v1/workers/{worker}", {"json": {"incarnation": "i", "kinds": []}}, {"worker": "w"}),
            ("get", "/api/v1/workers", {}),
            ("get", "/api/v1/cluster/info", {}),
            ("get", "/api/v1/cluster/stats", {}),
            ("get", "/jobs/{id}", {}, {"id": job["id"]}),
            ("get", "/next-job", {}),
            ("get", "/next-job", {}),
            ("get", "/health", {}),
            ("get", "/livez", {}),
            ("get", "/readyz", {}),
            ("get", "/metrics", {}),
            ("get", "/problems/{code}", {}, {"code": "nope"}),
            ("post", f"{TASKS}/{{id}}/cancel", {}, one),
            ("post", f"{TASKS}/{{id}}/retry", {}, one),
            ("delete", f"{TASKS}/{{id}}", {}, one),
        ]  # fmt: skip
        for method, path, request, *captured in calls:
            url = path.format(**captured[0]) if captured else path
            answer = await n.http.request(method.upper(), url, **request)
            assert answer.status_code < 500, (method, path, answer.text)
            checked(api, method, path, answer)


def test_the_reference_names_every_route():
    text = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
    missing = [route.path for route in ROUTES if route.path.replace(":path", "") not in text]
    assert missing == []
