"""What a conformance test says to a store: short words for submit, claim, settle and the passing of time.

Durations in tests are seconds of the store's clock, stretched by `Bench.scale`. A store on a virtual clock
takes them as they are; a real server gets a small scale and really waits, so that no test knows the
difference. A test marked `exact_time` asks for borders to the millisecond and needs a virtual clock.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import msgspec

from mainspring.clock import SystemClock, VirtualClock
from mainspring.core.lifecycle import Outcome, Report, digest, settle
from mainspring.core.model import Lane, Lease, NewTask, Policy, State, Task, encode_policy
from mainspring.core.order import Quota
from mainspring.errors import StoreUnavailable
from mainspring.ports import Store, StoreOptions
from mainspring.stores import open_store
from mainspring.verbs import (
    Accepted,
    Answer,
    Ask,
    Claimed,
    Exchange,
    Exchanged,
    Group,
    Held,
    Idempotency,
    Moved,
    Renewal,
    Settlement,
)

EXCHANGED = ("submit", "claim", "settle")
VERBS = frozenset(EXCHANGED) | {
    name
    for name, verb in vars(Store).items()
    if getattr(verb, "__isabstractmethod__", False) and name not in {"open", "close", "exchange"}
}
# How near to a border an `exact_time` test goes: minted numbers may run a little ahead of the clock.
MS = 1_000
LANE = Lane("default", "echo", "default", 5)


class Bench(ABC):
    """One store under test. A driver joins the suite by one subclass, listed in conftest.

    `verbs` are those it has: tests that need another are not collected for it. `can_lose_writes`: it can be
    brought back to an earlier state; `loses_live_writes`: that happens while nodes go on using it;
    `several_nodes`: several stores, as of several nodes, can be open on the same data; `transactional`: users
    have connections of their own.
    """

    verbs = VERBS
    exact_time = True
    can_lose_writes = False
    loses_live_writes = False
    several_nodes = False
    transactional = False
    scale = 1.0
    breaks: frozenset[str] = frozenset()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = VirtualClock(seed=7)
        self.lane_ids: dict[Lane, int] = {}
        self.declared: frozenset[str] = VERBS
        self._claims: Counter[str] = Counter()
        self._store = self.new_store()

    @classmethod
    def missing(cls) -> str:
        """Why this store cannot be tested here; empty if it can."""
        return ""

    @abstractmethod
    def new_store(self) -> Store:
        """An unopened store, empty at the bench's first call."""

    def new_node(self) -> Store:
        """Another node's store on the same data, unopened. For benches that say `several_nodes`."""
        raise AssertionError(f"{type(self).__name__} is for one node")

    async def user(self) -> "User":
        """A connection of a user's own to the store's database. For benches that say `transactional`."""
        raise AssertionError(f"{type(self).__name__} has no transactions of users")

    async def __aenter__(self) -> "Bench":
        await self._store.open()
        return self

    async def __aexit__(self, kind: object = None, *_: object) -> None:
        try:
            if kind is None and "audit" in self.verbs:
                await self.check_laws()
        finally:
            await self._store.close()

    async def check_laws(self) -> None:
        """Whatever a test has done, the store keeps its laws, but for those that the test says it breaks."""
        with suppress(StoreUnavailable):
            findings, cursor = list(await self._store.inspect()), None
            while True:
                audit = await self._store.audit(cursor, 100)
                findings += audit.findings
                cursor = audit.cursor
                if cursor is None:
                    break
            assert [finding for finding in findings if finding.law not in self.breaks] == []

    async def advance(self, seconds: float) -> None:
        """Let the store's time pass."""
        self.clock.elapsed += seconds * self.scale

    async def mark(self) -> None:
        """What is written after this can be lost. For stores that say `can_lose_writes`."""
        raise AssertionError(f"{type(self).__name__} keeps all it was told")

    async def lose_writes(self) -> None:
        """The store crashes and comes back as it was at the last `mark`. Time has passed meanwhile."""
        raise AssertionError(f"{type(self).__name__} keeps all it was told")

    def us(self, seconds: float) -> int:
        return int(seconds * self.scale * 1_000_000)

    @property
    def store(self) -> Any:
        """The store, held to the verbs that the test has declared."""
        return _Declared(self._store, self.declared)

    # --- submit ---------------------------------------------------------------------------------

    def task(self, lane: Lane = LANE, **fields: Any) -> NewTask:
        """A task with what the test says; `policy` may be a `Policy`, `delay` is in seconds."""
        if isinstance(fields.get("policy"), Policy):
            fields["policy"] = encode_policy(fields["policy"])
        if "delay" in fields:
            fields["delay_us"] = self.us(fields.pop("delay"))
        fields.setdefault("id", self.clock.new_id())
        fields.setdefault("payload", b'{"n":1}')
        return NewTask(lane=lane, **fields)

    async def exchange(self, **lines: Any) -> Exchanged:
        answers: Exchanged = await self.store.exchange(Exchange(**lines))
        self._learn(answers.ready)
        return answers

    async def put(self, groups: Sequence[Group]) -> list[Any]:
        """Submit groups; the answers as they are."""
        return list((await self.exchange(submits=groups)).submits)

    async def put_one(self, *tasks: NewTask, idempotency: Idempotency | None = None) -> Any:
        (answer,) = await self.put([Group(tasks, idempotency)])
        return answer

    async def submit(self, *tasks: NewTask) -> list[str]:
        """Submit one group that must be accepted; the ids."""
        answer = await self.put_one(*tasks)
        assert isinstance(answer, Accepted), answer
        return [task.id for task in tasks]

    async def submit_many(self, count: int, lane: Lane = LANE, **fields: Any) -> list[str]:
        return await self.submit(*[self.task(lane, **fields) for _ in range(count)])

    # --- claim ----------------------------------------------------------------------------------

    def _learn(self, heads: Iterable[Any]) -> None:
        for head in heads:
            self.lane_ids[head.lane] = head.lane_id

    async def lane_id(self, lane: Lane) -> int:
        """The lane's number, from what exchanges told, else from the board."""
        if lane not in self.lane_ids:
            self._learn((await self._store.board()).heads)
        return self.lane_ids[lane]

    def ask(
        self,
        limit: int = 10,
        lanes: Sequence[Lane | Quota] | None = None,
        *,
        worker: str = "w1",
        seq: int | None = None,
        lease: float = 15,
        term: int | None = None,
    ) -> Ask:
        """A claim. Without `lanes`: every known one, the highest priority first. Without `seq`: a new one."""
        if lanes is None:
            lanes = sorted(self.lane_ids, key=lambda lane: -lane.priority)
        seq = self._claims[worker] + 1 if seq is None else seq
        self._claims[worker] = max(seq, self._claims[worker])
        quotas = [at if isinstance(at, Quota) else Quota(self.lane_ids[at], limit) for at in lanes]
        return Ask(worker, f"{worker}-incarnation", seq, quotas, limit, self.us(lease), term)

    def claims_made(self, worker: str) -> int:
        """The number of the worker's last claim."""
        return self._claims[worker]

    async def ask_for(self, *args: Any, **options: Any) -> Claimed:
        """One claim; the answer as it is."""
        return (await self.exchange(claims=[self.ask(*args, **options)])).claims[0]

    async def claim(self, *args: Any, **options: Any) -> list[Lease]:
        return (await self.ask_for(*args, **options)).leases

    async def claim_one(self, **options: Any) -> Lease:
        leases = await self.claim(1, **options)
        assert len(leases) == 1, "nothing was claimable"
        return leases[0]

    async def claimed_ids(self, *args: Any, **options: Any) -> list[str]:
        return [lease.task for lease in await self.claim(*args, **options)]

    # --- settle and renew -----------------------------------------------------------------------

    def line(self, lease: Lease, outcome: Outcome = Outcome.SUCCEEDED, **report: Any) -> Settlement:
        """The settlement that a scheduler makes of a report."""
        only_if_lapsed = report.pop("only_if_lapsed", False)
        if "delay" in report:
            report["delay_us"] = self.us(report.pop("delay"))
        told = Report(lease.task, lease.token, outcome, **report)
        change, if_cancelled = settle(told, lease, 0.5)
        return Settlement(
            lease.task, lease.token, lease.lane_id, digest(told), change, if_cancelled, only_if_lapsed
        )

    async def settle_lines(self, *lines: Settlement) -> list[Answer]:
        return list((await self.exchange(settles=lines)).settles)

    async def settle(self, lease: Lease, outcome: Outcome = Outcome.SUCCEEDED, **report: Any) -> Answer:
        (answer,) = await self.settle_lines(self.line(lease, outcome, **report))
        return answer

    def renewal(self, *held: Lease | Held, worker: str = "w1", seq: int = 0, lease: float = 15) -> Renewal:
        lines = [at if isinstance(at, Held) else Held(at.task, at.token) for at in held]
        return Renewal(f"{worker}-incarnation", seq, lines, self.us(lease))

    async def renew(self, *held: Lease | Held, **options: Any) -> list[Answer]:
        (answers,) = await self.store.renew([self.renewal(*held, **options)])
        return list(answers)

    # --- reading and services -------------------------------------------------------------------

    async def get(self, task: str) -> Task:
        (record,) = await self.store.get([task])
        assert record is not None, f"no task {task}"
        return record

    async def states(self, *tasks: str) -> list[State]:
        return [record.state for record in await self.store.get(tasks)]

    async def promote(self, limit: int = 100) -> Moved:
        moved: Moved = await self.store.promote(limit)
        self._learn(moved.ready)
        return moved

    async def resolve_all(self, limit: int = 1000) -> list[Moved]:
        """Passes until nothing is left to resolve."""
        passes: list[Moved] = []
        while (moved := await self.store.resolve(limit)).count:
            self._learn(moved.ready)
            passes.append(moved)
        return passes

    async def refresh_lanes(self) -> None:
        self._learn((await self.store.board()).heads)


