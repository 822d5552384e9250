"""The jobs dialect (source S4): its curls as written, and what its workers may send."""

import pytest

TASKS = "/api/v1/tasks"
SLEEP = b'{ "type": "sleep", "payload": {"duration": 5}, "priority": 7 }'
JSON = {"Content-Type": "application/json"}


async def job(n, **fields) -> dict:
    answer = await n.http.post("/jobs", json={"type": "sleep", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_the_curls_of_the_source(node):
    """S4-01, S4-16, S4-17, S4-21: submit as the source writes it, and read it back."""
    async with node() as n:
        created = await n.http.post("/jobs", content=SLEEP, headers=JSON)
        made = created.json()
        read = await n.http.get(f"/jobs/{made['id']}")
        task = (await n.http.get(f"{TASKS}/{made['id']}")).json()
    assert created.status_code == 201
    assert created.headers["location"] == f"/jobs/{made['id']}"
    assert read.json() == made
    assert (made["type"], made["payload"], made["priority"], made["status"]) == (
        "sleep",
        {"duration": 5},
        7,
        "ready",
    )
    assert (task["kind"], task["payload"], task["priority"]) == ("sleep", {"duration": 5}, 7)
    assert "token" not in made


async def test_fetch_and_complete(node):
    """S4-05, S4-09, S4-18, S4-19: a worker that knows two calls, and no database."""
    async with node() as n:
        nothing = await n.http.get("/next-job")
        made = await job(n)
        fetched = await n.http.get("/next-job", params={"worker_id": "worker-1"})
        twice = await n.http.get("/next-job", params={"worker_id": "worker-2"})
        done = await n.http.post(f"/jobs/{made['id']}/complete", json={"result": {"slept": 5.0}})
        read = (await n.http.get(f"/jobs/{made['id']}")).json()
    assert (nothing.status_code, nothing.content, twice.status_code) == (204, b"", 204)
    assert fetched.headers["cache-control"] == nothing.headers["cache-control"] == "no-store"
    assert fetched.json()["id"] == made["id"]
    assert (fetched.json()["status"], fetched.json()["worker_id"]) == ("running", "worker-1")
    assert done.status_code == 200
    assert read == done.json()
    assert (read["status"], read["result"], read["error"]) == ("succeeded", {"slept": 5.0}, None)


async def test_higher_priority_first(node):
    """S4-01, S0-02: higher runs sooner, first in first out inside one priority (S1-03)."""
    async with node() as n:
        ids = {}
        for name, priority in (("low", 2), ("one", 7), ("two", 7), ("top", 10)):
            ids[(await job(n, priority=priority))["id"]] = name
        fetched = [ids[(await n.http.get("/next-job")).json()["id"]] for _ in range(4)]
    assert fetched == ["top", "one", "two", "low"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (None, "succeeded"),
        ({}, "succeeded"),
        ({"success": True, "result": 1}, "succeeded"),
        ({"status": "completed"}, "succeeded"),
        ({"error": None}, "succeeded"),
        ({"anything": "else"}, "succeeded"),
        ({"success": False}, "scheduled"),
        ({"status": "failed"}, "scheduled"),
        ({"error": "no such host"}, "scheduled"),
        ({"error": {"type": "Timeout", "message": "too slow"}}, "scheduled"),
    ],
)
async def test_what_workers_report(node, body, status):
    """S4-03, S4-19: the body is not given by the source; a failed job is tried again."""
    async with node() as n:
        made = await job(n)
        await n.http.get("/next-job")
        request = {} if body is None else {"json": body}
        done = await n.http.post(f"/jobs/{made['id']}/complete", **request)
    assert (done.status_code, done.json()["status"]) == (200, status)


async def test_failed_jobs_wait_for_their_timeout(node):
    """S4-04, S4-30 (contract 1.6-M): a fixed delay, the configured time-out."""
    async with node(job_timeout_s=120.0) as n:
        by_default, own = await job(n), await job(n, timeout="40s", max_retries=0)
        tasks = [(await n.http.get(f"{TASKS}/{made['id']}")).json() for made in (by_default, own)]
        for made in (by_default, own):
            await n.http.get("/next-job")
            await n.http.post(f"/jobs/{made['id']}/complete", json={"error": "no"})
        ended = [(await n.http.get(f"/jobs/{made['id']}")).json() for made in (by_default, own)]
    assert [(task["timeout"], task["retry"]["strategy"], task["retry"]["delay"]) for task in tasks] == [
        (120, "fixed", 120),
        (40, "fixed", 40),
    ]
    assert [made["status"] for made in ended] == ["scheduled", "failed"]
    assert ended[1]["error"] == {"type": "JobFailed", "message": "no"}


async def test_a_fetched_job_is_held_as_long_as_it_may_run(node):
    """S4-31: its worker renews nothing, and the scheduler watches the timeout."""
    async with node() as n:
        made = await job(n, timeout=600)
        await n.http.get("/next-job")
        task = (await n.http.get(f"{TASKS}/{made['id']}")).json()
        (record,) = await n.scheduler.store.get([made["id"]])
    assert task["timeout_at"] is not None
    assert record.lease_until_us - record.started_at_us >= 600_000_000


async def test_late_reports_are_refused(node):
    """A token, where a worker gives one, fences it; without one, the worker's name does."""
    async with node() as n:
        made = await job(n)
        path = f"/jobs/{made['id']}/complete"
        early = await n.http.post(path)
        fetched = (await n.http.get("/next-job", params={"worker_id": "worker-1"})).json()
        stranger = await n.http.post(path, json={"worker_id": "worker-2"})
        stale = await n.http.post(path, json={"token": fetched["token"] - 1})
        first = await n.http.post(path, json={"token": fetched["token"], "worker_id": "worker-1"})
        repeated = await n.http.post(path, json={"token": fetched["token"], "worker_id": "worker-1"})
        late = await n.http.post(path)
        missing = await n.http.post("/jobs/01a1fe09-27c2-7000-85f0-280dd56e7f97/complete")
    assert [answer.status_code for answer in (early, stranger, stale, late)] == [409] * 4
    assert [answer.json()["code"] for answer in (early, stranger, stale)] == [
        "wrong_state",
        "lease_lost",
        "lease_lost",
    ]
    assert (first.status_code, repeated.status_code, missing.status_code) == (200, 200, 404)
    assert first.json() == repeated.json()


async def test_types(node):
    """Types in any case; a worker may name those it knows."""
    async with node() as n:
        made = {
            name: (await job(n, type=name))["id"] for name in ("HTTP", "Sleep", "file", "command", "resize")
        }
        asked = await n.http.get("/next-job", params={"type": "resize, thumbnail"})
        usual = [(await n.http.get("/next-job")).json()["type"] for _ in range(4)]
        none_left = await n.http.get("/next-job")
    assert asked.json()["id"] == made["resize"]
    assert usual == ["http", "sleep", "file", "command"]
    assert none_left.status_code == 204


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "a b"}, "type"),
        ({"priority": 11}, "priority"),
        ({"priority": "urgent"}, "priority"),
        ({"timeout": "x"}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"prioritty": 1}, "prioritty"),
    ],
)
async def test_bad_jobs(node, body, field):
    async with node() as n:
        answer = await n.http.post("/jobs", json={"type": "sleep", **body})
        stats = (await n.http.get("/api/v1/cluster/stats")).json()
    assert (answer.status_code, answer.json()["field"], stats["total"]) == (400, field, 0)


