"""Schedules over HTTP: made, read, changed, paused, triggered, skipped; and what became of their fires."""

import asyncio

import pytest

SCHEDULES = "/api/v1/schedules"
NIGHTLY = {"cron": "0 3 * * *", "zone": "Europe/Berlin", "task": {"command": "backup.sh"}}
YEARLY = {"cron": "@yearly", "task": {"kind": "echo"}}


async def make(n, id="nightly", **fields):
    answer = await n.http.post(SCHEDULES, json={"id": id, **NIGHTLY, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


# --- making and reading -----------------------------------------------------------------------------


async def test_a_schedule_is_made_and_read(node):
    async with node() as n:
        made = await n.http.post(SCHEDULES, json={"id": "nightly", **NIGHTLY})
        read = await n.http.get(f"{SCHEDULES}/nightly")
    assert (made.status_code, made.headers["location"]) == (201, f"{SCHEDULES}/nightly")
    assert made.headers["etag"] == read.headers["etag"] == f'"{made.json()["version"]}"'
    view = read.json()
    assert view == made.json()
    assert (view["cron"], view["zone"], view["dst"], view["misfire"], view["overlap"]) == (
        "0 3 * * *", "Europe/Berlin", "debian", "fire_once", "allow",
    )  # fmt: skip
    assert view["task"]["kind"] == "command"
    assert view["task"]["payload"] == {"command": "backup.sh"}
    assert (view["last_fire_at"], view["last_task"], view["quarantine"], view["paused"]) == (
        None, None, None, False,
    )  # fmt: skip
    assert view["next_fire_at"][11:] in ("01:00:00Z", "02:00:00Z")
    assert view["created_at"] == view["updated_at"]


async def test_an_id_is_minted_where_none_is_chosen(node):
    async with node() as n:
        first, second = [(await n.http.post(SCHEDULES, json=NIGHTLY)).json()["id"] for _ in range(2)]
        assert (await n.http.get(f"{SCHEDULES}/{first}")).json()["id"] == first
    assert first != second


async def test_an_id_is_made_once(node):
    async with node() as n:
        before = await make(n)
        again = await n.http.post(SCHEDULES, json={"id": "nightly", **YEARLY})
        after = (await n.http.get(f"{SCHEDULES}/nightly")).json()
    assert (again.status_code, again.json()["code"]) == (409, "id_taken")
    assert after == before


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": "x" * 257}, "cron"),
        ({"cron": "0 3 * *"}, "cron"),
        ({"cron": None}, "cron"),
        ({"every": "5m"}, "every"),
        ({"end": "2001-01-01T00:00:00Z"}, "end"),
        ({"zone": "Mars/Olympus"}, "zone"),
        ({"misfire": "fire_all(0)"}, "misfire"),
        ({"overlap": "maybe"}, "overlap"),
        ({"crn": "@daily"}, "crn"),
        ({"id": "a b"}, "id"),
        ({"task": None}, "task"),
        ({"task": {"run_at": "2040-01-01T00:00:00Z"}}, "task.run_at"),
        ({"task": {"kind": "a b"}}, "task.kind"),
    ],
)
async def test_bad_input_names_its_field_and_stores_nothing(node, change, field):
    async with node() as n:
        answers = [
            await n.http.post(SCHEDULES, json={"id": "nightly", **NIGHTLY, **change}),
            await n.http.post(f"{SCHEDULES}/preview", json={"id": "nightly", **NIGHTLY, **change}),
        ]
        listed = (await n.http.get(SCHEDULES)).json()
    made, previewed = answers
    assert (made.status_code, made.json()["code"], made.json()["field"]) == (400, "invalid_input", field)
    # A preview needs no task.
    assert previewed.status_code == (200 if change == {"task": None} else 400)
    assert listed == {"schedules": [], "next_page_token": None}


async def test_lists_have_pages(node):
    async with node() as n:
        ids = [f"s{number}" for number in range(5)]
        for id in reversed(ids):
            await make(n, id)
        found, query = [], {"page_size": "2"}
        while True:
            answer = await n.http.get(SCHEDULES, params=query)
            page = answer.json()
            found += [schedule["id"] for schedule in page["schedules"]]
            assert ("link" in answer.headers) == (page["next_page_token"] is not None)
            if page["next_page_token"] is None:
                break
            query["page_token"] = page["next_page_token"]
        stranger = await n.http.get(f"{SCHEDULES}/s1/fires", params={"page_token": query["page_token"]})
    assert found == ids
    assert (stranger.status_code, stranger.json()["field"]) == (400, "page_token")


