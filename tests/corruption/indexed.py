"""A living workload with something in every index, for a store that keeps its indexes by itself."""

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import Lane, Policy, State, UniqueRule
from mainspring.core.schedules import Schedule
from mainspring.core.templates import Template
from mainspring.core.timing import Timing
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.verbs import Group, Idempotency, NewSchedule
from tests.corruption.living import DONE, LABELS, ONCE, WAIT, WORK, Living

INDEXED = Lane("indexed", "echo", "default", 5)


class Indexed(Living):
    """With something in every index, and more of what many classes want to spoil."""

    async def build(self) -> None:
        await super().build()
        bench, each = self.bench, self.each
        await bench.submit_many(6 * each, WAIT, policy=Policy(max_retries=1))
        await bench.submit_many(9 * each, DONE, labels=LABELS, policy=ONCE)
        ended = await self._claim(DONE, 10_000, "finisher")
        outcomes = [Outcome.FAILED if n % 3 == 0 else Outcome.SUCCEEDED for n in range(len(ended))]
        lines = zip(ended, outcomes, strict=True)
        await bench.settle_lines(*[bench.line(lease, outcome, result=b"1") for lease, outcome in lines])
        await bench.submit_many(4 * each, WORK)
        await self._claim(WORK, 4 * each, "worker")
        far_us = (await bench.store.board()).now_us + bench.us(1_000_000)
        states = frozenset({State.READY})
        tasks = [
            bench.task(
                INDEXED, unique=UniqueRule(b"u%d" % n, states), deadline_us=far_us, timeout_us=bench.us(9_000)
            )
            for n in range(2 * each)
        ]
        await bench.submit(*tasks)
        await self._claim(INDEXED, each, "indexer")
        idempotencies = [Idempotency("you", f"key-{n}", b"digest", bench.us(86_400)) for n in range(each)]
        await bench.put([Group([bench.task(DONE)], key) for key in idempotencies])
        scheduler = Scheduler(bench.store, bench.clock, SchedulerSettings())
        rules, template = Schedule(Timing(every_us=bench.us(7_000))), Template(INDEXED, b"null")
        for n in range(each):
            await scheduler.schedules.create(NewSchedule(rules, template), f"listed-{n}")
