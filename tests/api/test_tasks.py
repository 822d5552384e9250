"""Tasks over HTTP: read, list, edit, cancel, retry, delete, and the conditions on all of these."""

import asyncio

import pytest

TASKS = "/api/v1/tasks"
NOBODY = "01a1fe09-27c2-7000-85f0-280dd56e7f97"


async def test_read(node):
    """S0-20."""
    async with node() as n:
        task = await n.submit(kind="x")
        found = await n.http.get(f"{TASKS}/{task['id']}")
        head = await n.http.head(f"{TASKS}/{task['id']}")
        missing = [await n.http.get(f"{TASKS}/{name}") for name in (NOBODY, "x", NOBODY.upper())]
    assert found.json() == task
    assert head.content == b""
    assert head.headers == found.headers
    assert [answer.status_code for answer in missing] == [404, 404, 404]


async def test_reading_changes_nothing(node):
    """Protocol check D-47."""
    async with node() as n:
        task = await n.submit()
        for path in (f"/{task['id']}", "", "/status/pending", f"/{task['id']}?wait=0"):
            await n.http.get(TASKS + path)
        assert (await n.http.get(f"{TASKS}/{task['id']}")).json() == task


async def test_waiting_for_the_end(node):
    """Peer behaviour 135: a wait ends with the task, or with its time; several waiters all get it."""
    async with node() as n:
        task = await n.submit()
        path = f"{TASKS}/{task['id']}"
        early = await n.http.get(path, params={"wait": "20ms"})
        waiters = [asyncio.create_task(n.http.get(path, params={"wait": 30})) for _ in range(3)]
        (lease,) = await n.claim()
        await n.settle(lease, "succeeded", result=[1.50])
        ended = await asyncio.gather(*waiters)
        refused = [await n.http.get(path, params={"wait": wait}) for wait in ("61", "x", "-1")]
    assert early.json()["state"] == "ready"
    assert {answer.json()["state"] for answer in ended} == {"succeeded"}
    assert ended[0].json()["result"] == [1.5]
    assert [answer.json()["field"] for answer in refused] == ["wait"] * 3


async def test_list_by_each_filter(node):
    """S0-19, S0-21; peer behaviour 140."""
    async with node() as n:
        one = await n.submit(kind="a", queue="q", tenant="t", labels={"team": "x=y"})
        two = await n.submit(kind="b", delay=60)
        three = await n.submit(kind="c")
        (lease,) = await n.claim("c")
        await n.settle(lease, "succeeded")

        async def ids(path="", **query):
            answer = await n.http.get(TASKS + path, params=query)
            assert answer.status_code == 200, answer.text
            return [task["id"] for task in answer.json()["tasks"]]

        assert await ids() == [three["id"], two["id"], one["id"]]
        assert await ids(queue="q") == await ids(kind="a") == await ids(tenant="t") == [one["id"]]
        assert await ids(label="team=x=y", kind="a") == [one["id"]]
        assert await ids(label="team=z") == await ids(kind="a", queue="other") == []
        assert await ids(state="scheduled") == [two["id"]]
        assert await ids(state="scheduled,ready") == await ids(state="pending") == [two["id"], one["id"]]
        assert await ids("/status/COMPLETED") == await ids("/status/succeeded") == [three["id"]]
        assert await ids("/status/pending", kind="b") == [two["id"]]


async def test_pages_show_each_old_task_once(node):
    """Protocol check D-48: following the tokens, or the links, while tasks are added."""
    async with node() as n:
        old = [(await n.submit())["id"] for _ in range(10)]
        seen, by_link, path = [], [], f"{TASKS}?page_size=3&state=pending"
        token = ""
        while token is not None:
            page = await n.http.get(
                TASKS, params={"page_size": 3, "page_token": token} if token else {"page_size": 3}
            )
            seen += [task["id"] for task in page.json()["tasks"]]
            token = page.json()["next_page_token"]
            await n.submit()
        while path:
            page = await n.http.get(path)
            by_link += [task["id"] for task in page.json()["tasks"]]
            path = page.links.get("next", {}).get("url")
    assert [task for task in seen if task in old] == old[::-1]
    assert [task for task in by_link if task in old] == old[::-1]


