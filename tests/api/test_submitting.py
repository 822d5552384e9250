"""Submitting over HTTP: one task, many, under keys and unique rules."""

import asyncio

import pytest

from mainspring.wire.bounds import Bounds

TASKS = "/api/v1/tasks"


async def test_the_created_task_is_the_one_that_is_read(node):
    """S0-18, S0-20; protocol check D-42: 201 with Location, and the same record there, byte for byte."""
    async with node() as n:
        body = {
            "priority": "high",
            "payload": {"message": "Hello, World!"},
            "delay": "1h",
            "labels": {"a": "b"},
        }
        created = await n.http.post(TASKS, json=body)
        read = await n.http.get(created.headers["location"])
    assert created.status_code == 201
    assert read.content == created.content
    assert read.headers["etag"] == created.headers["etag"]
    task = created.json()
    assert (task["kind"], task["priority"], task["state"]) == ("echo", 8, "scheduled")
    assert (task["queue"], task["tenant"], task["max_retries"]) == ("default", "default", 3)
    assert task["payload"] == {"message": "Hello, World!"}
    assert "token" not in task


async def test_quick_start_of_s0(node):
    """S0-14, S0-15 and S0-19: the bodies and paths as the source writes them."""
    async with node() as n:
        body = b'{ "priority": "high", "payload": {"message": "Hello, World!"} }'
        created = await n.http.post(TASKS, content=body, headers={"Content-Type": "application/json"})
        listed = await n.http.get(TASKS)
    assert created.status_code == 201
    assert [task["id"] for task in listed.json()["tasks"]] == [created.json()["id"]]


@pytest.mark.parametrize("text", ["123456789012345678901234567890", "1.0e5", "[1.10, -0, 1E+2]", '"\\u00e9"'])
async def test_payloads_come_back_digit_for_digit(node, text):
    async with node() as n:
        body = b'{"payload": %b}' % text.encode()
        created = await n.http.post(TASKS, content=body, headers={"Content-Type": "application/json"})
        read = await n.http.get(created.headers["location"])
    assert f'"payload":{text},' in read.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"", "body"),
        (b"[]", "body"),
        (b'{"priority": 11}', "priority"),
        (b'{"priority": 5, "priority": 6}', "priority"),
        (b'{"priorty": 5}', "priorty"),
        (b'{"payload": NaN}', "body"),
        (b'{"payload": 1e400}', "body"),
        (b'{"payload": "\xff"}', "body"),
        (b'{"payload": "\\ud800"}', "body"),
        (b'{"\\ud800": 1, "\\ud800": 2}', "?"),
        (b'{"payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "body"),
        (b'{"run_at": "2040-01-01T00:00:00"}', "run_at"),
        (b'{"run_at": "2040-01-01T24:00:00Z"}', "run_at"),
        (b'{"run_at": "2040-01-01T00:00:60Z"}', "run_at"),
        (b'{"run_at": "0000-01-01T00:00:00Z"}', "run_at"),
        (b'{"run_at": "9999-12-31T23:59:59-12:00"}', "run_at"),
        (b'{"delay": "soon"}', "delay"),
        (b'{"depends_on": ["01a1fe09-27c2-7000-85f0-280dd56e7f97"]}', "depends_on"),
        (b'{"ref": "a"}', "ref"),
    ],
)
async def test_bad_input_stores_nothing(node, body, field):
    """Protocol checks D-49, D-51 and A-9: a problem document that names the field; nothing is stored."""
    async with node() as n:
        answer = await n.http.post(TASKS, content=body, headers={"Content-Type": "application/json"})
        stats = (await n.http.get("/api/v1/cluster/stats")).json()
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
        400,
        "invalid_input",
        field,
    )
    assert answer.headers["content-type"] == "application/problem+json"
    assert stats["total"] == 0


async def test_sizes(node):
    """413 for a payload, a batch and a body over their limits; by length, and by what really comes."""
    async with node(bounds=Bounds(body_bytes=2000, payload_bytes=1000, batch_tasks=3)) as n:

        async def chunks():
            for _ in range(30):
                yield b" " * 100

        payload = await n.http.post(TASKS, json={"payload": "x" * 999})
        batch = await n.http.post(f"{TASKS}/batch", json={"tasks": [{}] * 4})
        by_length = await n.http.post(TASKS, json={"payload": "x" * 2000})
        by_chunks = await n.http.post(TASKS, content=chunks(), headers={"Content-Type": "application/json"})
        fits = await n.http.post(TASKS, json={"payload": "x" * 998})
    answers = [payload, batch, by_length, by_chunks]
    assert [answer.status_code for answer in answers] == [413] * 4
    assert {answer.json()["code"] for answer in answers} == {"too_large"}
    assert [answer.json()["field"] for answer in answers] == ["payload", "tasks", "body", "body"]
    assert fits.status_code == 201


