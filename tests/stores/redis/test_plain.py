"""The usual task's head is changed as text, any other's as a table of its fields: what is answered and what
is stored is the same, byte for byte."""

import random
import uuid

import msgspec
import pytest
from redis.asyncio import Redis

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome
from mainspring.core.model import Lane, Policy
from mainspring.stores.redis import RedisStore
from mainspring.stores.redis.scripts import SOURCES
from mainspring.verbs import Action, Force, Group
from tests.stores.redis.test_faults import Alone

LANES = [Lane("default", "echo", "default", 5), Lane("mail", "echo", "acme", 7, "k:*")]
OUTCOMES = [Outcome.SUCCEEDED] * 6 + [Outcome.FAILED, Outcome.SNOOZED, Outcome.RELEASED]
CLOCK = "local function now_us() -- {way}\n    return 1700000000000000\nend\n"
IS_PLAIN = "return text and heads[id] == nil and not head_texts[id]"
ROUNDS = 25


class Walk(Alone):
    """The same calls each time, under a clock that stands still."""

    def __init__(self, url, folder, way, seed):
        self._way = way
        self._random = random.Random(seed)
        super().__init__(url, folder)

    def new_store(self):
        clock = CLOCK.format(way=self._way)
        return RedisStore(self._url, SystemClock(), history=True, server_clock=clock)

    def some_task(self):
        rare = self._random.choice([{}, {}, {}, {"name": "odd"}, {"timeout_us": 9}, {"delay": 60}])
        policy = self._random.choice([None, None, Policy(max_retries=1)])
        id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        payload = b'"%d"' % self._random.getrandbits(40)
        return self.task(self._random.choice(LANES), id=id, payload=payload, policy=policy, **rare)

    def some_line(self, lease):
        outcome = self._random.choice(OUTCOMES)
        told = {"result": b"[1]"} if outcome is Outcome.SUCCEEDED and self._random.random() < 0.5 else {}
        line = self.line(lease, outcome, **told)
        # A report that comes too late, or about another's run.
        return msgspec.structs.replace(line, token=line.token - 1) if self._random.random() < 0.1 else line

    async def run(self):
        """What was answered."""
        held, told = [], []
        for _ in range(ROUNDS):
            settles = [self.some_line(lease) for lease in self._random.sample(held, len(held) // 2)]
            settles += self._random.sample(settles, len(settles) // 5)
            submits = [Group([self.some_task() for _ in range(self._random.randrange(8))]) for _ in "ab"]
            lines = {"submits": submits, "settles": settles, "claims": [self.ask(6)] if held else []}
            sent = self._random.sample(sorted(lines), self._random.randint(1, 3))
            answers = await self.exchange(**{name: lines[name] for name in sent})
            told.append(answers)
            held += (await self.ask_for(4)).leases
            held += [lease for claimed in answers.claims for lease in claimed.leases]
            asked = self._random.sample(held, min(2, len(held)))
            told += await self.store.force([Force(lease.task, Action.CANCEL) for lease in asked])
        return [msgspec.to_builtins(each) for each in told]


async def stored(admin, namespace):
    """All that is stored under the namespace, by the rest of its key."""
    begin = f"{{{namespace}}}:".encode()
    found = {}
    async for key in admin.scan_iter(match=begin.replace(b"{", b"[{]") + b"*", count=1000):
        kind = await admin.type(key)
        if kind == b"hash":
            content = await admin.hgetall(key)
        elif kind == b"zset":
            content = await admin.zrange(key, 0, -1, withscores=True)
        else:
            content = await (admin.smembers(key) if kind == b"set" else admin.get(key))
        found[key.removeprefix(begin)] = content
    # Hints that are counted go out when the node finds the time.
    del found[b"meta"][b"signals"]
    return found


@pytest.mark.parametrize("seed", range(5))
async def test_both_ways_store_and_answer_the_same(url, tmp_path, monkeypatch, seed):
    address, _, name = url.partition("?namespace=")
    told, left = {}, {}
    async with Redis.from_url(address) as admin:
        for way in ("text", "tables"):
            if way == "tables":
                assert IS_PLAIN in SOURCES["plain"]
                monkeypatch.setitem(SOURCES, "plain", SOURCES["plain"].replace(IS_PLAIN, "return false"))
            async with Walk(f"{address}?namespace={name}{way}", tmp_path, way, seed) as walk:
                told[way] = await walk.run()
            left[way] = await stored(admin, f"{name}{way}")
    assert len(left["text"][b"heads"]) > 50
    assert told["text"] == told["tables"]
    assert left["text"] == left["tables"]
