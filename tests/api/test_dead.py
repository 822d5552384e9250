"""Dead letters: what failed for good, kept with every attempt's error."""

from datetime import datetime
from itertools import pairwise

TASKS, DEAD = "/api/v1/tasks", "/api/v1/dead"


async def test_a_dead_letter_keeps_every_attempt(node):
    """S3-27: kept for analysis; S1-10, S1-53: retries, then the dead letters, and FAILED stays on record."""
    async with node() as n:
        task = await n.submit(kind="x", max_retries=1, retry={"delay": 0, "jitter": 0})
        for attempt, error in ((1, "first"), (2, "second")):
            (lease,) = await n.claim("x")
            assert lease["attempt"] == attempt
            report = {"type": "ValueError", "message": error}
            assert await n.settle(lease, "failed", error=report, error_type="ValueError") == "ok"
        letter = (await n.http.get(f"{DEAD}/{task['id']}")).json()
        listed = (await n.http.get(DEAD)).json()["tasks"]
    assert letter == listed[0]
    assert (letter["state"], letter["attempt"], letter["retries"]) == ("failed", 2, 1)
    assert letter["error"]["message"] == "second"
    assert [(run["attempt"], run["outcome"], run["error"]["message"]) for run in letter["attempts"]] == [
        (1, "failed", "first"),
        (2, "failed", "second"),
    ]


async def test_only_failed_tasks_are_dead_letters(node):
    async with node() as n:
        task = await n.submit()
        answers = [
            await n.http.get(f"{DEAD}/{task['id']}"),
            await n.http.post(f"{DEAD}/{task['id']}/replay"),
            await n.http.delete(f"{DEAD}/{task['id']}"),
        ]
        listed = (await n.http.get(DEAD)).json()
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert listed == {"tasks": [], "next_page_token": None}


async def test_replay_and_purge_one(node):
    """Peer behaviour 128."""
    async with node() as n:
        one, two = await n.dead_letter(kind="a"), await n.dead_letter(kind="b")
        stale = await n.http.delete(f"{DEAD}/{two['id']}", headers={"If-Match": '"1"'})
        replayed = await n.http.post(f"{DEAD}/{one['id']}/replay")
        purged = await n.http.delete(f"{DEAD}/{two['id']}")
        gone = await n.http.get(f"{TASKS}/{two['id']}")
        left = (await n.http.get(DEAD)).json()["tasks"]
    assert (stale.status_code, replayed.status_code, purged.status_code, gone.status_code) == (
        412,
        200,
        204,
        404,
    )
    record = replayed.json()
    assert (record["state"], record["attempt"], record["retries"], record["error"]) == ("ready", 0, 0, None)
    assert left == []


async def test_replay_and_purge_by_filter(node):
    """Counts returned, and an empty filter refused (peer behaviour 132)."""
    async with node() as n:
        for kind in ("a", "a", "b", "b", "c"):
            await n.dead_letter(kind=kind, queue=kind)
        await n.submit(kind="a")
        empty = [await n.http.post(f"{DEAD}/{action}") for action in ("replay", "purge")]
        alive = await n.http.post(f"{DEAD}/purge", json={"state": "ready"})
        replayed = await n.http.post(f"{DEAD}/replay", json={"kind": "a"})
        purged = await n.http.post(f"{DEAD}/purge", json={"queue": "b", "state": "dead"})
        rest = await n.http.post(f"{DEAD}/purge", json={"all": True})
        stats = (await n.http.get("/api/v1/cluster/stats")).json()["tasks"]
    assert [answer.status_code for answer in (*empty, alive)] == [400, 400, 400]
    assert [replayed.json(), purged.json(), rest.json()] == [{"count": 2}, {"count": 2}, {"count": 1}]
    assert (stats["ready"], stats["failed"]) == (3, 0)


async def test_letters_are_listed_by_filter(node):
    async with node() as n:
        for kind in ("a", "b", "b"):
            await n.dead_letter(kind=kind)
        page = await n.http.get(DEAD, params={"kind": "b", "page_size": 1})
        rest = await n.http.get(page.links["next"]["url"])
        state = await n.http.get(DEAD, params={"state": "failed"})
    assert [len(answer.json()["tasks"]) for answer in (page, rest)] == [1, 1]
    assert page.json()["tasks"] != rest.json()["tasks"]
    assert state.status_code == 400


# --- by group, and at a rate -------------------------------------------------------------------------