async def test_batches_are_all_or_nothing_and_in_order(node):
    """Peer behaviours 8 and 9."""
    async with node() as n:
        good = [{"kind": f"k{i}"} for i in range(20)]
        refused = await n.http.post(f"{TASKS}/batch", json={"tasks": [*good, {"delay": "x"}]})
        unknown = "01a1fe09-27c2-7000-85f0-280dd56e7f97"
        orphan = await n.http.post(f"{TASKS}/batch", json={"tasks": [*good, {"depends_on": [unknown]}]})
        empty = await n.http.post(f"{TASKS}/batch", json={"tasks": []})
        before = (await n.http.get("/api/v1/cluster/stats")).json()["total"]
        stored = await n.http.post(f"{TASKS}/batch", json={"tasks": good})
    assert [refused.status_code, orphan.status_code, empty.status_code] == [400, 400, 400]
    assert refused.json()["field"] == "tasks[20].delay"
    assert orphan.json()["field"] == "tasks[20].depends_on"
    assert before == 0
    assert stored.status_code == 201
    assert [task["kind"] for task in stored.json()["tasks"]] == [task["kind"] for task in good]


async def test_a_workflow_in_one_call(node):
    """Children before parents, by ref; the record read back is the one that was answered."""
    async with node() as n:
        tasks = [
            {"ref": "end", "kind": "end", "depends_on": ["left", "right"], "on_parent_failure": "run"},
            {"ref": "left", "depends_on": ["start"]},
            {"ref": "right", "depends_on": ["start"]},
            {"ref": "start", "priority": "high"},
        ]
        end, left, right, start = (await n.http.post(f"{TASKS}/batch", json={"tasks": tasks})).json()["tasks"]
        read = [(await n.http.get(f"{TASKS}/{task['id']}")).json() for task in (end, left, right, start)]
        circle = await n.http.post(f"{TASKS}/batch", json={"tasks": [{"ref": "a", "depends_on": ["a"]}]})
    assert read == [end, left, right, start]
    assert [task["state"] for task in read] == ["blocked", "blocked", "blocked", "ready"]
    assert set(end["depends_on"]) == {left["id"], right["id"]}
    assert (circle.status_code, circle.json()["field"]) == (400, "depends_on")


# --- uniqueness -------------------------------------------------------------------------------------


async def test_unique_conflicts_answer_with_the_first_task(node):
    """Peer behaviours 17 and 21: the second answer names the first task and says so."""
    async with node() as n:
        first = await n.http.post(TASKS, json={"unique": True, "payload": {"a": 1, "b": 2}})
        second = await n.http.post(TASKS, json={"unique": True, "payload": {"b": 2, "a": 1}, "priority": 9})
        other = await n.http.post(TASKS, json={"unique": True, "payload": {"a": 1}})
    assert [first.status_code, second.status_code, other.status_code] == [201, 200, 201]
    assert second.content == first.content
    assert second.headers["unique-conflict"] == "true"
    assert second.headers["location"] == first.headers["location"]
    assert "unique-conflict" not in first.headers


async def test_unique_inside_a_batch(node):
    """Peer behaviour 19: a duplicate inside one batch is found; its child depends on the first one."""
    async with node() as n:
        tasks = [
            {"unique": True, "payload": 1},
            {"ref": "twin", "unique": True, "payload": 1},
            {"depends_on": ["twin"]},
        ]
        answer = (await n.http.post(f"{TASKS}/batch", json={"tasks": tasks})).json()
        child = (await n.http.get(f"{TASKS}/{answer['tasks'][2]['id']}")).json()
    assert answer["existing"] == [1]
    assert answer["tasks"][0]["id"] == answer["tasks"][1]["id"]
    assert child["depends_on"] == [answer["tasks"][0]["id"]] == answer["tasks"][2]["depends_on"]


async def test_an_id_in_use_is_a_conflict(node):
    """Peer behaviour 28."""
    async with node() as n:
        first = await n.submit()
        second = await n.http.post(TASKS, json={"id": first["id"]})
    assert (second.status_code, second.json()["code"]) == (409, "id_taken")


async def test_a_full_queue_says_when_to_try_again(node):
    """Protocol checks D-44 and A-9: 429 with Retry-After, a whole number, in the document, too."""
    async with node() as n:
        await n.http.put("/api/v1/limits/queue:small", json={"max_waiting": 1})
        await n.submit(queue="small")
        refused = await n.http.post(TASKS, json={"queue": "small"})
    assert (refused.status_code, refused.json()["code"]) == (429, "backlog_full")
    assert refused.headers["retry-after"] == str(refused.json()["retry_after"])
    assert int(refused.headers["retry-after"]) >= 1


