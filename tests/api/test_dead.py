"""Dead letters: what failed for good, kept with every attempt's error."""

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
