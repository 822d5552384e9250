"""A store with a living workload: tasks in every state, dependencies, limits, keys, shares, workers, a term.

build ──► waiting, running, finished tasks ──► somebody spoils it, somebody mends it ──► finish ──► all end
"""

from collections.abc import Sequence
from typing import Any

from mainspring.core.lifecycle import Outcome
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane, OnParentFailure, Policy
from mainspring.core.order import Quota
from mainspring.core.schedules import Schedule
from mainspring.core.templates import Template
from mainspring.core.timing import Timing
from mainspring.core.workflows import Callback
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.services import Firer
from mainspring.verbs import Append, Ask, Group, Idempotency, NewSchedule, NewWorkflow, Query, WorkerInfo
from tests.conformance.bench import LANE, Bench

WAIT, WORK, DONE, WORKFLOW = (
    Lane(queue, "echo", "default", 5) for queue in ("wait", "work", "done", "flows")
)
ONCE = Policy(max_retries=0)
LABELS = b'{"team":"ops"}'
ROUNDS = 60


class Living:
    """`each` of everything that somebody could want to spoil."""

    def __init__(self, bench: Bench, each: int) -> None:
        self.bench = bench
        self.each = each

    async def build(self) -> None:
        await self._controls()
        await self._finished()
        await self._running()
        await self._waiting()
        await self._families()
        await self._workflows()
        await self._schedules()

    async def _controls(self) -> None:
        bench = self.bench
        await bench.store.take_term("node-1", bench.us(6))
        for n in range(self.each):
            await bench.store.set_weight(f"tenant-{n}", 1.0 + n)
            await bench.store.set_limit(f"key:rated-{n}", LimitRule(rate=2, per_s=5.0))
            await bench.store.set_limit(f"queue:unused-{n}", LimitRule(max_running=3))
            await bench.store.beat(WorkerInfo(f"worker-{n}", "i", "node-1", ("echo",), (), 4))
        keys = [Idempotency("me", f"key-{n}", b"digest", bench.us(86_400)) for n in range(self.each)]
        await bench.put([Group([bench.task(DONE)], key) for key in keys])

    async def _finished(self) -> None:
        bench = self.bench
        await bench.submit_many(7 * self.each, DONE, labels=LABELS)
        lines = []
        for place, lease in enumerate(await self._claim(DONE, 10_000, "finisher")):
            if place % 4 == 0:
                lines.append(bench.line(lease, Outcome.FAILED))
            else:
                lines.append(bench.line(lease, result=b'{"done":1}'))
        await bench.settle_lines(*lines)
        parents = await bench.submit_many(self.each, DONE)
        await bench.submit(*[bench.task(DONE, depends_on=(parent,)) for parent in parents])
        for _ in range(2):
            leases = await self._claim(DONE, 10_000, "finisher")
            await bench.settle_lines(*[bench.line(lease) for lease in leases])

    async def _running(self) -> None:
        bench = self.bench
        await bench.submit_many(8 * self.each, WORK, labels=LABELS)
        for n in range(self.each):
            await self._claim(WORK, 1, f"single-{n}")
        leases = await self._claim(WORK, 7 * self.each, "worker")
        await bench.store.append([Append(one.task, one.token, progress=b'{"at":0.5}') for one in leases])

    async def _waiting(self) -> None:
        bench, each = self.bench, self.each
        await bench.submit_many(14 * each, WAIT, labels=LABELS, policy=Policy(max_retries=1))
        await bench.submit_many(5 * each, WAIT, delay=200)
        tasks = []
        for n in range(each):
            tasks += [bench.task(LANE._replace(key=key)) for key in (f"rated-{n}", f"lone-{n}")]
            tasks += [bench.task(Lane(f"counted-{n}", "echo", "default", 5)) for _ in range(3)]
            tasks.append(bench.task(Lane(f"tenants-{n}", "echo", f"tenant-{n}", 5)))
        await bench.submit(*tasks)

    async def _families(self) -> None:
        """Parents that wait, with children that wait for them, under every rule; and ends yet to be told."""
        bench = self.bench
        rules = (OnParentFailure.CANCEL, OnParentFailure.RUN)
        groups = []
        for n in range(9 * self.each):
            policy = Policy(on_parent_failure=rules[n % 2])
            two = [bench.task(WAIT, name="parent") for _ in range(2)]
            child = bench.task(WAIT, policy=policy, name="child", depends_on=tuple(task.id for task in two))
            groups.append(Group([*two, child]))
        doomed = LANE._replace(queue="doomed")
        for _ in range(self.each):
            parent = bench.task(doomed, policy=ONCE)
            groups.append(Group([parent, bench.task(WAIT, name="doomed", depends_on=(parent.id,))]))
        await bench.put(groups)
        leases = await self._claim(doomed, 10_000, "finisher")
        await bench.settle_lines(*[bench.line(lease, Outcome.FAILED) for lease in leases])

    async def _workflows(self) -> None:
        bench, groups = self.bench, []
        for sort in ("lost", "parts", "read"):
            for n in range(self.each):
                first = bench.task(WORKFLOW, labels=LABELS)
                second = bench.task(WORKFLOW, depends_on=(first.id,))
                policy = Policy(on_parent_failure=OnParentFailure.RUN)
                last = bench.task(WORKFLOW, depends_on=(first.id, second.id), policy=policy)
                document = NewWorkflow(f"{sort}-{n}", sort, LABELS, {Callback.ON_COMPLETE: last.id})
                groups.append(Group([first, second, last], workflow=document))
        await bench.put(groups)

    async def _schedules(self) -> None:
        """Several fires each, of which some were missed."""
        bench = self.bench
        scheduler = Scheduler(bench.store, bench.clock, SchedulerSettings())
        firer = Firer(bench.store, scheduler, None, bench.clock)
        template = Template(Lane("fired", "echo", "default", 5), b"null")
        for sort in ("recorded", "told", "looked-at", "standing"):
            for n in range(self.each):
                rules = Schedule(Timing(every_us=bench.us(7)), misfire_grace_us=bench.us(5))
                await scheduler.schedules.create(NewSchedule(rules, template), f"{sort}-{n}")
        for seconds in (8, 7, 30, 7):
            await bench.advance(seconds)
            while await firer.tick() == 0.0:
                pass
        await bench.promote(10_000)

    async def rest(self) -> None:
        """No schedule fires any more."""
        for id_ in [record.id for record in (await self.bench.store.find_schedules(10_000, None)).schedules]:
            await self.bench.store.delete_schedule(id_, None)

    async def _claim(self, lane: Lane, count: int, worker: str) -> Sequence[Any]:
        await self.bench.refresh_lanes()
        return await self.bench.claim(count, [lane], worker=worker, lease=300)

    async def finish(self) -> list[Any]:
        """Let everything come to its end, as nodes would; the tasks that did not."""
        bench = self.bench
        for _ in range(ROUNDS):
            await bench.advance(101)
            await bench.promote(10_000)
            await bench.resolve_all()
            lapsed = await bench.store.expired(10_000)
            await bench.settle_lines(*[bench.line(one, Outcome.LOST, only_if_lapsed=True) for one in lapsed])
            heads = (await bench.store.board()).heads
            lanes = [Quota(head.lane_id, 10_000) for head in heads if head.lane.kind == "echo"]
            ask = Ask("last", "last-incarnation", bench.claims_made("last") + 1, lanes, 10_000, bench.us(60))
            bench._claims["last"] += 1
            await bench.settle_lines(*[bench.line(lease) for lease in await self._leases(ask)])
            left = [task for task in await self.tasks() if not task.state.is_final]
            if not left:
                break
        return left

    async def _leases(self, ask: Ask) -> Sequence[Any]:
        (claimed,) = (await self.bench.exchange(claims=[ask])).claims
        return claimed.leases

    async def tasks(self) -> list[Any]:
        tasks: list[Any] = []
        cursor = None
        while True:
            page = await self.bench.store.find(Query(limit=1000, cursor=cursor))
            tasks += page.tasks
            cursor = page.cursor
            if cursor is None:
                return tasks