# --- idempotency keys -------------------------------------------------------------------------------


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def test_the_first_answer_comes_again(node):
    """Protocol checks B-17, B-22 and B-24; S3-31: marked, and the very same, whatever the order of keys."""
    async with node() as n:
        first = await n.http.post(
            TASKS, json={"payload": {"a": 1, "b": 2}, "priority": 3}, headers=keyed('"k-1"')
        )
        (lease,) = await n.claim()
        await n.settle(lease, "succeeded")
        again = await n.http.post(
            TASKS, json={"priority": 3, "payload": {"b": 2, "a": 1}}, headers=keyed('"k-1"')
        )
        total = (await n.http.get("/api/v1/cluster/stats")).json()["total"]
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert total == 1


async def test_another_node_answers_with_the_task_as_it_is(node):
    """The key is the store's; only the copy of the first answer is a node's own."""
    async with node() as n:
        first = await n.http.post(TASKS, json={"payload": 1}, headers=keyed("k"))
        n.app._door.replies._kept.clear()
        again = await n.http.post(TASKS, json={"payload": 1}, headers=keyed("k"))
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]


async def test_another_body_is_refused(node):
    """Protocol check B-19: 422, and nothing is created."""
    async with node() as n:
        await n.http.post(TASKS, json={"payload": 1}, headers=keyed("k"))
        other = await n.http.post(TASKS, json={"payload": 2}, headers=keyed("k"))
        total = (await n.http.get("/api/v1/cluster/stats")).json()["total"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert total == 1


async def test_fifty_at_once_make_one_task(node):
    """Protocol check B-18."""
    async with node() as n:
        posts = (n.http.post(TASKS, json={"payload": 1}, headers=keyed("k")) for _ in range(50))
        answers = await asyncio.gather(*posts)
        total = (await n.http.get("/api/v1/cluster/stats")).json()["total"]
    assert {answer.json()["id"] for answer in answers} == {answers[0].json()["id"]}
    assert total == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1


async def test_keys_belong_to_their_route(node):
    """Protocol check B-20: sent to another endpoint, a key is another key."""
    async with node() as n:
        one = await n.http.post(TASKS, json={}, headers=keyed("k"))
        batch = await n.http.post(f"{TASKS}/batch", json={"tasks": [{}]}, headers=keyed("k"))
        job = await n.http.post("/jobs", json={"type": "sleep"}, headers=keyed("k"))
    assert [answer.status_code for answer in (one, batch, job)] == [201, 201, 201]
    assert not [answer for answer in (one, batch, job) if "idempotency-replayed" in answer.headers]


async def test_batches_come_again_in_the_callers_order(node):
    tasks = [{"ref": "child", "kind": "c", "depends_on": ["parent"]}, {"ref": "parent", "kind": "p"}]
    async with node() as n:
        first = await n.http.post(f"{TASKS}/batch", json={"tasks": tasks}, headers=keyed("k"))
        n.app._door.replies._kept.clear()
        again = await n.http.post(f"{TASKS}/batch", json={"tasks": tasks}, headers=keyed("k"))
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"


async def test_a_refused_submit_does_not_use_up_its_key(node):
    """Protocol check B-25: what made no task does not burn the key."""
    async with node() as n:
        await n.http.put("/api/v1/limits/queue:small", json={"max_waiting": 0})
        refused = await n.http.post(TASKS, json={"queue": "small"}, headers=keyed("k"))
        await n.http.delete("/api/v1/limits/queue:small")
        retried = await n.http.post(TASKS, json={"queue": "small"}, headers=keyed("k"))
    assert [refused.status_code, retried.status_code] == [429, 201]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('"abc"', "abc", True),
        ('"a\\"b"', '"a\\"b"', True),
        ('"a b"', '"a b"', True),
        ('"abc"', '"abd"', False),
    ],
)
async def test_quoted_and_bare_keys(node, one, other, same):
    """Protocol check B-15: a quoted string; the common bare form means the same."""
    async with node() as n:
        first = await n.http.post(TASKS, json={}, headers=keyed(one))
        second = await n.http.post(TASKS, json={}, headers=keyed(other))
    assert (first.json()["id"] == second.json()["id"]) is same


@pytest.mark.parametrize("key", ['""', '"a', 'a"b', '"a"b"', "x" * 201, "a b"])
async def test_bad_keys(node, key):
    async with node() as n:
        answer = await n.http.post(TASKS, json={}, headers=keyed(key))
    assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")


@pytest.mark.parametrize("path", [TASKS, f"{TASKS}/batch"])
async def test_a_key_whose_task_is_gone_makes_no_second_one(node, path):
    """The node that answered first may be another one, and the task deleted since: say so, with 410."""
    body = {"tasks": [{"payload": 1}]} if path.endswith("batch") else {"payload": 1}
    async with node() as n:
        made = (await n.http.post(path, json=body, headers=keyed("gone"))).json()
        task = made["tasks"][0] if "tasks" in made else made
        await n.http.delete(f"{TASKS}/{task['id']}")
        n.app._door.replies._kept.clear()
        again = await n.http.post(path, json=body, headers=keyed("gone"))
        left = (await n.http.get(TASKS)).json()["tasks"]
    assert (again.status_code, again.json()["code"], left) == (410, "gone", [])