@pytest.mark.parametrize("status", ["pending", "%20Pending", "pending%0A", "%0D%0Apending"])
async def test_pages_by_status(node, status):
    """Protocol check D-48: the link is an address whatever the path was, and no line break gets out of it."""
    async with node() as n:
        ids = [(await n.submit())["id"] for _ in range(3)]
        first = await n.http.get(f"{TASKS}/status/{status}", params={"page_size": 2})
        assert not {" ", "\r", "\n"} & set(first.links["next"]["url"])
        rest = await n.http.get(first.links["next"]["url"])
    assert [task["id"] for task in first.json()["tasks"] + rest.json()["tasks"]] == ids[::-1]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("?state=nope", "state"),
        ("?page_size=0", "page_size"),
        ("?page_token=x", "page_token"),
        ("?colour=red", "colour"),
        ("?queue=a&queue=b", "queue"),
        ("?queue=%ff", "query"),
        ("/status/nope", "status"),
        ("/status/ready?state=ready", "state"),
        (f"/{NOBODY}?colour=red", "colour"),
    ],
)
async def test_bad_queries(node, path, field):
    """Protocol check D-52: unknown query parameters are refused alike everywhere."""
    async with node() as n:
        answer = await n.http.get(TASKS + path)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


# --- changes ----------------------------------------------------------------------------------------


async def test_edit_a_waiting_task(node):
    """S3-28; peer behaviour 16."""
    async with node() as n:
        task = await n.submit(kind="x", delay=60, timeout=5)
        path = f"{TASKS}/{task['id']}"
        body = {"priority": "low", "payload": {"b": 12345678901234567890}, "queue": "q", "timeout": None,
                "labels": {"l": "1"}, "max_retries": 9}  # fmt: skip
        edited = await n.http.patch(path, json=body, headers={"If-Match": '"0"'})
        assert edited.status_code == 412
        edited = await n.http.patch(path, json=body, headers={"If-Match": await tag(n, path)})
        assert edited.status_code == 200, edited.text
        read = await n.http.get(path)
        assert read.content == edited.content
        assert read.headers["etag"] == edited.headers["etag"] != task["version"]
        now = read.json()
        assert (now["priority"], now["queue"], now["timeout"], now["max_retries"]) == (2, "q", None, 9)
        assert (now["kind"], now["run_at"], now["labels"]) == ("x", task["run_at"], {"l": "1"})
        assert '"payload":{"b":12345678901234567890}' in read.text
        (await n.http.post(f"{path}/run")).raise_for_status()
        (lease,) = await n.claim("x")
        running = await n.http.patch(path, json={"priority": 1})
        await n.settle(lease, "succeeded")
        final = await n.http.patch(path, json={"priority": 1})
        missing = await n.http.patch(f"{TASKS}/{NOBODY}", json={"priority": 1})
        bad = await n.http.patch(path, json={"state": "ready"})
    assert [running.status_code, final.status_code, missing.status_code] == [409, 409, 404]
    assert {running.json()["code"], final.json()["code"]} == {"wrong_state"}
    assert (bad.status_code, bad.json()["field"]) == (400, "state")


async def tag(n, path):
    return (await n.http.get(path)).headers["etag"]


async def test_one_of_two_writers_wins(node):
    """Protocol check C-37: the compare and the write are one step."""
    async with node() as n:
        task = await n.submit(delay=60)
        path = f"{TASKS}/{task['id']}"
        for _ in range(50):
            match = {"If-Match": await tag(n, path)}
            both = (n.http.patch(path, json={"priority": p}, headers=match) for p in (1, 9))
            assert sorted(answer.status_code for answer in await asyncio.gather(*both)) == [200, 412]


