"""Nonsense of every kind, at every route: it is answered, and never with a fault of ours."""

import random

import pytest

from mainspring.api.routes import EVENTS, ROUTES

VALUES = [
    None, 0, 1, -1, 5, 2**53 + 1, 2**63, 10**300, 1.5, 1e308, True, False, "", "x", "ready", "10s", "\0",
    "\U0001f600", "2040-01-01T00:00:00Z", "a" * 300, "*", "queue:q", [], {}, [1], ["a"], {"a": "b"}, {"a": 1},
]  # fmt: skip
TAGS = ['"1"', "*", 'W/"2"', "x", '"9999999999999999999"', '""', '"a" "b"']
NAMES = sorted({name for route in ROUTES if route.takes for name in route.takes.__struct_fields__} - {"wait"})
CAPTURES = {
    "{name:path}": ["queue:q", "key:a/b", "x", "key:*"],
    "{status}": ["ready", "dead", "x"],
    "{queue}": ["q", "default", "%00"],
    "{tenant}": ["t", "a%20b"],
    "{worker}": ["w", "%ff"],
    "{code}": ["x", "not_found"],
}


def value(dice: random.Random, depth: int = 0):
    kind = dice.random()
    if depth < 3 and kind < 0.25:
        return {dice.choice(NAMES): value(dice, depth + 1) for _ in range(dice.randint(0, 4))}
    if depth < 3 and kind < 0.4:
        return [value(dice, depth + 1) for _ in range(dice.randint(0, 3))]
    return dice.choice(VALUES)


@pytest.mark.parametrize("seed", range(4))
async def test_no_request_is_a_fault_of_the_server(node, seed):
    dice = random.Random(seed)
    async with node() as n:
        ended = (await n.submit())["id"]
        await n.settle((await n.claim())[0], "succeeded")
        ids = [(await n.submit())["id"], (await n.dead_letter(kind="x"))["id"], "x", "nightly"]
        await n.http.put("/api/v1/schedules/nightly", json={"cron": "0 3 * * *", "task": {}})
        for _ in range(400):
            route = dice.choice(ROUTES)
            # What is followed must have an end: a client in process reads to it.
            follows = EVENTS in route.gives.values() or "Accept" in route.headers
            path = route.path.replace("{id}", dice.choice([ended, "x"] if follows else ids))
            for name, choices in CAPTURES.items():
                path = path.replace(name, dice.choice(choices))
            request = {"headers": {name: dice.choice(TAGS) for name in route.headers if dice.random() < 0.3}}
            if route.takes is not None:
                names = [name for name in route.takes.__struct_fields__ if name != "wait"]
                request["json"] = {dice.choice(names): value(dice) for _ in range(dice.randint(0, 4))}
            query = [name for name in route.query if name != "wait"]
            if query and dice.random() < 0.5:
                request["params"] = {dice.choice(query): str(dice.choice(VALUES))}
            answer = await n.http.request(route.method, path, **request)
            assert answer.status_code < 500, (route.method, path, request, answer.text)
