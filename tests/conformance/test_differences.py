"""The same words said to a store and to the reference, `memory`: each answer, and all that can be read after
it, must be the same but for tokens, versions and the very moment.

A walk's times are multiples of half a unit, and its clocks move by whole ones: however long a real server
takes for a step, no border is near.
"""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.limits import LimitRule
from mainspring.core.model import (
    Lane,
    OnParentFailure,
    Policy,
    RetryPolicy,
    State,
    Task,
    UniqueRule,
    encode_policy,
)
from mainspring.core.order import Quota
from mainspring.core.workflows import Callback
from mainspring.verbs import (
    Accepted,
    Action,
    Answer,
    Ask,
    Edit,
    Existing,
    Force,
    Group,
    Held,
    Idempotency,
    Moved,
    NewWorkflow,
    Query,
    Refused,
    Renewal,
    Retention,
    Retried,
    WorkflowQuery,
)
from tests.conformance.bench import LANE, MemoryBench

UNIT_S = 1_000
HALF_US = UNIT_S * 500_000
LANES = [
    LANE,
    LANE._replace(priority=9),
    Lane("mail", "echo", "acme", 5, "k:*"),
    Lane("\u00fcn\u00ef \U0001f600", "http", "default", 5),
]
LIMITS = ["queue:mail", "tenant:*", "key:*", "kind:echo", "queue:default"]
RULES = [
    None,
    LimitRule(max_running=0),
    LimitRule(max_running=2),
    LimitRule(max_waiting=6),
    LimitRule(rate=2, per_s=float(UNIT_S)),
]
WORKERS = ["w1", "w2"]
STEPS = [
    "exchange", "exchange", "exchange", "exchange", "renew", "force", "amend", "delete", "promote", "resolve",
    "overdue", "reap", "prune", "control", "workflow", "wait", "wait",
]  # fmt: skip
WALKS, LENGTH = 6, 40
UNLIKE = {"token", "version", "seq", "attempts", "timeout_us"}


class OrderDiffers(Exception):
    """Tasks that one call made ready stand in another order, as nobody has promised: the walk ends here."""