# --- keys and conditions ----------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [{}, {"id": "nightly"}])
async def test_a_key_makes_one_schedule(node, chosen):
    key = {"Idempotency-Key": '"deploy-7"'}
    async with node() as n:
        first = await n.http.post(SCHEDULES, json={**NIGHTLY, **chosen}, headers=key)
        again = await n.http.post(SCHEDULES, json={**NIGHTLY, **chosen}, headers=key)
        other = await n.http.post(SCHEDULES, json={**YEARLY, **chosen}, headers=key)
        listed = (await n.http.get(SCHEDULES)).json()["schedules"]
    assert [first.status_code, again.status_code] == [201, 201]
    assert again.json() == first.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert other.json()["code"] == ("id_taken" if chosen else "idempotency_key_reused")
    assert len(listed) == 1


async def test_put_makes_and_replaces(node):
    async with node() as n:
        only_new = {"If-None-Match": "*"}
        made = await n.http.put(f"{SCHEDULES}/nightly", json=NIGHTLY, headers=only_new)
        again = await n.http.put(f"{SCHEDULES}/nightly", json=YEARLY, headers=only_new)
        kept = (await n.http.get(f"{SCHEDULES}/nightly")).json()
        replaced = await n.http.put(f"{SCHEDULES}/nightly", json=YEARLY)
        new = await n.http.put(f"{SCHEDULES}/other", json=YEARLY)
        elsewhere = await n.http.put(f"{SCHEDULES}/nightly", json={"id": "other", **YEARLY})
        unnamed = await n.http.put(f"{SCHEDULES}/a b", json=YEARLY)
    assert [made.status_code, again.status_code, replaced.status_code, new.status_code] == [
        201,
        412,
        200,
        201,
    ]
    assert kept == made.json()
    assert (replaced.json()["cron"], replaced.json()["zone"]) == ("@yearly", "UTC")
    assert replaced.json()["created_at"] == made.json()["created_at"]
    assert [elsewhere.status_code, unnamed.status_code] == [400, 400]


async def test_changes_name_the_version_they_are_made_of(node):
    """Protocol checks C-28, C-30, C-31 and C-32, as for tasks."""
    async with node() as n:
        made = await make(n)
        path, tag = f"{SCHEDULES}/nightly", f'"{made["version"]}"'
        unchanged = await n.http.get(path, headers={"If-None-Match": tag})
        changed = await n.http.patch(path, json={"jitter": "5m"}, headers={"If-Match": tag})
        stale = [
            await n.http.patch(path, json={"jitter": 0}, headers={"If-Match": tag}),
            await n.http.put(path, json=YEARLY, headers={"If-Match": tag}),
            await n.http.post(f"{path}/pause", headers={"If-Match": tag}),
            await n.http.delete(path, headers={"If-Match": tag}),
            await n.http.put(f"{SCHEDULES}/absent", json=YEARLY, headers={"If-Match": "*"}),
            await n.http.put(f"{SCHEDULES}/absent", json=YEARLY, headers={"If-Match": tag}),
            await n.http.put(path, json=YEARLY, headers={"If-None-Match": changed.headers["etag"]}),
            await n.http.post(f"{path}/trigger", headers={"If-Match": tag}),
            await n.http.post(f"{path}/skip-next", headers={"If-Match": tag}),
            await n.http.post(
                f"{path}/skip-until", json={"until": "2040-01-01T00:00:00Z"}, headers={"If-Match": tag}
            ),
        ]
        tasks = (await n.http.get("/api/v1/tasks")).json()["tasks"]
        read = (await n.http.get(path)).json()
        gone = await n.http.delete(path, headers={"If-Match": changed.headers["etag"]})
    assert unchanged.status_code == 304
    assert (changed.status_code, changed.json()["jitter"]) == (200, 300)
    assert [answer.status_code for answer in stale] == [412] * 10
    assert (read, tasks) == (changed.json(), [])
    assert gone.status_code == 204


# --- changing ---------------------------------------------------------------------------------------


async def test_a_patch_changes_what_it_names(node):
    async with node() as n:
        await make(n, overlap="skip", jitter="1m")
        path = f"{SCHEDULES}/nightly"
        timing = (await n.http.patch(path, json={"every": "15m", "zone": None})).json()
        task = (await n.http.patch(path, json={"task": {"queue": "slow", "priority": "high"}})).json()
        nothing = await n.http.patch(path, json={})
        never = await n.http.patch(path, json={"cron": "0 0 31 2 *"})
        after = (await n.http.get(path)).json()
    assert (timing["every"], timing["cron"], timing["zone"], timing["overlap"]) == (900, None, "UTC", "skip")
    assert (task["task"]["queue"], task["task"]["priority"]) == ("slow", 8)
    assert task["task"]["payload"] == {"command": "backup.sh"}
    assert (nothing.status_code, never.status_code, never.json()["field"]) == (400, 400, "cron")
    assert after == task