class User(ABC):
    """A user's connection. Statements name the tables as SQLite does, and values as `$1`."""

    # What the library raises when the database refuses.
    error: type[Exception]

    @abstractmethod
    async def run(self, sql: str, *values: object) -> list[tuple[Any, ...]]: ...

    @abstractmethod
    async def close(self) -> None: ...

    async def submit(self, *documents: str) -> list[str]:
        """Write submissions; the ids of their tasks."""
        statement = "INSERT INTO submissions (task) VALUES ($1) RETURNING id"
        return [(await self.run(statement, document))[0][0] for document in documents]

    async def complete(self, lease: Lease, result: str | None = None) -> None:
        statement = "INSERT INTO completions (task, token, result) VALUES ($1, $2, $3)"
        await self.run(statement, lease.task, lease.token, result)


class ApswUser(User):
    """Of the store's own library: it shares the process with the store."""

    error = apsw.Error

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))

    async def run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return list(self._connection.execute(sql, values))  # type: ignore[arg-type]

    async def close(self) -> None:
        self._connection.close()


class MemoryBench(Bench):
    can_lose_writes = True
    loses_live_writes = True

    def new_store(self) -> Store:
        return open_store("memory:", self.clock)

    async def mark(self) -> None:
        self._marked = self._store.snapshot()  # type: ignore[attr-defined]

    async def lose_writes(self) -> None:
        await self.advance(1)
        self._store.restore(self._marked)  # type: ignore[attr-defined]