class Side:
    """One of the two stores, and how what it says is told without what must differ."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench
        self.store = bench.store
        self.leases: list[Any] = []

    async def start(self) -> None:
        self.base_us = (await self.store.board()).now_us

    def half(self, at_us: int | None) -> int | None:
        return None if at_us is None else (at_us - self.base_us + HALF_US // 2) // HALF_US

    def told(self, said: Any) -> Any:
        match said:
            case Task():
                plain = {name: getattr(said, name) for name in said.__struct_fields__ if name not in UNLIKE}
                return {name: self.half(v) if name.endswith("_us") else v for name, v in plain.items()}
            case Refused():
                return said.code, said.row
            case Existing():
                return [self.told(task) for task in said.tasks]
            case Accepted():
                return said.states, {place: self.told(task) for place, task in said.existing.items()}
            case Moved():
                return said.count, sorted(head.lane for head in said.ready), sorted(said.finished)
            case Retried():
                return said.count, said.waiting, sorted(head.lane for head in said.ready)
            case list() | tuple():
                return [self.told(each) for each in said]
        return said

    def lease(self, lease: Any) -> Any:
        counters = lease.attempt, lease.retries, lease.losses, lease.snoozes
        return lease.task, lease.lane, lease.payload, counters, lease.worker, self.half(lease.lease_until_us)

    async def pages(self, **query: Any) -> list[Task]:
        tasks, cursor = [], None
        while True:
            page = await self.store.find(Query(cursor=cursor, limit=30, **query))
            tasks += page.tasks
            cursor = page.cursor
            if cursor is None:
                return tasks


class Walk:
    def __init__(self, sides: list[Side], seed: int) -> None:
        self.sides = sides
        self.random = random.Random(seed)
        self.made = 0
        self.now = 0
        self.stored: list[str] = []
        self.workflows: list[str] = []
        self.claims = dict.fromkeys(WORKERS, 0)
        self.ended: set[int] = set()

    async def both(self, ask: Any) -> Any:
        reference, other = [await ask(side) for side in self.sides]
        assert other == reference
        return reference

    def new_id(self) -> str:
        self.made += 1
        return f"{self.made:08x}-0000-7000-8000-{self.made * 0x9E3779B97F4A % (1 << 48):012x}"

    def some(self, most: int) -> list[str]:
        return self.random.sample(self.stored, min(len(self.stored), self.random.randint(0, most)))

    def units_us(self, *choices: float) -> int:
        """One of these times, and a little more each time, so that no two are equal."""
        return int(self.random.choice(choices) * 2 * HALF_US) + self.made * 1_000

    # --- steps ----------------------------------------------------------------------------------

    def _task(self, siblings: list[str]) -> tuple[dict[str, Any], dict[str, int]]:
        """A task's fields; and those of its times that count from now."""
        pick = self.random
        parents = [*self.some(2), *(one for one in siblings if pick.random() < 0.25)]
        policy = Policy(
            pick.choice([0, 1, 3]),
            RetryPolicy("fixed", delay_s=pick.choice([0.0, 1.5 * UNIT_S]), jitter=0.0),
            max_losses=pick.choice([1, 2]),
            on_parent_failure=pick.choice(list(OnParentFailure)),
        )
        fields: dict[str, Any] = {
            "id": self.new_id(),
            "lane": pick.choice(LANES),
            "depends_on": tuple(parents),
        }
        fields["policy"], fields["payload"] = encode_policy(policy), pick.choice([b"1", b'"\xc3\xa9"'])
        times = {}
        match pick.randrange(6):
            case 0:
                fields["delay_us"] = self.units_us(0.5, 2.5)
            case 1:
                times["run_at_us"] = self.units_us(-1.5, 0.5, 2.5, 1e9)
            case 2:
                times["deadline_us"] = self.units_us(0.5, 2.5, 1e9)
            case 3:
                states = frozenset(pick.sample(list(State), 4))
                period_us = pick.choice([None, 3 * HALF_US])
                fields["unique"] = UniqueRule(pick.choice([b"a", b"b"]), states, period_us)
        return fields, times

    def _group(self) -> tuple[list[Any], Idempotency | None, NewWorkflow | None]:
        pick, tasks = self.random, []
        for _ in range(pick.randint(1, 4)):
            tasks.append(self._task([fields["id"] for fields, _ in tasks]))
        key = workflow = None
        if pick.random() < 0.2:
            digest = pick.choice([b"one", b"two"])
            key = Idempotency("p", pick.choice(["a", "\U0001f600"]), digest, pick.choice([1, 5]) * HALF_US)
        if pick.random() < 0.25:
            members, callbacks = tuple(fields["id"] for fields, _ in tasks), {}
            for callback in pick.sample(list(Callback), pick.randint(0, 3)):
                policy = encode_policy(Policy(0, on_parent_failure=callback.rule))
                id_ = callbacks[callback] = self.new_id()
                fields = {"id": id_, "lane": LANE, "policy": policy, "depends_on": members}
                tasks.append((fields, {}))
            workflow = NewWorkflow(f"flow {self.made}", "flow", None, callbacks)
        return tasks, key, workflow

    def _ends(self) -> list[tuple[int, Outcome, float]]:
        """Reports on leases, by their numbers; some on such as have ended already."""
        known = range(len(self.sides[0].leases))
        open_ = [n for n in known if n not in self.ended]
        chosen = self.random.sample(open_, min(len(open_), self.random.randint(0, 3)))
        if known and self.random.random() < 0.2:
            chosen.append(self.random.choice(known))
        outcomes = [*Outcome, Outcome.SUCCEEDED, Outcome.FAILED]
        return [(n, self.random.choice(outcomes), self.random.choice([0, 1.5])) for n in chosen]

    def _line(self, side: Side, n: int, outcome: Outcome, units: float) -> Any:
        report: dict[str, Any] = {}
        if outcome in (Outcome.FAILED, Outcome.LOST):
            report["error"] = b'{"type":"ValueError","message":"no %d"}' % (n % 2)
        if outcome in (Outcome.FAILED, Outcome.SNOOZED):
            report["delay_us"] = int(units * 2 * HALF_US) + (n * 1_000 if units else 0)
        return side.bench.line(side.leases[n], outcome, **report)

    async def exchange(self) -> None:
        """Ends come by themselves: what they make ready may stand before or behind what comes with them."""
        pick = self.random
        ends = self._ends() if pick.random() < 0.5 else []
        groups = [] if ends else [self._group() for _ in range(pick.randint(0, 3))]
        worker, limit = pick.choice(WORKERS), pick.randint(0, 5)
        lanes = [(lane, pick.randint(1, 4)) for lane in pick.sample(LANES, pick.randint(1, len(LANES)))]
        self.claims[worker] += 1

        async def ask(side: Side) -> Any:
            heads = {head.lane: head.lane_id for head in (await side.store.board()).heads}
            quotas = [Quota(heads[lane], most) for lane, most in lanes if lane in heads]
            now_us = side.base_us + self.now * 2 * HALF_US
            submits = [
                Group(
                    [side.bench.task(**f, **{k: now_us + v for k, v in t.items()}) for f, t in tasks],
                    key,
                    flow,
                )
                for tasks, key, flow in groups
            ]
            claims = [Ask(worker, f"{worker} one", self.claims[worker], quotas, limit, 3 * HALF_US)]
            settles = [self._line(side, *end) for end in ends]
            answers = await side.bench.exchange(submits=submits, settles=settles, claims=claims)
            side.leases += answers.claims[0].leases
            leases = [side.lease(lease) for lease in answers.claims[0].leases]
            usage = {name: state.running for name, state in answers.usage.items() if state.running}
            return side.told(answers.submits), list(answers.settles), leases, usage

        submitted, settled, _, _ = await self.both(ask)
        self.ended |= {
            end[0] for end, a in zip(ends, settled, strict=True) if a in (Answer.OK, Answer.CANCEL)
        }
        for (_, _, flow), answer in zip(groups, submitted, strict=True):
            if flow is not None and isinstance(answer, tuple) and isinstance(answer[1], dict):
                self.workflows.append(flow.id)

    async def renew(self) -> None:
        worker = self.random.choice(WORKERS)
        mine = [n for n, lease in enumerate(self.sides[0].leases) if lease.worker == worker]
        named = [(n, self.random.random() < 0.7) for n in mine if self.random.random() < 0.7]
        last = self.random.choice([0, self.claims[worker] - 1, self.claims[worker]])
        lease_us = self.random.choice([1, 3]) * HALF_US

        async def ask(side: Side) -> Any:
            held = [Held(side.leases[n].task, side.leases[n].token, started) for n, started in named]
            return [
                list(answers)
                for answers in await side.store.renew([Renewal(f"{worker} one", last, held, lease_us)])
            ]

        await self.both(ask)

    async def force(self) -> None:
        action, delay_us = self.random.choice(list(Action)), self.units_us(1.5)
        tasks = self.some(1 if action is Action.DISCARD else 3)
        delays = [delay_us + n * 1_000 if action is Action.REPLAY and n % 2 else 0 for n in range(len(tasks))]

        async def ask(side: Side) -> Any:
            lines = [Force(task, action, None, wait) for task, wait in zip(tasks, delays, strict=True)]
            return side.told(await side.store.force(lines))

        await self.both(ask)

    async def amend(self) -> None:
        fields, times = self._task([])
        for task in self.some(1):

            async def ask(side: Side, task: str = task) -> Any:
                (record,) = await side.store.get([task])
                due = {name: side.base_us + self.now * 2 * HALF_US + after for name, after in times.items()}
                run_at_us, deadline_us = due.get("run_at_us"), due.get("deadline_us")
                edit = Edit(fields["lane"], b"2", run_at_us, fields["policy"], None, deadline_us, None)
                return side.told(await side.store.amend(task, record.version, edit))

            await self.both(ask)

    async def delete(self) -> None:
        tasks = self.some(3)
        await self.both(lambda side: self._told(side, side.store.delete(tasks)))

    async def promote(self) -> None:
        await self.both(lambda side: self._told(side, side.bench.promote(1_000)))

    async def resolve(self) -> None:
        async def ask(side: Side) -> Any:
            passes = await side.bench.resolve_all()
            return sorted(task for moved in passes for task in moved.finished)

        await self.both(ask)

    async def overdue(self) -> None:
        async def ask(side: Side) -> Any:
            found = await side.store.overdue(1_000, 0)
            return sorted(lease.task for lease in found.leases), sorted(found.expired)

        await self.both(ask)

    async def reap(self) -> None:
        async def ask(side: Side) -> Any:
            lapsed = sorted(await side.store.expired(1_000), key=lambda lease: lease.task)
            lines = [side.bench.line(one, Outcome.LOST, only_if_lapsed=True) for one in lapsed]
            return [lease.task for lease in lapsed], await side.bench.settle_lines(*lines)

        await self.both(ask)

    async def prune(self) -> None:
        retention = Retention(*[self.random.choice([None, 0, 3 * HALF_US]) for _ in range(3)])

        async def ask(side: Side) -> int:
            return (await side.store.prune(10_000, retention, None)).count

        await self.both(ask)

    async def control(self) -> None:
        name, rule, queue = (
            self.random.choice(LIMITS),
            self.random.choice(RULES),
            self.random.choice(LANES).queue,
        )
        paused_by = self.random.choice([None, None, "walk"])
        await self.both(lambda side: side.store.set_limit(name, rule))
        await self.both(lambda side: side.store.set_queue(queue, paused_by))

    async def workflow(self) -> None:
        if self.workflows:
            flow, cancels = self.random.choice(self.workflows), self.random.random() < 0.5

            async def ask(side: Side) -> Any:
                if cancels:
                    return side.told(await side.store.cancel_workflow(flow, True))
                return side.told(await side.store.retry_workflow(flow))

            await self.both(ask)

    async def wait(self) -> None:
        units = self.random.choice([1, 2, 5])
        self.now += units
        for side in self.sides:
            await side.bench.advance(units * UNIT_S)

    async def _told(self, side: Side, call: Any) -> Any:
        return side.told(await call)

    # --- what can be read -----------------------------------------------------------------------

    async def check(self) -> None:
        async def ask(side: Side) -> Any:
            counts = (await side.store.stats()).counts
            flows = (await side.store.find_workflows(WorkflowQuery(limit=1_000))).workflows
            groups = (await side.store.dead_groups(100, None)).groups
            board = await side.store.board()
            # A task past its deadline need not be seen.
            ready = await side.pages(states=frozenset({State.READY}))
            claimable = {task.lane for task in ready if (task.deadline_us or board.now_us) >= board.now_us}
            return (
                [side.told(task) for task in await side.pages()],
                {place: count for place, count in counts.items() if count},
                [(flow.id, flow.members, msgspec.to_builtins(flow.callbacks)) for flow in flows],
                sorted((group.fingerprint, group.count) for group in groups),
                claimable & {head.lane for head in board.heads},
                {name: state.running for name, state in board.usage.items() if state.running},
                {name for name, state in board.usage.items() if state.arrival_us > board.now_us},
            )

        self.stored = [task["id"] for task in (await self.both(ask))[0]]
        lines = []
        for side in self.sides:
            ready = await side.pages(states=frozenset({State.READY}))
            lines.append(
                [(task.lane, task.id) for task in sorted(ready, key=lambda task: (task.lane, task.seq))]
            )
        if lines[0] != lines[1]:
            raise OrderDiffers


@pytest.mark.parametrize("seed", range(WALKS))
async def test_a_store_does_what_the_reference_does(new_bench: Any, tmp_path: Path, seed: int) -> None:
    """Whatever is said to it, in whatever order."""
    folder = tmp_path / "reference"
    folder.mkdir()
    async with MemoryBench(folder) as reference, new_bench() as bench:
        walk = Walk([Side(reference), Side(bench)], seed)
        for side in walk.sides:
            await side.start()
        for _ in range(LENGTH):
            try:
                await getattr(walk, walk.random.choice(STEPS))()
                await walk.check()
            except OrderDiffers:
                break
            # Nothing happens twice in one moment.
            reference.clock.elapsed += 0.001