async def test_a_job_is_never_fetched_by_accident(node):
    """Not by HEAD, not by another site's page: a claim by GET needs some care."""
    async with node() as n:
        made = await job(n)
        head = await n.http.head("/next-job")
        page = await n.http.get("/next-job", headers={"Sec-Fetch-Site": "cross-site"})
        bad = await n.http.get("/next-job", params={"worker": "w"})
        read = (await n.http.get(f"/jobs/{made['id']}")).json()
    assert (head.status_code, head.headers["allow"]) == (405, "GET")
    assert (page.status_code, bad.status_code, read["status"]) == (403, 400, "ready")


async def test_jobs_have_tags(node):
    """Protocol checks C-26 and C-27: another representation, another tag; also while it changes under way."""
    async with node() as n:
        made = await job(n)
        read = await n.http.get(f"/jobs/{made['id']}")
        task = await n.http.get(f"{TASKS}/{made['id']}")
        again = await n.http.get(f"/jobs/{made['id']}", headers={"If-None-Match": read.headers["etag"]})
        (lease,) = await n.claim("sleep")
        claimed = await n.http.get(f"/jobs/{made['id']}")
        held = {"task": lease["task"], "token": lease["token"], "started": False}
        renewal = {"incarnation": "w1-i", "claim_seq": 1, "held": [held]}
        (await n.http.post("/api/v1/leases/renew", json=renewal)).raise_for_status()
        waiting = await n.http.get(f"/jobs/{made['id']}")
    assert claimed.json()["started_at"] != waiting.json()["started_at"]
    assert claimed.headers["etag"] != waiting.headers["etag"]
    assert read.headers["etag"] != task.headers["etag"]
    assert (again.status_code, again.content) == (304, b"")


async def test_a_repeated_submit_under_a_key(node):
    """Protocol check B-17: the first answer again, though the job has been fetched since; another node shows
    it as it is."""
    async with node() as n:

        async def submit():
            return await n.http.post("/jobs", content=SLEEP, headers={**JSON, "Idempotency-Key": "k"})

        first = await submit()
        await n.http.get("/next-job")
        again = await submit()
        n.app._door.replies._kept.clear()
        elsewhere = await submit()
    assert [answer.status_code for answer in (first, again, elsewhere)] == [201, 201, 201]
    assert again.content == first.content
    assert elsewhere.json()["status"] == "running"
    assert {answer.headers["location"] for answer in (first, again, elsewhere)} == {first.headers["location"]}
    assert {answer.headers["idempotency-replayed"] for answer in (again, elsewhere)} == {"true"}
