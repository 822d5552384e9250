"""Why is my task not running? Over HTTP, on every store."""

from datetime import datetime

TASKS = "/api/v1/tasks"


async def why(n, task: str) -> dict:
    answer = await n.http.get(f"{TASKS}/{task}/explain")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def beat(n, **fields: object) -> None:
    body = {"incarnation": "w1-i", "node": "n", "kinds": ["echo"], "slots": 2, **fields}
    answer = await n.http.put("/api/v1/workers/w1", json=body)
    assert answer.status_code == 204, answer.text


def codes(told: dict) -> list[str]:
    return [reason["code"] for reason in told["reasons"]]


async def test_reasons_come_and_go(node):
    """Each with a text, a hint and its numbers, until nothing is in the way."""
    async with node() as n:
        task = await n.submit(queue="mail")
        nobody = await why(n, task["id"])
        await beat(n, kinds=["other"])
        no_handler = await why(n, task["id"])
        await beat(n)
        await n.http.post("/api/v1/queues/mail/pause", json={"by": "ada"})
        paused = await why(n, task["id"])
        await n.http.post("/api/v1/queues/mail/resume")
        free = await why(n, task["id"])
    assert [codes(told) for told in (nobody, no_handler, paused, free)] == [
        ["no_worker"],
        ["no_handler"],
        ["queue_paused"],
        ["next"],
    ]
    assert paused["reasons"][0] == {
        "code": "queue_paused",
        "text": "queue mail is paused by ada",
        "hint": "resume the queue",
        "blocking": True,
        "facts": {"queue": "mail", "by": "ada"},
    }
    assert [told["claimable"] for told in (nobody, paused, free)] == [False, False, True]
    assert (free["task"], free["state"]) == (task["id"], "ready")


async def test_facts_are_seconds_and_times(node):
    async with node() as n:
        task = await n.submit(delay=90, deadline="2099-01-01T00:00:00Z")
        await beat(n)
        told = await why(n, task["id"])
    scheduled, deadline = told["reasons"]
    assert 0 < scheduled["facts"]["due_in"] <= 90
    due_at, as_of = (datetime.fromisoformat(at) for at in (scheduled["facts"]["due_at"], told["as_of"]))
    assert (due_at - as_of).total_seconds() == scheduled["facts"]["due_in"]
    assert scheduled["facts"]["because"] == "user"
    assert (deadline["code"], deadline["blocking"]) == ("deadline", False)
    assert deadline["facts"]["deadline_at"] == "2099-01-01T00:00:00Z"


async def test_a_limit_names_who_holds_its_slots(node):
    async with node() as n:
        await n.http.put("/api/v1/limits/key:*", json={"max_running": 1})
        first, second = await n.submit(key="k1"), await n.submit(key="k1")
        await beat(n)
        before = await why(n, second["id"])
        await n.claim("echo")
        after, running = await why(n, second["id"]), await why(n, first["id"])
    (turn,), (limit,) = before["reasons"], after["reasons"]
    assert (turn["code"], turn["facts"]["ahead"], turn["facts"]["room"]) == ("turn", 1, 1)
    assert limit["code"] == "limit_slots"
    assert limit["facts"] == {
        "name": "key:k1", "running": 1, "max_running": 1, "held_by": [first["id"]], "more": 0,
    }  # fmt: skip
    assert codes(running) == ["running"]
    assert running["reasons"][0]["facts"]["worker"] == "w1"


async def test_parents_and_final_states(node):
    async with node() as n:
        parent = await n.submit(name="extract")
        child = await n.submit(depends_on=[parent["id"]])
        await beat(n)
        blocked = await why(n, child["id"])
        (lease,) = await n.claim("echo")
        await n.settle(lease, "succeeded")
        final, released = await why(n, parent["id"]), await why(n, child["id"])
    assert codes(blocked) == ["blocked"]
    assert blocked["reasons"][0]["facts"]["parents"] == [
        {"task": parent["id"], "name": "extract", "state": "ready"}
    ]
    assert codes(final) == ["final"]
    assert final["claimable"] is False
    assert codes(released) == ["next"]


async def test_no_such_task(node):
    async with node() as n:
        unknown = await n.http.get(f"{TASKS}/0190aaaa-0000-7000-8000-000000000000/explain")
        nonsense = await n.http.get(f"{TASKS}/nonsense/explain")
        query = await n.http.get(f"{TASKS}/nonsense/explain?x=1")
    assert [unknown.status_code, nonsense.status_code, query.status_code] == [404, 404, 400]