@pytest.mark.parametrize(
    ("match", "status"),
    [
        ("*", 200),
        ("{tag}", 200),
        ('"x", {tag}', 200),
        ('"a,b" , {tag}', 200),
        (", ,{tag},", 200),
        ('{tag} , ,"x"', 200),
        ("W/{tag}", 412),
        ('"x"', 412),
        ('""', 412),
        ("nonsense", 412),
        ("{tag} nonsense", 412),
        ('"0{version}"', 412),
        ('"{version}.00000000"', 412),
        ('"99999999999999999999999999"', 412),
        ('"9999999999999999999"', 412),
        ('"999999999999999999"', 412),
    ],
)
async def test_if_match(node, match, status):
    """Protocol checks C-28, C-29, C-33."""
    async with node() as n:
        task = await n.submit(delay=60)
        path = f"{TASKS}/{task['id']}"
        match = match.replace("{tag}", await tag(n, path)).replace("{version}", str(task["version"]))
        answer = await n.http.patch(path, json={"priority": 9}, headers={"If-Match": match})
        now = (await n.http.get(path)).json()
    assert answer.status_code == status
    assert now["priority"] == (9 if status == 200 else 5)
    if status == 412:
        assert (answer.json()["code"], now) == ("version_mismatch", task)


@pytest.mark.parametrize(("match", "status"), [("*", 412), ('"1"', 404), ('"x"', 404), (None, 404)])
async def test_if_match_on_nothing(node, match, status):
    """Protocol checks C-30 and C-35."""
    async with node() as n:
        headers = {"If-Match": match} if match else {}
        for method, path in (
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/cancel"),
            ("POST", "/retry"),
            ("POST", "/run"),
        ):
            body = {"json": {"priority": 1}} if method == "PATCH" else {}
            answer = await n.http.request(method, f"{TASKS}/{NOBODY}{path}", headers=headers, **body)
            assert answer.status_code == status, (method, path)


async def test_if_none_match(node):
    """Protocol checks C-26, C-32, C-33: 304 with the tag and without a body; comparison is weak."""
    async with node() as n:
        task = await n.submit()
        path = f"{TASKS}/{task['id']}"
        known = await tag(n, path)
        for text in (known, f"W/{known}", f'"a,b", {known}', f",,{known}", "*"):
            for method in ("GET", "HEAD"):
                answer = await n.http.request(method, path, headers={"If-None-Match": text})
                assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", known)
        assert (await n.http.get(path, headers={"If-None-Match": '"x"'})).status_code == 200
        (lease,) = await n.claim()
        running = await tag(n, path)
        line = {"task": lease["task"], "token": lease["token"], "progress": {"fraction": 0.5}}
        (await n.http.post("/api/v1/leases/append", json={"lines": [line]})).raise_for_status()
        moved = await n.http.get(path, headers={"If-None-Match": running})
    assert moved.status_code == 200
    assert moved.json()["progress"] == {"fraction": 0.5}
    assert len({known, running, moved.headers["etag"]}) == 3


async def test_a_running_tasks_tag_can_be_used(node):
    """Protocol check C-28: whatever is shown has changed, its tag is stale."""
    async with node() as n:
        task = await n.submit()
        path = f"{TASKS}/{task['id']}"
        (lease,) = await n.claim()
        running = await tag(n, path)
        line = {"task": lease["task"], "token": lease["token"], "progress": 0.5}
        (await n.http.post("/api/v1/leases/append", json={"lines": [line]})).raise_for_status()
        stale = [
            await n.http.post(f"{path}/cancel", headers={"If-Match": match})
            for match in (f'"{task["version"]}"', running)
        ]
        asked = (await n.http.get(path)).json()["cancel_requested_at"]
        fresh = await n.http.post(f"{path}/cancel", headers={"If-Match": await tag(n, path)})
    assert [answer.status_code for answer in (*stale, fresh)] == [412, 412, 202]
    assert asked is None