class SqliteBench(Bench):
    """The store reads wall time through the virtual clock that it is given."""

    can_lose_writes = True
    several_nodes = True
    transactional = True

    async def user(self) -> User:
        # Their statements read the machine's own clock.
        self.clock.elapsed += (SystemClock().now_us() - self.clock.now_us()) / 1_000_000
        return ApswUser(self.folder / "store.db")

    def new_store(self) -> Store:
        return open_store(f"sqlite:///{self.folder / 'store.db'}", self.clock, StoreOptions(history=True))

    def new_node(self) -> Store:
        return self.new_store()

    async def mark(self) -> None:
        await self._store.close()
        self._marked = {path: path.read_bytes() for path in self.folder.iterdir()}
        await self._reopen()

    async def lose_writes(self) -> None:
        await self.advance(1)
        await self._store.close()
        for path in self.folder.iterdir():
            path.unlink()
        for path, content in self._marked.items():
            path.write_bytes(content)
        await self._reopen()

    async def _reopen(self) -> None:
        self._store = self.new_store()
        await self._store.open()


class _Declared:
    """Refuses verbs that a test did not declare: a driver that lacks them could not run the test."""

    def __init__(self, store: Store, verbs: frozenset[str]) -> None:
        self._store = store
        self._verbs = verbs

    def __getattr__(self, name: str) -> Any:
        assert name not in VERBS or name in self._verbs, f"mark the test with verbs({name!r})"
        return getattr(self._store, name)

    async def exchange(self, batch: Exchange) -> Exchanged:
        for verb, lines in zip(EXCHANGED, (batch.submits, batch.claims, batch.settles), strict=True):
            assert not lines or verb in self._verbs, f"mark the test with verbs({verb!r})"
        return await self._store.exchange(batch)


def structs_equal(one: msgspec.Struct, other: msgspec.Struct, but: Sequence[str] = ()) -> bool:
    """Whether two records say the same, fields in `but` left out."""
    names = [name for name in one.__struct_fields__ if name not in but]
    return all(getattr(one, name) == getattr(other, name) for name in names)
