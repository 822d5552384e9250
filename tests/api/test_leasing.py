"""The worker protocol over HTTP (S4-05, S4-09): no store access, a token on every line, an answer to each."""

import asyncio
import json

import pytest

LEASES, TASKS = "/api/v1/leases", "/api/v1/tasks"


async def state(n, task):
    return (await n.http.get(f"{TASKS}/{task['id']}")).json()["state"]


async def test_claim_takes_what_it_can_run(node):
    """Peer behaviour 40: just its kinds and queues, never more than its slots."""
    async with node() as n:
        for fields in (
            {"kind": "a"},
            {"kind": "a"},
            {"kind": "a"},
            {"kind": "b"},
            {"kind": "a", "queue": "q"},
        ):
            await n.submit(payload={"n": 1}, **fields)
        two = await n.claim("a", slots=2)
        rest = await n.claim("a", "c", slots=10)
        none = await n.claim("c")
    assert [(lease["kind"], lease["payload"], lease["attempt"]) for lease in two] == [("a", {"n": 1}, 1)] * 2
    assert sorted(lease["queue"] for lease in two + rest) == ["default", "default", "default", "q"]
    assert len({lease["token"] for lease in two + rest}) == 4
    assert none == []


async def test_an_answer_to_a_claim_has_a_bound_in_bytes(node):
    """16 MiB: of larger tasks fewer come than were asked for, and the next claims bring the others."""
    large = "x" * 1_000_000
    async with node() as n:
        tasks = [(await n.submit(payload=large))["id"] for _ in range(20)]
        claims = [[lease["task"] for lease in await n.claim(slots=50)] for _ in range(3)]
    assert claims == [tasks[:17], tasks[17:], []]


async def test_claim_by_queue(node):
    async with node() as n:
        await n.submit(queue="a")
        body = {"worker": "w", "incarnation": "i", "claim_seq": 1, "kinds": ["echo"]}
        other = await n.http.post(f"{LEASES}/claim", json={**body, "queues": ["b"]})
        own = await n.http.post(f"{LEASES}/claim", json={**body, "queues": ["a"]})
    assert other.json() == {"leases": []}
    assert len(own.json()["leases"]) == 1
    assert own.headers["cache-control"] == "no-store"


async def test_a_repeated_claim_has_the_same_leases(node):
    """Its first answer may have been lost on the way."""
    async with node() as n:
        for _ in range(4):
            await n.submit()
        body = {"worker": "w", "incarnation": "i", "claim_seq": 7, "kinds": ["echo"], "slots": 2}
        first, again = [await n.http.post(f"{LEASES}/claim", json=body) for _ in range(2)]
        settled = [await n.settle(lease, "succeeded") for lease in first.json()["leases"]]
        spent = await n.http.post(f"{LEASES}/claim", json=body)
        stats = (await n.http.get("/api/v1/cluster/stats")).json()["tasks"]
    assert first.json() == again.json()
    assert len(first.json()["leases"]) == 2
    assert settled == ["ok", "ok"]
    assert spent.json() == {"leases": []}
    assert stats["ready"] == 2


@pytest.mark.parametrize("wait", [0, 10])
async def test_a_repeated_claim_has_the_last_leases_that_there_were(node, wait):
    """Nothing is ready any more, so no lane is worth a question; the repeat is one all the same."""
    async with node() as n:
        await n.submit()
        body = {"worker": "w", "incarnation": "i", "claim_seq": 7, "kinds": ["echo"], "wait": wait}
        first, again = [await n.http.post(f"{LEASES}/claim", json=body) for _ in range(2)]
    assert first.json() == again.json()
    assert len(first.json()["leases"]) == 1


async def test_a_claim_waits_for_work(node):
    """Peer behaviour 11: submitting wakes an idle worker at once."""
    async with node() as n:
        body = {"worker": "w", "incarnation": "i", "claim_seq": 1, "kinds": ["echo"], "wait": 30}
        waiting = asyncio.create_task(n.http.post(f"{LEASES}/claim", json=body))
        while not n.scheduler._claiming._waiters:
            await asyncio.sleep(0)
        task = await n.submit()
        (lease,) = (await waiting).json()["leases"]
    assert lease["task"] == task["id"]