async def test_pause_and_resume(node):
    async with node() as n:
        await make(n)
        path = f"{SCHEDULES}/nightly"
        paused = [(await n.http.post(f"{path}/pause")).json() for _ in range(2)]
        to_come = (await n.http.get(f"{path}/next")).json()["next"]
        resumed = (await n.http.post(f"{path}/resume")).json()
    assert [(view["paused"], view["next_fire_at"]) for view in paused] == [(True, None)] * 2
    assert (resumed["paused"], resumed["next_fire_at"]) == (False, to_come[0]["fire_at"])


async def test_trigger_makes_a_task_now(node):
    async with node() as n:
        made = await make(n, task={"kind": "echo", "payload": {"n": 9007199254740993}, "labels": {"a": "b"}})
        answer = await n.http.post(f"{SCHEDULES}/nightly/trigger")
        task = answer.json()
        read = await n.http.get(answer.headers["location"])
        after = (await n.http.get(f"{SCHEDULES}/nightly")).json()
        (lease,) = await n.claim()
    assert (answer.status_code, task["state"], task["kind"], task["labels"]) == (
        201, "ready", "echo", {"a": "b"},
    )  # fmt: skip
    assert '"n":9007199254740993' in answer.text.replace(" ", "")
    assert read.json()["id"] == task["id"] == lease["task"]
    assert after["next_fire_at"] == made["next_fire_at"]


async def test_a_trigger_under_a_key_makes_one_task(node):
    """A repeat is answered as the first time, though the tag it named has changed by then."""
    key = {"Idempotency-Key": '"release-7"'}
    async with node() as n:
        await make(n)
        path = f"{SCHEDULES}/nightly/trigger"
        match = {"If-Match": (await n.http.get(f"{SCHEDULES}/nightly")).headers["etag"]}
        first = await n.http.post(path, headers=key | match)
        again = await n.http.post(path, headers=key | match)
        n.app._door.replies._kept.clear()
        on_another_node = await n.http.post(path, headers=key | match)
        other = await n.http.post(path, headers={"Idempotency-Key": '"release-8"'})
        await make(n, id="weekly")
        elsewhere = await n.http.post(f"{SCHEDULES}/weekly/trigger", headers=key)
        wrong = await n.http.post(path, headers={"Idempotency-Key": '""'})
        late = await n.http.post(path, headers={"Idempotency-Key": '"release-9"'} | match)
        await n.http.delete(f"{SCHEDULES}/nightly")
        n.app._door.replies._kept.clear()
        without_it = await n.http.post(path, headers=key)
        gone = await n.http.post(path, headers={"Idempotency-Key": '"release-9"'})
    assert (late.status_code, gone.status_code) == (412, 404)
    assert (without_it.status_code, without_it.json()["id"]) == (201, first.json()["id"])
    assert (first.status_code, again.status_code, again.text) == (201, 201, first.text)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert on_another_node.headers["idempotency-replayed"] == "true"
    assert (on_another_node.status_code, on_another_node.json()["id"]) == (201, first.json()["id"])
    assert again.headers["location"] == first.headers["location"]
    assert len({answer.json()["id"] for answer in (first, other, elsewhere)}) == 3
    assert (wrong.status_code, wrong.json()["field"]) == (400, "Idempotency-Key")


async def test_one_of_two_that_act_on_a_tag_does_so(node):
    """Protocol check C-37, where nothing but the record's version can tell them apart."""
    async with node() as n:
        await make(n)
        path, outcomes = f"{SCHEDULES}/nightly", []
        for _ in range(10):
            match = {"If-Match": (await n.http.get(path)).headers["etag"]}
            both = (n.http.post(f"{path}/trigger", headers=match) for _ in range(2))
            outcomes += [sorted(answer.status_code for answer in await asyncio.gather(*both))]
        tasks = (await n.http.get("/api/v1/tasks")).json()["tasks"]
    assert outcomes == [[201, 412]] * 10
    assert len(tasks) == 10


async def test_skips_by_hand(node):
    async with node() as n:
        made = await make(n)
        path = f"{SCHEDULES}/nightly"
        skipping = [(await n.http.post(f"{path}/skip-next")).json() for _ in range(2)]
        later = (await n.http.get(f"{path}/next")).json()["next"][0]["fire_at"]
        back = (await n.http.post(f"{path}/skip-until", json={"until": "2001-01-01T00:00:00Z"})).json()
        wrong = await n.http.post(f"{path}/skip-until", json={"until": "tomorrow"})
    assert [view["skip_until"] for view in skipping] == [made["next_fire_at"]] * 2
    assert later > made["next_fire_at"]
    assert back["skip_until"] is None
    assert (wrong.status_code, wrong.json()["field"]) == (400, "until")


