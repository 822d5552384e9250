"""Random walks over the verbs, beside a small model that knows what must hold after every step."""

import asyncio
import random
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.core.lifecycle import TRANSITIONS, Outcome
from mainspring.core.limits import LimitRule
from mainspring.core.model import (
    FINAL,
    WAITING,
    OnParentFailure,
    Policy,
    RetryPolicy,
    State,
    UniqueRule,
    decode_policy,
)
from mainspring.verbs import Accepted, Action, Answer, Edit, Force, Query, Refused, Retention
from tests.conformance.bench import LANE

LANES = [LANE, LANE._replace(priority=9), LANE._replace(queue="mail", key="k")]
WORKERS = ["w1", "w2"]
LIMITED = "queue:mail"


class Walk:
    """Takes steps on a store, and knows of every task: its token, its holder, its last known state."""

    def __init__(self, bench, seed):
        self.bench = bench
        self.random = random.Random(seed)
        self.known = []
        self.deleted = set()
        self.holders = {}
        self.tokens = Counter()
        self.stale = []
        self.versions = {}
        self.paused = False
        self.limit = None
        self.now_us = 0

    async def all_tasks(self):
        tasks, cursor = {}, None
        while True:
            page = await self.bench.store.find(Query(cursor=cursor))
            tasks.update((task.id, task) for task in page.tasks)
            cursor = page.cursor
            if cursor is None:
                return tasks

    def some(self, items):
        return self.random.choice(items) if items else None

    # --- steps ----------------------------------------------------------------------------------

    async def submit(self):
        pick = self.random
        tasks = []
        for _ in range(pick.randint(1, 4)):
            parents = pick.sample(self.known, min(len(self.known), pick.choice([0, 0, 0, 1, 2])))
            parents += [task.id for task in tasks if pick.random() < 0.2]
            retry = RetryPolicy("fixed", delay_s=0.0)
            rule = pick.choice(list(OnParentFailure))
            policy = Policy(pick.choice([0, 1, 3]), retry, max_losses=3, on_parent_failure=rule)
            states = frozenset(pick.sample(list(State), 3))
            unique = UniqueRule(pick.choice([b"a", b"b"]), states) if pick.random() < 0.2 else None
            task = self.bench.task(
                pick.choice(LANES),
                delay=pick.choice([0, 0, 50]),
                deadline_us=self.now_us + self.bench.us(150) if pick.random() < 0.2 else None,
                policy=policy,
                depends_on=tuple(parents),
                unique=unique,
            )
            tasks.append(task)
        before = await self.all_tasks()
        answer = await self.bench.put_one(*tasks)
        gone = {parent for task in tasks for parent in task.depends_on} & self.deleted
        assert isinstance(answer, Refused) == bool(gone), answer
        if isinstance(answer, Accepted):
            for place, task in enumerate(tasks):
                found = answer.existing.get(place)
                assert (found is None) or (task.unique and (found.id in before or found.id in self.known))
                if found is None:
                    self.known.append(task.id)

    async def claim(self):
        worker, limit = self.some(WORKERS), self.random.randint(1, 4)
        lanes = self.random.sample(LANES, self.random.randint(1, 3))
        lanes = [lane for lane in lanes if lane in self.bench.lane_ids]
        line = [
            task
            for task in (await self.all_tasks()).values()
            if task.state is State.READY and not self._late(task)
        ]
        expected = []
        for lane in lanes:
            room = self._room(lane)
            heads = sorted((task.seq, task.id) for task in line if task.lane == lane)
            expected += [task for _, task in heads][: min(room, limit - len(expected))]
        leases = await self.bench.claim(limit, lanes, worker=worker, lease=100)
        assert [lease.task for lease in leases] == expected
        for lease in leases:
            assert lease.task not in self.holders
            assert lease.token > self.tokens[lease.task]
            self.tokens[lease.task] = lease.token
            self.holders[lease.task] = (worker, lease)

    def _late(self, task):
        return task.deadline_us is not None and task.deadline_us < self.now_us

    def _room(self, lane):
        if lane.queue != "mail":
            return 1 << 30
        used = sum(lease.lane.queue == "mail" for _, lease in self.holders.values())
        return 0 if self.paused else max(0, self.limit - used) if self.limit is not None else 1 << 30

    async def settle(self):
        held = self.some(list(self.holders.values()))
        if held is None:
            return
        await self._report(held[1], self.random.choice(list(Outcome)))

    async def _report(self, lease, outcome, **options):
        line = self.bench.line(lease, outcome, delay=self.random.choice([0, 30]), **options)
        (before,) = await self.bench.store.get([lease.task])
        answers = await self.bench.settle_lines(line, line)
        cancelled = before.cancel_requested_at_us is not None and outcome is not Outcome.SUCCEEDED
        assert answers == [Answer.CANCEL if cancelled else Answer.OK, Answer.ALREADY]
        change = line.if_cancelled if cancelled else line.change
        record = await self.bench.get(lease.task)
        assert record.state is change.state
        assert (record.attempt, record.retries, record.losses) == (
            change.attempt,
            change.retries,
            change.losses,
        )
        self._let_go(lease.task)

    def _let_go(self, task):
        held = self.holders.pop(task, None)
        if held is not None:
            self.stale.append(held[1])

    async def settle_stale(self):
        lease = self.some(self.stale)
        if lease is not None:
            line = self.bench.line(lease, Outcome.SUCCEEDED, result=b'"never"')
            (answer,) = await self.bench.settle_lines(line)
            assert answer is Answer.LOST

    async def renew(self):
        worker = self.some(WORKERS)
        mine = [lease for holder, lease in self.holders.values() if holder == worker]
        named = [lease for lease in mine if self.random.random() < 0.7] + self.stale[:1]
        seq = self.bench.claims_made(worker)
        answers = await self.bench.renew(*named, worker=worker, seq=seq, lease=100)
        for lease, answer in zip(named, answers, strict=True):
            assert (answer is Answer.LOST) == (lease not in mine)
        for lease in mine:
            if lease not in named:
                self._let_go(lease.task)

    async def reap(self):
        for lease in await self.bench.store.expired(100):
            worker, held = self.holders[lease.task]
            assert (held.token, worker) == (lease.token, lease.worker)
            await self._report(lease, Outcome.LOST, only_if_lapsed=True)

    async def overdue(self):
        before = await self.all_tasks()
        overdue = await self.bench.store.overdue(100, 0)
        waited = {task.id for task in before.values() if task.state in WAITING and self._late(task)}
        assert set(overdue.expired) == waited
        for lease in overdue.leases:
            assert self.holders[lease.task][1].token == lease.token
            await self._report(lease, Outcome.FAILED)

    async def force(self):
        task = self.some(self.known)
        if task is None:
            return
        action = self.random.choice(list(Action))
        (answer,) = await self.bench.store.force([Force(task, action)])
        if isinstance(answer, Refused):
            assert (answer.code == "not_found") == (task in self.deleted)
        elif action is Action.KILL:
            self._let_go(task)

    async def amend(self):
        task = self.some([task for task in self.known if task not in self.deleted])
        if task is None:
            return
        record = await self.bench.get(task)
        run_at_us = record.created_at_us + self.bench.us(300) if self.random.random() < 0.3 else None
        lane = self.random.choice(LANES)
        edit = Edit(lane, b"2", run_at_us, record.policy, None, record.deadline_us, None)
        answer = await self.bench.store.amend(task, record.version, edit)
        assert isinstance(answer, Refused) == (record.state not in WAITING)

    async def delete(self):
        task = self.some(self.known)
        if task is not None:
            (refused,) = await self.bench.store.delete([task])
            if refused is None:
                assert task not in self.deleted
                self.deleted.add(task)

    async def prune(self):
        before = await self.all_tasks()
        keep_us = self.bench.us(200)
        pruned = await self.bench.store.prune(1000, Retention(keep_us, keep_us, None), None)
        left = await self.all_tasks()
        gone = before.keys() - left.keys()
        assert len(gone) == pruned.count
        assert all(before[task].state in (State.SUCCEEDED, State.FAILED) for task in gone)
        self.deleted |= gone

    async def promote(self):
        await self.bench.promote(self.random.randint(1, 10))

    async def resolve(self):
        await self.bench.resolve_all()
        tasks = await self.all_tasks()
        for task in tasks.values():
            if task.state is State.BLOCKED:
                rule = decode_policy(task.policy).on_parent_failure
                parents = [tasks[parent] for parent in task.depends_on]
                failed = [p for p in parents if p.state in FINAL and p.state is not State.SUCCEEDED]
                assert not failed or rule is not OnParentFailure.CANCEL
                assert any(p.state not in FINAL for p in parents) or (
                    failed and rule is OnParentFailure.BLOCK
                )

    async def control(self):
        if self.random.random() < 0.5:
            self.paused = not self.paused
            await self.bench.store.set_queue("mail", "walk" if self.paused else None)
        else:
            self.limit = self.random.choice([None, 0, 1, 2])
            rule = None if self.limit is None else LimitRule(max_running=self.limit)
            await self.bench.store.set_limit(LIMITED, rule)

    async def calm_down(self):
        """Nothing comes due while a step is made: where time goes by itself, it would meet another store
        than the one that was looked at."""
        while True:
            self.now_us = (await self.bench.store.board()).now_us
            times = [
                moment_us
                for task in (await self.all_tasks()).values()
                if not task.state.is_final
                for moment_us in (task.run_at_us, task.deadline_us, task.lease_until_us, task.timeout_at_us)
                if moment_us is not None and self.now_us <= moment_us <= self.now_us + self.bench.us(20)
            ]
            if not times:
                return
            await self.bench.advance((max(times) - self.now_us) / self.bench.us(1) + 0.1)

    async def wait(self):
        await self.bench.advance(self.random.choice([10, 40, 120]))

    # --- what must hold after every step --------------------------------------------------------

    async def check(self):
        tasks = await self.all_tasks()
        await self.bench.refresh_lanes()
        assert tasks.keys() == set(self.known) - self.deleted
        running = {task.id: task.token for task in tasks.values() if task.state is State.RUNNING}
        assert running == {task: lease.token for task, (_, lease) in self.holders.items()}
        counts = Counter((task.lane.queue, task.state) for task in tasks.values())
        told = (await self.bench.store.stats()).counts
        assert {place: count for place, count in told.items() if count} == counts
        board = await self.bench.store.board()
        heads, begins = {}, {}
        for task in sorted(tasks.values(), key=lambda task: task.seq or 0, reverse=True):
            if task.state is State.READY:
                heads[task.lane] = task.seq
                if not self._late(task):
                    begins[task.lane] = task.seq
        # What is too late to be claimed may be told of or not.
        told = {head.lane: head.seq for head in board.heads}
        assert {lane: seq for lane, seq in told.items() if seq != heads.get(lane)}.items() <= begins.items()
        assert begins.keys() <= told.keys() <= heads.keys()
        if self.limit is not None:
            used = sum(tasks[task].lane.queue == "mail" for task in running)
            state = board.usage.get(LIMITED)
            assert (state.running if state else 0) == used
        for task in tasks.values():
            await self._check_task(task)

    async def _check_task(self, task):
        known = self.versions.get(task.id)
        if known is not None and known != task:
            assert (
                task.version > known.version
                or task.state is State.RUNNING
                or (task.open_parents != known.open_parents)
            )
        self.versions[task.id] = task
        assert (task.finished_at_us is not None) == (task.state in FINAL)
        assert (task.lease_until_us is not None) == (task.state is State.RUNNING)
        assert task.timeout_at_us is None or task.state is State.RUNNING
        assert (task.open_parents > 0) == (task.state is State.BLOCKED)
        if self.bench.store.features.full_history:
            steps = await self.bench.store.history(task.id)
            assert steps[-1].new is task.state
            assert [step.old for step in steps] == [None, *[step.new for step in steps[:-1]]]
            assert all((step.old, step.new) in TRANSITIONS[step.cause] for step in steps)


STEPS = [
    "submit", "submit", "claim", "claim", "settle", "settle_stale", "renew", "reap", "force", "amend",
    "delete", "prune", "promote", "resolve", "control", "wait", "overdue",
]  # fmt: skip


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.sampled_from(STEPS), min_size=25, max_size=60),
    seed=st.integers(0, 1 << 32),
)
def test_random_walks(new_bench, steps, seed):
    """Counts add up, each task has one holder, lines keep their order, nothing final comes back."""

    async def walk():
        async with new_bench() as bench:
            walk = Walk(bench, seed)
            for step in steps:
                await walk.calm_down()
                await getattr(walk, step)()
                await walk.check()

    asyncio.run(walk())