async def test_a_claim_whose_worker_hangs_up_takes_nothing(node):
    """Protocol check G-79: the caller is gone, and no lease is left behind."""
    async with node() as n:
        body = {"worker": "w", "incarnation": "i", "claim_seq": 1, "kinds": ["echo"], "wait": 30}
        hung_up = asyncio.Event()
        messages = iter([{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}])

        async def receive():
            for message in messages:
                return message
            await hung_up.wait()
            return {"type": "http.disconnect"}

        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": f"{LEASES}/claim",
                 "query_string": b"", "headers": [(b"host", b"localhost")]}  # fmt: skip
        claiming = asyncio.create_task(n.app(scope, receive, send))
        while not n.scheduler._claiming._waiters:
            await asyncio.sleep(0)
        hung_up.set()
        await claiming
        task = await n.submit()
        assert sent == []
        assert n.scheduler._claiming._waiters == []
        assert await state(n, task) == "ready"


async def test_settle_answers_each_line(node):
    async with node() as n:
        for _ in range(4):
            await n.submit(max_retries=0)
        leases = await n.claim(slots=4)
        cancelled = leases[2]["task"]
        await n.http.post(f"{TASKS}/{cancelled}/cancel")
        lines = [
            {"task": lease["task"], "token": lease["token"], "outcome": "succeeded", "result": 2**70}
            for lease in leases
        ]
        lines[1]["token"] -= 1
        lines[2] = {**lines[2], "outcome": "failed", "error": {"type": "E", "message": "m"}}
        del lines[2]["result"]
        first = await n.http.post(f"{LEASES}/settle", json={"reports": lines})
        again = await n.http.post(f"{LEASES}/settle", json={"reports": lines[:1]})
        read = await n.http.get(f"{TASKS}/{leases[0]['task']}")
        states = [await state(n, {"id": lease["task"]}) for lease in leases]
    assert first.json() == {"answers": ["ok", "lost", "cancel", "ok"]}
    assert again.json() == {"answers": ["already"]}
    assert states == ["succeeded", "running", "cancelled", "succeeded"]
    assert f'"result":{2**70},' in read.text


@pytest.mark.parametrize(
    ("outcome", "fields", "expected"),
    [
        ("succeeded", {}, "succeeded"),
        ("failed", {"error": {"type": "E", "message": "m"}}, "scheduled"),
        ("failed", {"error": {"type": "E", "message": "m"}, "retryable": False}, "failed"),
        ("released", {}, "ready"),
        ("snoozed", {"delay": 60}, "scheduled"),
        ("cancelled", {}, "cancelled"),
        ("lost", {}, "ready"),
    ],
)
async def test_every_outcome(node, outcome, fields, expected):
    async with node() as n:
        task = await n.submit()
        (lease,) = await n.claim()
        assert await n.settle(lease, outcome, **fields) == "ok"
        assert await state(n, task) == expected


async def test_renew(node):
    """A lease that is not named goes back, uncounted; a cancelled one is told so."""
    async with node() as n:
        for _ in range(3):
            await n.submit()
        held, dropped, cancelled = await n.claim(slots=3)
        await n.http.post(f"{TASKS}/{cancelled['task']}/cancel")
        lines = [{"task": lease["task"], "token": lease["token"]} for lease in (held, cancelled)]
        lines.append({"task": held["task"], "token": held["token"] - 1})
        body = {"incarnation": "w1-i", "claim_seq": 1, "held": lines}
        answer = await n.http.post(f"{LEASES}/renew", json=body)
        back = (await n.http.get(f"{TASKS}/{dropped['task']}")).json()
    assert answer.json() == {"answers": ["ok", "cancel", "lost"]}
    assert (back["state"], back["attempt"], back["losses"]) == ("ready", 0, 0)