async def test_deleting_forgets_the_schedule_not_its_tasks(node):
    async with node() as n:
        await make(n)
        task = (await n.http.post(f"{SCHEDULES}/nightly/trigger")).json()["id"]
        gone = await n.http.delete(f"{SCHEDULES}/nightly")
        kept = await n.http.get(f"/api/v1/tasks/{task}")
        listed = (await n.http.get(SCHEDULES)).json()["schedules"]
    assert (gone.status_code, kept.status_code, listed) == (204, 200, [])


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("PATCH", ""), ("POST", "/pause"), ("POST", "/resume"), ("GET", "/fires"),
     ("POST", "/trigger"), ("POST", "/skip-next"), ("POST", "/skip-until"), ("GET", "/next")],
)  # fmt: skip
async def test_what_does_not_exist_is_404(node, method, path):
    bodies = {"": {"zone": "UTC"}, "/skip-until": {"until": "2040-01-01T00:00:00Z"}}
    body = bodies.get(path) if method in ("PATCH", "POST") else None
    async with node() as n:
        for id in ("absent", "%00", "a%20b", "x" * 300):
            answer = await n.http.request(method, f"{SCHEDULES}/{id}{path}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text


# --- fires ------------------------------------------------------------------------------------------


async def test_fires_and_skips_are_told_with_their_reason(node):
    """An instant that has passed is due at once; a pause's fires are skipped when it is resumed."""
    async with node() as n:
        await make(n, "once", cron=None, zone=None, at="2001-01-01T00:00:00Z", misfire_grace="366d")
        await make(n, "skipped", cron=None, zone=None, at="2001-01-01T00:00:00Z", misfire="skip")
        # A change lets the rules in force decide up to now.
        for id in ("once", "skipped"):
            await n.http.patch(f"{SCHEDULES}/{id}", json={"task": {"queue": "q"}})
        made = (await n.http.get(f"{SCHEDULES}/once/fires")).json()
        skipped = (await n.http.get(f"{SCHEDULES}/skipped/fires")).json()
        record = (await n.http.get(f"{SCHEDULES}/once")).json()
        task = (await n.http.get(f"/api/v1/tasks/{made['fires'][0]['task']}")).json()
    (fire,), (skip,) = made["fires"], skipped["fires"]
    assert (fire["fire_at"], fire["last_fire_at"], fire["count"], fire["reason"]) == (
        "2001-01-01T00:00:00Z", "2001-01-01T00:00:00Z", 1, None,
    )  # fmt: skip
    assert (record["last_fire_at"], record["last_task"], record["next_fire_at"]) == (
        "2001-01-01T00:00:00Z", task["id"], None,
    )  # fmt: skip
    assert (skip["task"], skip["reason"], skip["count"]) == (None, "missed", 1)
    assert made["next_page_token"] is skipped["next_page_token"] is None


async def test_fires_to_come(node):
    async with node() as n:
        await make(n, jitter="1h")
        few = (await n.http.get(f"{SCHEDULES}/nightly/next")).json()["next"]
        many = (await n.http.get(f"{SCHEDULES}/nightly/next", params={"count": "20"})).json()["next"]
        wrong = [
            await n.http.get(f"{SCHEDULES}/nightly/next", params={"count": text})
            for text in ("0", "1001", "x", "")
        ]
        previewed = await n.http.post(
            f"{SCHEDULES}/preview", params={"count": "20"}, json={"id": "nightly", **NIGHTLY, "jitter": "1h"}
        )
    assert (few, len(many)) == (many[:5], 20)
    assert many == sorted(many, key=lambda fire: fire["fire_at"])
    assert all(fire["fire_at"] <= fire["run_at"] for fire in many)
    assert any(fire["fire_at"] < fire["run_at"] for fire in many)
    assert [(answer.status_code, answer.json()["field"]) for answer in wrong] == [(400, "count")] * 4
    assert previewed.json()["next"] == many


async def test_a_preview_stores_nothing(node):
    async with node() as n:
        answer = await n.http.post(f"{SCHEDULES}/preview", json={"cron": "0 0 29 2 *"}, params={"count": "3"})
        listed = (await n.http.get(SCHEDULES)).json()["schedules"]
        over = await n.http.post(
            f"{SCHEDULES}/preview", json={"cron": "0 0 1 1 *", "end": "2001-01-01T00:00:00Z"}
        )
    days = [fire["fire_at"] for fire in answer.json()["next"]]
    assert all(day[4:] == "-02-29T00:00:00Z" for day in days)
    assert len(days) == 3
    assert listed == []
    assert (over.status_code, over.json()["field"]) == (400, "end")