async def failing(n, message: str, type_: str = "ValueError", **fields: object) -> dict:
    """A dead letter with this error."""
    task = await n.submit(max_retries=0, **fields)
    (lease,) = await n.claim(task["kind"])
    error = {"type": type_, "message": message, "place": "bank.py:pay:44"}
    assert await n.settle(lease, "failed", error=error) == "ok"
    return task


async def test_letters_that_failed_alike_are_listed_as_one(node):
    """Peer behaviour 128: a thousand failures with one cause are one line."""
    async with node() as n:
        for number in range(3):
            last = await failing(n, f"no customer {number}")
        other = await failing(n, "no key", "KeyError")
        page = await n.http.get(f"{DEAD}/groups", params={"page_size": 1})
        rest = await n.http.get(page.links["next"]["url"])
        (group,) = page.json()["groups"]
        listed = await n.http.get(DEAD, params={"fingerprint": group["fingerprint"], "page_size": 2})
        more = await n.http.get(listed.links["next"]["url"])
    assert (group["kind"], group["error_type"], group["place"]) == ("echo", "ValueError", "bank.py:pay:44")
    assert (group["count"], group["sample"], group["message"]) == (3, last["id"], "no customer 2")
    assert group["first_seen"] <= group["last_seen"]
    assert rest.json()["next_page_token"] is None
    assert [left["sample"] for left in rest.json()["groups"]] == [other["id"]]
    assert [len(answer.json()["tasks"]) for answer in (listed, more)] == [2, 1]


async def test_a_group_is_replayed_or_purged_alone(node):
    async with node() as n:
        for number in range(3):
            await failing(n, f"no customer {number}")
            await failing(n, f"no key {number}", "KeyError")
        values, keys = (await n.http.get(f"{DEAD}/groups")).json()["groups"]
        replayed = await n.http.post(f"{DEAD}/replay", json={"fingerprint": values["fingerprint"]})
        purged = await n.http.post(f"{DEAD}/purge", json={"fingerprint": keys["fingerprint"]})
        again = await n.http.post(f"{DEAD}/replay", json={"fingerprint": values["fingerprint"]})
        groups = (await n.http.get(f"{DEAD}/groups")).json()["groups"]
        stats = (await n.http.get("/api/v1/cluster/stats")).json()["tasks"]
    assert [answer.json() for answer in (replayed, purged, again)] == [
        {"count": 3},
        {"count": 3},
        {"count": 0},
    ]
    assert groups == []
    assert (stats["ready"], stats["failed"], stats["scheduled"]) == (3, 0, 0)


async def test_a_replay_at_a_rate_is_spread_over_time(node):
    """The first at once, the others behind each other; the newest first."""
    async with node() as n:
        letters = [await failing(n, "no") for _ in range(4)]
        answer = await n.http.post(f"{DEAD}/replay", json={"all": True, "rate": "2/h"})
        records = [(await n.http.get(f"{TASKS}/{letter['id']}")).json() for letter in reversed(letters)]
        told = (await n.http.get(f"{TASKS}/{letters[0]['id']}/explain")).json()
    assert answer.json() == {"count": 4}
    assert [record["state"] for record in records] == ["ready", "scheduled", "scheduled", "scheduled"]
    due = [datetime.fromisoformat(record["run_at"]) for record in records[1:]]
    gaps = [(later - sooner).total_seconds() for sooner, later in pairwise(due)]
    assert gaps == [1800.0, 1800.0]
    assert told["reasons"][0]["facts"]["because"] == "replay"


async def test_bad_groups_and_rates_change_nothing(node):
    async with node() as n:
        await failing(n, "no")
        bad = [{"fingerprint": "x"}, {"all": True, "rate": "fast"}, {"rate": "1/s"}, {"group": "x"}]
        answers = [await n.http.post(f"{DEAD}/replay", json=body) for body in bad]
        rate = await n.http.post(f"{DEAD}/purge", json={"all": True, "rate": "1/s"})
        token = await n.http.get(f"{DEAD}/groups", params={"page_token": "x"})
        listed = await n.http.get(DEAD, params={"fingerprint": "x"})
        left = (await n.http.get(DEAD)).json()["tasks"]
    assert [answer.json()["field"] for answer in answers] == ["fingerprint", "rate", "body", "group"]
    assert {answer.status_code for answer in (*answers, rate, token, listed)} == {400}
    assert len(left) == 1