async def test_append(node):
    """S3-25: a checkpoint is there for the next attempt."""
    async with node() as n:
        task = await n.submit(retry={"delay": 0, "jitter": 0})
        (lease,) = await n.claim()
        line = {"task": lease["task"], "token": lease["token"], "checkpoint": {"row": 7}, "progress": 0.5}
        late = {**line, "token": line["token"] - 1, "checkpoint": {"row": 1}}
        answer = await n.http.post(f"{LEASES}/append", json={"lines": [line, late]})
        shown = (await n.http.get(f"{TASKS}/{task['id']}")).json()
        await n.settle(lease, "failed", error={"type": "E", "message": "m"})
        (again,) = await n.claim()
    assert answer.json() == {"answers": ["ok", "lost"]}
    assert (shown["checkpoint"], shown["progress"]) == ({"row": 7}, 0.5)
    assert again["checkpoint"] == {"row": 7}


async def test_recall(node):
    """S3-25: the next run asks for what earlier ones recorded; a run that lost its lease learns nothing."""
    async with node() as n:
        parent = await n.submit(name="fetch")
        (lease,) = await n.claim()
        await n.settle(lease, "succeeded", result={"rows": 3})
        child = await n.submit(depends_on=[parent["id"]], retry={"delay": 0, "jitter": 0})
        (first,) = await n.claim()
        line = {"task": child["id"], "token": first["token"], "steps": {"a": [1], "b": None}}
        log = [{"offset": 0, "stream": "stderr", "text": "hm\n"}]
        recorded = await n.http.post(f"{LEASES}/append", json={"lines": [{**line, "log": log}]})
        await n.settle(first, "failed", error={"type": "E", "message": "m"})
        (second,) = await n.claim()
        lines = [{"task": child["id"], "token": lease["token"]} for lease in (first, second)]
        answer = (await n.http.post(f"{LEASES}/recall", json={"lines": lines})).json()["answers"]
        only = [{**lines[1], "parents": False}]
        steps = (await n.http.post(f"{LEASES}/recall", json={"lines": only})).json()["answers"]
    assert recorded.json() == {"answers": ["ok"]}
    assert answer[0]["code"] == "lease_lost"
    parents = [{"id": parent["id"], "state": "succeeded", "name": "fetch", "result": {"rows": 3}}]
    assert answer[1] == {"steps": {"a": [1], "b": None}, "parents": parents}
    assert steps == [{"steps": {"a": [1], "b": None}}]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("claim", {"worker": "w", "incarnation": "i", "claim_seq": 1, "kinds": []}, "kinds"),
        ("claim", {"worker": "w"}, "incarnation"),
        ("settle", {"reports": [{"task": "t", "token": 1, "outcome": "done"}]}, "reports[0].outcome"),
        ("renew", {"incarnation": "i", "claim_seq": 1, "held": [{"task": "t"}]}, "held[0].token"),
        ("append", {"lines": [{"task": "t", "token": 1, "progres": 1}]}, "lines[0].progres"),
        ("recall", {"lines": [{"task": "t"}]}, "lines[0].token"),
        ("recall", {"lines": [{"task": "t", "token": 1, "step": True}]}, "lines[0].step"),
    ],
)
async def test_bad_lines(node, path, body, field):
    async with node() as n:
        answer = await n.http.post(f"{LEASES}/{path}", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_workers_register_and_leave(node):
    """S3-21; peer behaviour 117."""
    async with node() as n:
        body = {
            "incarnation": "i-1",
            "kinds": ["echo"],
            "queues": [],
            "slots": 10,
            "running": 3,
            "version": "1",
        }
        registered = await n.http.put("/api/v1/workers/w1", json=body)
        listed = (await n.http.get("/api/v1/workers")).json()["workers"]
        one = (await n.http.get("/api/v1/workers/w1")).json()
        other = await n.http.delete("/api/v1/workers/w1", params={"incarnation": "i-0"})
        still = (await n.http.get("/api/v1/workers")).json()["workers"]
        nameless = await n.http.delete("/api/v1/workers/w1")
        left = await n.http.delete("/api/v1/workers/w1", params={"incarnation": "i-1"})
        gone = await n.http.get("/api/v1/workers/w1")
    assert (registered.status_code, other.status_code, left.status_code) == (204, 204, 204)
    assert (nameless.status_code, gone.status_code) == (400, 404)
    assert len(still) == 1
    assert {**one, "age": 0} == {**listed[0], "age": 0}
    assert {name: one[name] for name in body} == body
    assert one["age"] >= 0
