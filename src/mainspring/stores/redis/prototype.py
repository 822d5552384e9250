"""The hot verbs of the port as scripts: each call is one script, and so one transaction."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha1
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError
from redis.exceptions import TimeoutError as TimedOut

from mainspring.core.lifecycle import DOOMED_ERROR
from mainspring.core.limits import LimitRule, LimitState
from mainspring.core.model import State, Task
from mainspring.core.order import LaneHead, Share
from mainspring.errors import StoreError, StoreFull, StoreUnavailable
from mainspring.ports import (
    Answer,
    BoardView,
    Claimed,
    Exchange,
    Exchanged,
    Features,
    Force,
    Moved,
    Refused,
    Renewal,
    Stats,
)
from mainspring.stores.redis.packing import End, Reply, Request, pack, pack_renewals
from mainspring.stores.redis.scripts import SOURCES, keys, scripts

_rule = msgspec.json.Decoder(LimitRule)


class RedisPrototype:
    """Not selectable: it lacks the verbs of services, reading and membership.

    Promises durability A when the server runs with `appendfsync always`, B with `everysec`. A call whose
    answer is lost is never repeated by the library: `StoreUnavailable` says that its outcome is unknown.
    """

    features = Features("redis", durability="A", several_processes=True)

    def __init__(self, url: str, namespace: str = "mainspring", clock: str = SOURCES["clock"]) -> None:
        self._url = url
        self._keys = keys(namespace)
        self._scripts = scripts(clock)
        self._digests = {verb: sha1(text.encode()).hexdigest() for verb, text in self._scripts.items()}
        self._client: Redis | None = None

    async def open(self) -> None:
        """Connect, and hand in the scripts. Raises `StoreUnavailable`."""
        client = Redis.from_url(self._url, retry=Retry(NoBackoff(), 0))
        with _translated():
            for text in self._scripts.values():
                await client.script_load(text)
        self._client = client

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def exchange(self, batch: Exchange) -> Exchanged:
        request = Request().packed(batch.settles, batch.submits, batch.claims, batch.charges)
        reply = await self._run("exchange", *request)
        submits, settles, claims, ready, usage = reply.answers
        return Exchanged(
            reply.now_us,
            [reply.submitted(answer) for answer in submits],
            [Answer(answer) for answer in settles],
            [Claimed([reply.lease(number) for number in leases], empty) for leases, empty in claims],
            _heads(reply, ready),
            _usage(usage),
        )

    async def renew(self, renewals: Sequence[Renewal]) -> Sequence[Sequence[Answer]]:
        reply = await self._run("renew", pack_renewals(renewals))
        return [[Answer(answer) for answer in answers] for answers in reply.answers]

    async def force(self, lines: Sequence[Force]) -> Sequence[Task | Refused]:
        packed = [(line.task, line.action, False if line.version is None else line.version) for line in lines]
        reply = await self._run("force", pack(packed))
        return [
            reply.task(answer) if isinstance(answer, int) else Refused(*answer) for answer in reply.answers
        ]

    async def promote(self, limit: int) -> Moved:
        reply = await self._run("promote", limit)
        count, ready, next_due_us = reply.answers
        return Moved(count, _heads(reply, ready), next_due_us=None if next_due_us is False else next_due_us)

    async def resolve(self, limit: int) -> Moved:
        reply = await self._run("resolve", limit, pack(End(error=DOOMED_ERROR)))
        count, ready, finished = reply.answers
        return Moved(count, _heads(reply, ready), finished)

    async def board(self) -> BoardView:
        reply = await self._run("board")
        ready, paused, rules, usage, shares = reply.answers
        return BoardView(
            reply.now_us,
            _heads(reply, ready),
            dict(paused),
            {name: _rule.decode(text) for name, text in rules},
            _usage(usage),
            {tenant: Share(weight, virtual_us) for tenant, (weight, virtual_us) in shares},
        )

    async def stats(self) -> Stats:
        reply = await self._run("stats")
        counts = {}
        for place, count in reply.answers:
            state, _, queue = place.partition(":")
            counts[queue, State(int(state))] = count
        return Stats(reply.now_us, counts)

    async def get(self, tasks: Sequence[str]) -> Sequence[Task | None]:
        reply = await self._run("get", pack(tasks))
        return [reply.task(number) if number else None for number in reply.answers]

    async def set_queue(self, queue: str, paused_by: str | None) -> None:
        await self._put("paused", queue, paused_by)

    async def set_limit(self, name: str, rule: LimitRule | None, only_new: bool = False) -> bool:
        client, key = self._opened(), self._keys["rules"]
        with _translated():
            if rule is None:
                return await client.hdel(key, name) > 0
            if only_new:
                return not await client.hsetnx(key, name, _packed_rule(rule))
            return not await client.hset(key, name, _packed_rule(rule))

    async def set_weight(self, tenant: str, weight: float) -> None:
        await self._run("weigh", pack((tenant, weight)))

    async def _put(self, table: str, field: str, value: str | bytes | None) -> None:
        client, key = self._opened(), self._keys[table]
        with _translated():
            if value is None:
                await client.hdel(key, field)
            else:
                await client.hset(key, field, value)

    def _opened(self) -> Redis:
        if self._client is None:
            raise StoreUnavailable("the store is closed")
        return self._client

    async def _run(self, verb: str, *arguments: bytes | int) -> Reply:
        """By its digest; with its text where the server was restarted or has dropped it."""
        client, names = self._opened(), list(self._keys.values())
        call: list[Any] = [len(names), *names, *arguments]
        with _translated():
            try:
                answer = await client.evalsha(self._digests[verb], *call)
            except NoScriptError:
                answer = await client.eval(self._scripts[verb], *call)
        return Reply(*answer)


def _heads(reply: Reply, ready: Sequence[tuple[int, int]]) -> list[LaneHead]:
    return [LaneHead(number, reply.lanes[number], seq) for number, seq in ready]


def _usage(told: Sequence[tuple[str, int, float]]) -> dict[str, LimitState]:
    return {name: LimitState(running, arrival_us) for name, running, arrival_us in told}


def _packed_rule(rule: LimitRule) -> bytes:
    fields = (rule.max_running, rule.rate, rule.interval_us, rule.burst, rule.max_waiting)
    return pack(
        [*[False if field is None else field for field in fields], msgspec.json.encode(rule).decode()]
    )


@contextmanager
def _translated() -> Iterator[None]:
    """The library's errors as those of the port."""
    try:
        yield
    except (Unreachable, TimedOut, OSError) as error:
        raise StoreUnavailable(str(error)) from error
    except OutOfMemoryError as error:
        raise StoreFull(str(error)) from error
    except RedisError as error:
        raise StoreError(str(error)) from error
