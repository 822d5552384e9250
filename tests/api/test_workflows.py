"""Workflows over HTTP."""

import asyncio

import pytest

WORKFLOWS, TASKS = "/api/v1/workflows", "/api/v1/tasks"
CHAIN = [
    {"name": "a", "kind": "x", "max_retries": 0},
    {"name": "b", "kind": "x", "depends_on": ["a"]},
    {"name": "c", "kind": "y", "depends_on": ["b"]},
]


async def submit(n, tasks=CHAIN, **document):
    answer = await n.http.post(WORKFLOWS, json={"tasks": tasks, **document})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def run(n, outcome="succeeded", kind="x"):
    (lease,) = await n.claim(kind)
    error = {"error": {"type": "E", "message": "no"}} if outcome == "failed" else {}
    assert await n.settle(lease, outcome, **error) == "ok"
    return lease["task"]


async def resolve(n):
    """As the node's service does it."""
    n.scheduler.moved(await n.scheduler.store.resolve(1000))


async def read(n, workflow, **query):
    answer = await n.http.get(f"{WORKFLOWS}/{workflow['id']}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_workflow_from_one_end_to_the_other(node):
    async with node() as n:
        answer = await n.http.post(
            WORKFLOWS,
            json={"name": "nightly", "labels": {"team": "data"}, "tasks": CHAIN, "on_success": {"kind": "x"}},
        )
        made = answer.json()
        assert (answer.status_code, answer.headers["location"]) == (201, f"{WORKFLOWS}/{made['id']}")
        assert (made["state"], made["progress"], made["is_over"]) == ("running", 0.0, False)
        assert made["counts"] == {"blocked": 2, "ready": 1}
        assert (made["name"], made["labels"]) == ("nightly", {"team": "data"})
        first = await run(n)
        task = (await n.http.get(f"{TASKS}/{first}")).json()
        assert (task["workflow"], task["name"]) == (made["id"], "a")
        await run(n)
        midway = await read(n, made)
        assert (midway["state"], midway["progress"]) == ("running", 0.6667)
        await run(n, kind="y")
        done = await read(n, made)
        assert (done["state"], done["is_over"], done["progress"]) == ("succeeded", False, 1.0)
        assert done["callbacks"] == {
            "on_success": {"id": made["callbacks"]["on_success"]["id"], "state": "ready"}
        }
        await run(n)
        assert (await read(n, made))["is_over"]


async def test_the_graph_with_its_critical_path(node):
    tasks = [
        {"name": "a", "kind": "x"},
        {"name": "b", "kind": "x", "depends_on": ["a"]},
        {"name": "c", "kind": "y", "depends_on": ["a", "b"]},
        {"name": "d", "kind": "y"},
    ]
    async with node() as n:
        made = await submit(n, tasks)
        await run(n)
        shown = await read(n, made)
    by_name = {task["name"]: task for task in shown["tasks"]}
    assert [task["name"] for task in shown["tasks"]] == ["a", "b", "c", "d"]
    assert [by_name[name]["level"] for name in "abcd"] == [0, 1, 2, 0]
    assert by_name["c"]["depends_on"] == ["a", "b"]
    assert shown["critical_path"]["tasks"] == ["a", "b", "c"]
    assert [by_name[name]["is_critical"] for name in "abcd"] == [True, True, True, False]
    assert [by_name[name]["is_estimated"] for name in "abcd"] == [False, True, True, True]
    assert by_name["a"]["slack"] == 0
    assert by_name["d"]["slack"] == pytest.approx(
        shown["critical_path"]["duration"] - by_name["d"]["duration"]
    )
    assert shown["critical_path"]["left"] == pytest.approx(
        by_name["b"]["duration"] + by_name["c"]["duration"]
    )
    assert by_name["a"]["finished_at"] is not None
    assert (shown["started_at"], shown["finished_at"]) == (by_name["a"]["started_at"], None)


async def test_waiting_for_the_end(node):
    """`wait` answers when the last callback has ended, and not before."""
    async with node() as n:
        made = await submit(n, CHAIN[:1], on_complete={"kind": "y"})
        waiting = asyncio.create_task(read(n, made, wait="30"))
        await run(n)
        await run(n, kind="y")
        assert (await waiting)["is_over"]
        other = await submit(n, CHAIN[:1])
        waiting = asyncio.create_task(read(n, other, wait="30"))
        await run(n)
        shown = await waiting
        assert (shown["state"], shown["is_over"]) == ("succeeded", True)
        third = await submit(n, CHAIN[:1])
        assert (await read(n, third, wait="50ms"))["state"] == "running"
        refused = await n.http.get(f"{WORKFLOWS}/{third['id']}?wait=1h")
    assert (refused.status_code, refused.json()["field"]) == (400, "wait")


async def test_waiting_survives_a_deleted_task(node):
    async with node() as n:
        made = await submit(n, CHAIN[:1], on_complete={"kind": "y"})
        waiting = asyncio.create_task(read(n, made, wait="30"))
        await run(n)
        gone = await n.http.delete(f"{TASKS}/{made['callbacks']['on_complete']['id']}")
        assert gone.status_code == 204
        shown = await waiting
    assert shown["is_over"]


async def test_cancelling(node):
    async with node() as n:
        made = await submit(n, CHAIN, on_complete={"kind": "y"})
        answer = await n.http.post(f"{WORKFLOWS}/{made['id']}/cancel")
        assert (answer.status_code, answer.json()["count"]) == (200, 3)
        assert answer.json()["workflow"]["state"] == "cancelled"
        await resolve(n)
        await run(n, kind="y")
        other = await submit(n, CHAIN, on_complete={"kind": "y"})
        answer = await n.http.post(f"{WORKFLOWS}/{other['id']}/cancel", json={"run_callbacks": False})
        view = answer.json()["workflow"]
        assert (answer.json()["count"], view["is_over"]) == (4, True)
        assert view["callbacks"]["on_complete"]["state"] == "cancelled"
        bad = await n.http.post(f"{WORKFLOWS}/{other['id']}/cancel", json={"callbacks": False})
    assert (bad.status_code, bad.json()["field"]) == (400, "callbacks")


async def test_retrying_what_failed(node):
    async with node() as n:
        made = await submit(n)
        await run(n, "failed")
        for _ in range(2):
            await resolve(n)
        failed = await read(n, made)
        assert (failed["state"], failed["counts"]) == ("failed", {"failed": 1, "cancelled": 2})
        answer = await n.http.post(f"{WORKFLOWS}/{made['id']}/retry-failed")
        assert answer.status_code == 200
        view = answer.json()
        assert (view["count"], view["waiting"], view["workflow"]["state"]) == (3, 2, "running")
        for kind in "xxy":
            await run(n, kind=kind)
        again = (await n.http.post(f"{WORKFLOWS}/{made['id']}/retry-failed")).json()
    assert (again["count"], again["workflow"]["state"]) == (0, "succeeded")


async def test_listing(node):
    async with node() as n:
        made = [
            await submit(n, CHAIN[:1], name=f"w{place % 2}", labels={"n": str(place)}) for place in range(5)
        ]
        ids = [workflow["id"] for workflow in reversed(made)]
        await run(n)
        first = await n.http.get(WORKFLOWS, params={"page_size": 2})
        page = first.json()
        assert [workflow["id"] for workflow in page["workflows"]] == ids[:2]
        assert f"page_token={page['next_page_token']}" in first.headers["link"]
        token = page["next_page_token"]
        rest = (await n.http.get(WORKFLOWS, params={"page_token": token})).json()
        assert [workflow["id"] for workflow in rest["workflows"]] == ids[2:]
        assert rest["next_page_token"] is None

        async def listed(**query):
            answer = await n.http.get(WORKFLOWS, params=query)
            assert answer.status_code == 200, answer.text
            return [workflow["id"] for workflow in answer.json()["workflows"]]

        assert await listed(state="succeeded") == [made[0]["id"]]
        assert await listed(state="running,failed", name="w1") == [made[3]["id"], made[1]["id"]]
        assert await listed(label="n=2") == [made[2]["id"]]
        for query, field in (
            ({"state": "paused"}, "state"),
            ({"label": "n"}, "label"),
            ({"name_": "x"}, "name_"),
        ):
            refused = await n.http.get(WORKFLOWS, params=query)
            assert (refused.status_code, refused.json()["field"]) == (400, field)
        stale = await n.http.get(WORKFLOWS, params={"page_token": token, "name": "w1"})
    assert (stale.status_code, stale.json()["field"]) == (400, "page_token")


async def test_the_tasks_of_a_workflow(node):
    async with node() as n:
        await n.submit()
        made = await submit(n, on_complete={})
        found = (await n.http.get(TASKS, params={"workflow": made["id"]})).json()["tasks"]
        assert {task["name"] for task in found} == {"a", "b", "c", "on_complete"}
        bad = await n.http.get(TASKS, params={"workflow": "nightly"})
        assert (bad.status_code, bad.json()["field"]) == (400, "workflow")
        cancelled = await n.http.post(f"{TASKS}/cancel", json={"workflow": made["id"]})
    assert cancelled.json() == {"count": 4}


async def test_an_idempotency_key(node):
    headers = {"Idempotency-Key": "once"}
    async with node() as n:
        body = {"tasks": CHAIN, "on_failure": {}}
        first = await n.http.post(WORKFLOWS, json=body, headers=headers)
        again = await n.http.post(WORKFLOWS, json=body, headers=headers)
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.content == first.content
        n.app._door.replies._kept.clear()
        forgotten = await n.http.post(WORKFLOWS, json=body, headers=headers)
        assert forgotten.json()["id"] == first.json()["id"]
        other = await n.http.post(WORKFLOWS, json={"tasks": CHAIN}, headers=headers)
        assert other.json()["code"] == "idempotency_key_reused"
        listed = (await n.http.get(WORKFLOWS)).json()["workflows"]
    assert [workflow["id"] for workflow in listed] == [first.json()["id"]]


async def test_what_is_refused_stores_nothing(node):
    nobody = "01923456-89ab-7def-8123-456789abcdef"
    cases = [
        ({"tasks": [{"name": "a", "depends_on": ["b"]}]}, "tasks[0].depends_on[0]"),
        ({"tasks": [{"name": "a"}, {"name": "b", "depends_on": [nobody]}]}, "tasks[1].depends_on"),
        ({"tasks": [{"name": "a"}], "on_complete": {"priority": "urgent"}}, "on_complete.priority"),
    ]
    async with node() as n:
        for body, field in cases:
            answer = await n.http.post(WORKFLOWS, json=body)
            assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text
        assert (await n.http.get(WORKFLOWS)).json()["workflows"] == []
        assert (await n.http.get(TASKS)).json()["tasks"] == []


@pytest.mark.parametrize("what", ["", "/cancel", "/retry-failed"])
@pytest.mark.parametrize("name", ["01923456-89ab-7def-8123-456789abcdef", "nightly", "%ff"])
async def test_no_such_workflow(node, what, name):
    async with node() as n:
        answer = await n.http.request("POST" if what else "GET", f"{WORKFLOWS}/{name}{what}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
