"""Queues, limits and shares, changed while everything runs."""

import asyncio

import pytest

QUEUES, LIMITS = "/api/v1/queues", "/api/v1/limits"


async def test_queues_are_listed_with_their_counts(node):
    """S0-23; peer behaviour 141: counts add up, and include empty queues asked for."""
    async with node() as n:
        await n.submit(queue="b")
        await n.submit(queue="b", delay=60)
        await n.submit(queue="a")
        listed = (await n.http.get(QUEUES)).json()["queues"]
        one = (await n.http.get(f"{QUEUES}/b")).json()
        unused = (await n.http.get(f"{QUEUES}/unused")).json()
        stats = (await n.http.get("/api/v1/cluster/stats")).json()
    assert [queue["name"] for queue in listed] == ["a", "b"]
    assert one == listed[1]
    assert (one["counts"]["ready"], one["counts"]["scheduled"]) == (1, 1)
    assert sum(unused["counts"].values()) == 0
    assert stats["total"] == sum(stats["tasks"].values()) == 3
    assert stats["queues"] == {"a": {"ready": 1}, "b": {"scheduled": 1, "ready": 1}}


async def test_a_paused_queue_is_not_claimed_from(node):
    """Peer behaviour 125."""
    async with node() as n:
        await n.submit(queue="emails")
        paused = await n.http.post(f"{QUEUES}/emails/pause", json={"by": "ada"})
        nothing = await n.claim()
        again = await n.http.post(f"{QUEUES}/emails/pause")
        resumed = await n.http.post(f"{QUEUES}/emails/resume")
        something = await n.claim()
    assert (paused.json()["paused"], paused.json()["paused_by"]) == (True, "ada")
    assert again.json()["paused"] is True
    assert (resumed.json()["paused"], resumed.json()["paused_by"]) == (False, None)
    assert (nothing, len(something)) == ([], 1)


async def test_limits(node):
    """Peer behaviour 42: never exceeded, and slots come back."""
    async with node() as n:
        path = f"{LIMITS}/key:acme/eu"
        for _ in range(3):
            await n.submit(key="acme/eu")
        put = [await n.http.put(path, json={"max_running": 1}) for _ in range(2)]
        (lease,) = await n.claim(slots=3)
        blocked = await n.claim(slots=3)
        in_use = (await n.http.get(path)).json()
        await n.settle(lease, "succeeded")
        freed = await n.claim(slots=3)
        listed = (await n.http.get(LIMITS)).json()["limits"]
        deleted = [await n.http.delete(path) for _ in range(2)]
        gone = await n.http.get(path)
        rest = await n.claim(slots=3)
    assert [answer.status_code for answer in put] == [201, 200]
    assert put[0].json() == put[1].json() == {
        "name": "key:acme/eu", "max_running": 1, "rate": None, "per": 1.0, "burst": None, "max_waiting": None,
        "running": 0,
    }  # fmt: skip
    assert in_use["running"] == 1
    assert (blocked, len(freed), len(rest)) == ([], 1, 1)
    assert [limit["name"] for limit in listed] == ["key:acme/eu"]
    assert [answer.status_code for answer in (*deleted, gone)] == [204, 204, 404]


async def test_a_limit_is_not_overwritten_unasked(node):
    """Protocol check C-31, by two at once, too; and C-30: nor is one made where one is wanted."""
    async with node() as n:
        path, only_new = f"{LIMITS}/queue:q", {"If-None-Match": "*"}
        absent = await n.http.put(path, json={"max_running": 1}, headers={"If-Match": "*"})
        none = (await n.http.get(LIMITS)).json()["limits"]
        both = await asyncio.gather(
            *(n.http.put(path, json={"max_running": n_}, headers=only_new) for n_ in (1, 2))
        )
        made = next(answer.json() for answer in both if answer.status_code == 201)
        limit = (await n.http.get(path)).json()
        replaced = await n.http.put(path, json={"max_running": 3}, headers={"If-Match": "*"})
    assert (absent.status_code, none) == (412, [])
    assert sorted(answer.status_code for answer in both) == [201, 412]
    assert limit == made
    assert (replaced.status_code, replaced.json()["max_running"]) == (200, 3)


async def test_a_queues_limit_is_shown_with_it(node):
    async with node() as n:
        await n.http.put(f"{LIMITS}/queue:q", json={"rate": 10, "per": "1m", "burst": 2, "max_waiting": 5})
        await n.http.put(f"{LIMITS}/key:*", json={"max_running": 1})
        (queue,) = (await n.http.get(QUEUES)).json()["queues"]
    assert queue["name"] == "q"
    assert (queue["limit"]["rate"], queue["limit"]["per"], queue["limit"]["max_waiting"]) == (10, 60.0, 5)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (f"{LIMITS}/queue:q", {}, "body"),
        (f"{LIMITS}/queue:q", {"max_running": -1}, "max_running"),
        (f"{LIMITS}/queue:q", {"rate": 0}, "rate"),
        (f"{LIMITS}/queue:q", {"rate": 1, "per": 0}, "per"),
        (f"{LIMITS}/queue:q", {"burst": 1, "max_running": 1}, "burst"),
        (f"{LIMITS}/queue:q", {"max_runing": 1}, "max_runing"),
        (f"{LIMITS}/kind:k", {"max_waiting": 1}, "max_waiting"),
        (f"{LIMITS}/key:*", {"max_waiting": 1, "max_running": 1}, "max_waiting"),
        (f"{LIMITS}/colour:red", {"max_running": 1}, "name"),
        (f"{LIMITS}/queue:", {"max_running": 1}, "name"),
        ("/api/v1/tenants/acme/weight", {"weight": 0}, "weight"),
        ("/api/v1/tenants/acme/weight", {}, "weight"),
    ],
)
async def test_bad_limits(node, path, body, field):
    async with node() as n:
        answer = await n.http.put(path, json=body)
        limits = (await n.http.get(LIMITS)).json()["limits"]
    assert (answer.status_code, answer.json()["field"], limits) == (400, field, [])


async def test_weights(node):
    async with node() as n:
        answer = await n.http.put("/api/v1/tenants/acme/weight", json={"weight": 2.5})
        board = await n.scheduler.board()
    assert answer.status_code == 204
    assert board.shares["acme"].weight == 2.5


@pytest.mark.parametrize("path", [f"{QUEUES}/a%20b", f"{QUEUES}/{'x' * 201}"])
async def test_bad_names(node, path):
    async with node() as n:
        answers = [await n.http.get(path), await n.http.post(f"{path}/pause")]
    assert [(answer.status_code, answer.json()["field"]) for answer in answers] == [(400, "queue")] * 2
