"""Who spoils a store behind its back: one hand for each kind of store, all of which do the same harm."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import apsw
import pytest
from redis import Redis

from mainspring.core.limits import names
from mainspring.core.model import Lane
from mainspring.stores.postgres.auditing import mending as postgres_mending
from mainspring.stores.postgres.auditing import repairing as postgres_repairing
from mainspring.stores.redis.scripts import keys
from mainspring.stores.sqlite.auditing import mending as sqlite_mending
from mainspring.stores.sqlite.auditing import repairing as sqlite_repairing
from tests.conformance.bench import Bench, SqliteBench
from tests.conformance.server_benches import PostgresBench, RedisBench, ValkeyBench
from tests.corruption import postgres_classes, redis_classes, sqlite_classes
from tests.corruption.indexed import Indexed
from tests.corruption.living import Living

Planted = tuple[Mapping[str, Iterable[Any]], set[Any]]


class Hand(ABC):
    """Of tasks that it is told by their ids it spoils one thing; `plant` spoils everything there is to spoil,
    and says what, and what else was touched by it."""

    make_bench: type[Bench]
    living: type[Living] = Living

    def __init__(self, bench: Any) -> None:
        self.bench = bench

    @abstractmethod
    async def plant(self, seed: int, each: int) -> Planted: ...

    @abstractmethod
    async def unknown_state(self, *tasks: str) -> None: ...

    @abstractmethod
    async def unknown_lane(self, *tasks: str) -> None: ...

    @abstractmethod
    async def no_holder(self, *tasks: str) -> None: ...

    @abstractmethod
    async def no_place(self, *tasks: str) -> None: ...

    @abstractmethod
    async def lose(self, task: str) -> None: ...

    @abstractmethod
    async def lose_edges(self, parents: Iterable[str], child: str) -> None: ...

    @abstractmethod
    async def unknown_count(self) -> None: ...

    @abstractmethod
    async def unreadable_worker(self) -> None: ...


class SqlHand(Hand):
    """By plain SQL. What is opaque bytes there has another form in each store."""

    no_holder_sql: str
    no_place_sql: str

    @abstractmethod
    async def do(self, sql: str, *tasks: str) -> None:
        """Once for each task, whose id stands at `{id}`; or once, if there are none."""

    @abstractmethod
    def opaque(self, text: bytes) -> str: ...

    @abstractmethod
    def break_off(self, monkeypatch: pytest.MonkeyPatch, at: int, error: Exception) -> None:
        """Let repairs end with this error before they mend the record of that number."""

    async def unknown_state(self, *tasks: str) -> None:
        await self.do("UPDATE tasks SET state = 77 WHERE id = {id}", *tasks)

    async def unknown_lane(self, *tasks: str) -> None:
        await self.do(f"UPDATE tasks SET {self.lane} = 4711 WHERE id = {{id}}", *tasks)

    async def no_holder(self, *tasks: str) -> None:
        await self.do(f"UPDATE tasks SET {self.no_holder_sql} WHERE id = {{id}}", *tasks)

    async def no_place(self, *tasks: str) -> None:
        await self.do(f"UPDATE tasks SET {self.no_place_sql} WHERE id = {{id}}", *tasks)

    async def lose(self, task: str) -> None:
        await self.do("DELETE FROM tasks WHERE id = {id}", task)

    async def lose_edges(self, parents: Iterable[str], child: str) -> None:
        await self.do("DELETE FROM edges")

    async def unknown_count(self) -> None:
        await self.do("UPDATE counts SET state = 42")

    async def unreadable_worker(self) -> None:
        await self.do(f"UPDATE workers SET info = {self.opaque(b'{')}")

    async def unreadable_policy(self, task: str, text: bytes) -> None:
        await self.do(f"UPDATE tasks SET policy = {self.opaque(text)} WHERE id = {{id}}", task)

    async def unreadable_attempts(self, task: str) -> None:
        await self.do(f"UPDATE tasks SET attempts = {self.opaque(b'[')} WHERE id = {{id}}", task)

    async def unreadable_labels(self, task: str) -> None:
        await self.do(f"UPDATE tasks SET labels = {self.opaque(b'{')} WHERE id = {{id}}", task)

    lane: str


class SqliteHand(SqlHand):
    make_bench = SqliteBench
    lane = "lane"
    no_holder_sql = "claimant = 4711"
    no_place_sql = "seq = -1125899906842624"

    async def plant(self, seed: int, each: int) -> Planted:
        ground = sqlite_classes.Ground(self._path, seed, each)
        planted = {kind.__name__: kind(ground) for kind in sqlite_classes.CLASSES}
        queues = {queue for (queue,) in ground.db.execute("SELECT queue FROM counts")}
        touched = ground.taken | queues | {"tasks_ready"}
        ground.db.close()
        return planted, touched

    @property
    def _path(self) -> str:
        return str(self.bench.folder / "store.db")

    async def do(self, sql: str, *tasks: str) -> None:
        db = apsw.Connection(self._path)
        db.set_busy_timeout(5_000)
        for bindings in [(task,) for task in tasks] or [()]:
            db.execute(sql.replace("{id}", "?"), bindings)
        db.close()

    def opaque(self, text: bytes) -> str:
        return f"x'{text.hex()}'"

    def break_off(self, monkeypatch: pytest.MonkeyPatch, at: int, error: Exception) -> None:
        calls = []

        def crash(tx: Any, record: Any) -> Any:
            calls.append(record)
            if len(calls) == at:
                raise error
            return sqlite_mending.mend(tx, record)

        monkeypatch.setattr(sqlite_repairing, "mend", crash)


class PostgresHand(SqlHand):
    make_bench = PostgresBench
    lane = "lane_id"
    no_holder_sql = "incarnation = NULL"
    no_place_sql = "seq = NULL"

    async def plant(self, seed: int, each: int) -> Planted:
        ground = postgres_classes.Ground(self.bench._admin, seed, each)
        planted = {kind.__name__: await kind(ground) for kind in postgres_classes.CLASSES}
        queues = set(await ground.column("SELECT DISTINCT queue FROM mainspring.counts"))
        return planted, ground.taken | queues

    async def do(self, sql: str, *tasks: str) -> None:
        await self.bench._admin.execute("SET search_path TO mainspring")
        for arguments in [(task,) for task in tasks] or [()]:
            await self.bench._admin.execute(sql.replace("{id}", "$1"), *arguments)

    def opaque(self, text: bytes) -> str:
        return f"'\\x{text.hex()}'"

    def break_off(self, monkeypatch: pytest.MonkeyPatch, at: int, error: Exception) -> None:
        calls = []

        async def crash(tx: Any, record: Any) -> Any:
            calls.append(record)
            if len(calls) == at:
                raise error
            return await postgres_mending.mend(tx, record)

        monkeypatch.setattr(postgres_repairing, "mend", crash)


class RedisHand(Hand):
    """By plain commands."""

    make_bench: type[Bench] = RedisBench
    living = Indexed

    def __init__(self, bench: Any) -> None:
        super().__init__(bench)
        self.key = keys(bench._namespace)

    @property
    def db(self) -> Any:
        return Redis.from_url(self.bench._url, single_connection_client=True)

    async def plant(self, seed: int, each: int) -> Planted:
        ground = redis_classes.Ground(self.bench._url, self.bench._namespace, seed, each)
        # Thousands of commands one by one: nothing of this has to survive the server.
        ground.db.config_set("appendfsync", "no")
        try:
            planted = {kind.__name__: kind(ground) for kind in redis_classes.CLASSES}
        finally:
            ground.db.config_set("appendfsync", "always")
        touched = ground.taken | {lane[0] for lane in ground.lanes.values()}
        touched |= {str(number) for number in ground.lanes} | set(ground.names("lost"))
        touched |= {name for lane in ground.lanes.values() for name in names(Lane(*lane))}
        heads = ground.heads.values()
        touched |= {
            redis_classes.claim_of(head["INCARNATION"], head["CLAIM_SEQ"]).hex()
            for head in heads
            if head["INCARNATION"]
        }
        touched |= {head["FINGERPRINT"] for head in heads if head["FINGERPRINT"]}
        ground.db.close()
        return planted, touched

    def set(self, *tasks: str, **fields: object) -> None:
        with self.db as db:
            for task in tasks:
                head = redis_classes.read_head(db.hget(self.key["heads"], task)) | fields
                db.hset(self.key["heads"], task, redis_classes.write_head(head))

    def put(self, table: str, field: str, value: bytes | int) -> None:
        with self.db as db:
            db.hset(self.key[table], field, value)

    async def unknown_state(self, *tasks: str) -> None:
        self.set(*tasks, STATE=77)

    async def unknown_lane(self, *tasks: str) -> None:
        self.set(*tasks, LANE=4711)

    async def no_holder(self, *tasks: str) -> None:
        self.set(*tasks, WORKER=False)

    async def no_place(self, *tasks: str) -> None:
        self.set(*tasks, SEQ=False)

    async def lose(self, task: str) -> None:
        with self.db as db:
            db.hdel(self.key["heads"], task)

    async def lose_edges(self, parents: Iterable[str], child: str) -> None:
        with self.db as db:
            for parent in parents:
                for index in ("edges", "dependents"):
                    db.zrem(self.key[index], redis_classes.edge(parent, child))

    async def unknown_count(self) -> None:
        self.put("counts", "42:default", 1)

    async def unreadable_worker(self) -> None:
        self.put("workers", "w", b"{")


class ValkeyHand(RedisHand):
    make_bench = ValkeyBench


SQL: dict[str, type[Hand]] = {"sqlite": SqliteHand, "postgres": PostgresHand}
HANDS: dict[str, type[Hand]] = {**SQL, "redis": RedisHand}
WITH_TWINS: dict[str, type[Hand]] = {**HANDS, "valkey": ValkeyHand}