async def test_conditions_are_judged_in_their_order(node):
    """Protocol checks C-34 and C-38: If-Match comes first; no date counts, for none is ever given."""
    old, new = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
    async with node() as n:
        path = f"{TASKS}/{(await n.submit(delay=60))['id']}"
        known = await tag(n, path)
        read = [
            (await n.http.get(path, headers=headers)).status_code
            for headers in (
                {"If-Match": '"x"'},
                {"If-Match": f"W/{known}"},
                {"If-Match": '"x"', "If-None-Match": known},
                {"If-Match": known, "If-None-Match": known},
                {"If-Match": known, "If-Unmodified-Since": old},
                {"If-None-Match": '"x"', "If-Modified-Since": new},
                {"If-Modified-Since": new, "If-Unmodified-Since": old},
            )
        ]
        fields = (await n.http.get(path)).headers
    assert read == [412, 412, 412, 304, 200, 200, 200]
    assert "last-modified" not in fields


@pytest.mark.parametrize(
    ("unwanted", "status"), [("*", 412), ("{tag}", 412), ("W/{tag}", 412), ('"x"', 200), ("nonsense", 200)]
)
async def test_if_none_match_on_a_write(node, unwanted, status):
    """Protocol check C-31: what is there, or is at this tag, is not written."""
    async with node() as n:
        task = await n.submit(delay=60)
        path = f"{TASKS}/{task['id']}"
        headers = {"If-None-Match": unwanted.replace("{tag}", await tag(n, path))}
        answer = await n.http.patch(path, json={"priority": 9}, headers=headers)
        now = (await n.http.get(path)).json()
        missing = await n.http.patch(f"{TASKS}/{NOBODY}", json={"priority": 9}, headers=headers)
    assert (answer.status_code, now["priority"]) == (status, 9 if status == 200 else 5)
    assert missing.status_code == 404


async def test_a_tag_where_there_are_none(node):
    """Protocol check C-28: who says what he acts on is not ignored, though nothing here has a tag."""
    calls = (
        ("PUT", "/api/v1/limits/queue:q", {"json": {"max_running": 1}}),
        ("POST", "/api/v1/queues/q/pause", {}),
        ("POST", TASKS, {"json": {}}),
        ("GET", TASKS, {}),
    )
    async with node() as n:
        refused = [
            await n.http.request(method, path, **body, headers={"If-Match": '"x"'})
            for method, path, body in calls
        ]
        limits = (await n.http.get("/api/v1/limits")).json()["limits"]
        paused = (await n.http.get("/api/v1/queues/q")).json()["paused"]
        tasks = (await n.http.get(TASKS)).json()["tasks"]
        any_state = await n.http.post("/api/v1/queues/q/pause", headers={"If-Match": "*"})
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(412, "version_mismatch")}
    assert (limits, paused, tasks, any_state.status_code) == ([], False, [], 200)


async def test_cancel_in_every_state(node):
    """Peer behaviours 98, 102 and 107."""
    async with node() as n:
        parent = await n.submit(kind="parent")
        waiting = {
            "ready": parent,
            "scheduled": await n.submit(delay=60),
            "blocked": await n.submit(depends_on=[parent["id"]]),
        }
        for state in ("blocked", "scheduled", "ready"):
            assert waiting[state]["state"] == state
            answer = await n.http.post(f"{TASKS}/{waiting[state]['id']}/cancel")
            assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        running = await n.submit(kind="r")
        (lease,) = await n.claim("r")
        asked = await n.http.post(f"{TASKS}/{running['id']}/cancel", json={})
        assert (asked.status_code, asked.json()["state"]) == (202, "running")
        assert asked.json()["cancel_requested_at"] is not None
        assert asked.headers["location"] == f"{TASKS}/{running['id']}"
        assert await n.settle(lease, "failed", error={"type": "E", "message": "m"}) == "cancel"
        ended = (await n.http.get(f"{TASKS}/{running['id']}")).json()
        again = await n.http.post(f"{TASKS}/{running['id']}/cancel")
        unread = await n.http.get(f"{TASKS}/{running['id']}")
    assert ended["state"] == "cancelled"
    assert (again.status_code, again.json()["code"]) == (409, "wrong_state")
    assert unread.json() == ended


async def test_kill_ends_a_running_task_at_once(node):
    async with node() as n:
        task = await n.submit()
        (lease,) = await n.claim()
        killed = await n.http.post(f"{TASKS}/{task['id']}/cancel", json={"kill": True})
        late = await n.settle(lease, "succeeded")
    assert (killed.status_code, killed.json()["state"]) == (200, "cancelled")
    assert late == "lost"


async def test_retry_and_run(node):
    """Peer behaviours 45 and 91."""
    async with node() as n:
        letter = await n.dead_letter(kind="x")
        later = await n.submit(delay=60)
        again = await n.http.post(f"{TASKS}/{letter['id']}/retry")
        at_once = await n.http.post(f"{TASKS}/{later['id']}/run", content=b"{}")
        wrong = [
            await n.http.post(f"{TASKS}/{letter['id']}/retry"),
            await n.http.post(f"{TASKS}/{letter['id']}/run"),
        ]
        ignored = await n.http.post(f"{TASKS}/{letter['id']}/run", json={"at": "noon"})
    assert [again.json()["state"], at_once.json()["state"]] == ["ready", "ready"]
    assert [answer.json()["code"] for answer in wrong] == ["wrong_state", "wrong_state"]
    assert wrong[1].json()["detail"] == f"task {letter['id']} is ready: run now is not possible"
    assert (ignored.status_code, ignored.json()["field"]) == (400, "body")


async def test_delete(node):
    """Contract 1.6-I: waiting and final tasks go, a running one is asked to stop (check D-46)."""
    async with node() as n:
        waiting, final, running = (
            await n.submit(delay=60),
            await n.dead_letter(kind="f"),
            await n.submit(kind="r"),
        )
        await n.claim("r")
        gone = [await n.http.delete(f"{TASKS}/{task['id']}") for task in (waiting, final)]
        again = [await n.http.delete(f"{TASKS}/{task['id']}") for task in (waiting, final)]
        asked = await n.http.delete(f"{TASKS}/{running['id']}")
    assert [answer.status_code for answer in gone] == [204, 204]
    assert [answer.status_code for answer in again] == [404, 404]
    assert (asked.status_code, asked.json()["state"]) == (202, "running")


async def test_what_others_wait_for_is_not_deleted(node):
    """Peer behaviour 150: a parent with children is not deleted. Refused, nothing has changed: neither is it
    cancelled, nor what waits for it."""
    async with node() as n:
        parent = await n.submit(delay=60)
        child = await n.submit(depends_on=[parent["id"]])
        refused = await n.http.delete(f"{TASKS}/{parent['id']}")
        after = [(await n.http.get(f"{TASKS}/{task['id']}")).json() for task in (parent, child)]
        gone = [await n.http.delete(f"{TASKS}/{task['id']}") for task in (child, parent)]
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert refused.json()["detail"] == f"unfinished tasks depend on task {parent['id']}"
    assert after == [parent, child]
    assert [answer.status_code for answer in gone] == [204, 204]


async def test_cancel_by_filter(node):
    """Peer behaviour 103: only matching ones, and how many; an empty filter is refused."""
    async with node() as n:
        for queue in ("a", "a", "a", "b"):
            await n.submit(queue=queue)
        empty = [await n.http.post(f"{TASKS}/cancel", **body) for body in ({}, {"json": {}})]
        unknown = await n.http.post(f"{TASKS}/cancel", json={"que": "a"})
        some = await n.http.post(f"{TASKS}/cancel", json={"queue": "a", "state": "pending"})
        rest = await n.http.post(f"{TASKS}/cancel", json={"all": True})
    assert [answer.status_code for answer in (*empty, unknown)] == [400, 400, 400]
    assert unknown.json()["field"] == "que"
    assert [some.json(), rest.json()] == [{"count": 3}, {"count": 1}]
