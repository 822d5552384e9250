"""What is built on tasks: a workflow of 10,000, 10,000 schedules that tick, steps, checkpoints and logs."""

import asyncio
import resource
import time

from benchmarks import mainspring_node as ours
from benchmarks.harness import Figure, Probe, Row
from mainspring.app import Mainspring
from mainspring.clock import SystemClock
from mainspring.config import Settings
from mainspring.core.model import SECOND_US, Lane, NewTask, State
from mainspring.core.schedules import Schedule
from mainspring.core.templates import Template
from mainspring.core.timing import Timing
from mainspring.node import Node
from mainspring.ports import Accepted, Group, NewSchedule
from mainspring.scheduler import Scheduler
from mainspring.sdk import Context
from mainspring.stores.sqlite.connection import connect
from mainspring.verbs import NewWorkflow
from mainspring.worker import InProcessEngine

LEVEL = 100
PARENTS = 3
EVERY_S = 10.0
CALLERS = 50

app = Mainspring()


@app.task(name="noop")
async def noop() -> None:
    pass


@app.task(name="steps")
async def steps(ctx: Context, count: int) -> None:
    for number in range(count):
        await ctx.step(f"step {number}", _one)


async def _one() -> int:
    return 1


@app.task(name="checkpoints")
async def checkpoints(ctx: Context, count: int) -> None:
    for number in range(count):
        ctx.checkpoint({"done": number})
        await asyncio.sleep(0)


@app.task(name="log")
async def log(ctx: Context, count: int) -> None:
    for number in range(count):
        ctx.log.info("line %06d of a task that has much to say about what it does", number)
        if not number % 1000:
            await asyncio.sleep(0)


def _node(concurrency: int = 100) -> Node:
    settings = Settings(db=ours.FILE, concurrency=concurrency)
    return Node(settings, serve=False, engine=InProcessEngine(app.registry, SystemClock()))


async def workflow(count: int) -> dict[str, float]:
    """Levels of 100 tasks, each with three parents in the level before it: seconds to submit them in one
    call, and tasks per second until the last has ended."""
    async with _node() as node:
        running = node.scheduler
        ids = [running.clock.new_id() for _ in range(count)]
        lane = Lane("default", "noop", "default", 5)
        tasks = [NewTask(id_, lane, b"{}", depends_on=_parents(ids, n)) for n, id_ in enumerate(ids)]
        started = time.perf_counter()
        (answer,) = await running.submit([Group(tasks, workflow=NewWorkflow(running.clock.new_id()))])
        submitted = time.perf_counter()
        assert isinstance(answer, Accepted), answer
        await ours.finished(running, count)
        ended = time.perf_counter()
    return {"submit": submitted - started, "drain": count / (ended - submitted)}


def _parents(ids: list[str], n: int) -> tuple[str, ...]:
    level, place = divmod(n, LEVEL)
    if not level:
        return ()
    before = (level - 1) * LEVEL
    return tuple(sorted({ids[before + (place + step) % LEVEL] for step in range(PARENTS)}))


async def schedules(count: int, seconds: float) -> dict[str, float]:
    """`count` schedules, each every ten seconds, their times spread evenly: fires a second, how late the
    tasks were made, and the share of a core that all of it took, the runs of the tasks included."""
    async with _node() as node:
        running = node.scheduler
        template = Template(Lane("default", "noop", "default", 5), b"{}")
        for some in _batched(range(count), CALLERS):
            await asyncio.gather(*(_schedule(running, place, count, template) for place in some))
        await asyncio.sleep(EVERY_S)
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        since_us = int(time.time() * SECOND_US)
        await asyncio.sleep(seconds)
        took_s = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_SELF)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    late_s = sorted(
        late_us / SECOND_US
        for (late_us,) in connect(ours.FILE).execute(
            "SELECT created_at_us - fire_at_us FROM tasks WHERE fire_at_us BETWEEN ? AND ?",
            (since_us, since_us + int(took_s * SECOND_US)),
        )
    )
    return {
        "fires": len(late_s) / took_s,
        "cpu": used_s / took_s,
        "late_p50": late_s[len(late_s) // 2],
        "late_p99": late_s[int(len(late_s) * 0.99)],
    }


async def _schedule(running: Scheduler, place: int, count: int, template: Template) -> None:
    every_us = int(EVERY_S * SECOND_US)
    timing = Timing(every_us=every_us, anchor_us=place * every_us // count)
    await running.schedules.create(NewSchedule(Schedule(timing), template), f"schedule-{place}")


def _batched(places: range, size: int) -> list[range]:
    return [places[start : start + size] for start in range(0, len(places), size)]


async def recorded(kind: str, tasks: int, each: int) -> float:
    """Records a second, of `tasks` running at once."""
    async with _node(concurrency=tasks) as node:
        running = node.scheduler
        lane = Lane("default", kind, "default", 5)
        payload = b'{"count":%d}' % each
        group = [NewTask(running.clock.new_id(), lane, payload) for _ in range(tasks)]
        started = time.perf_counter()
        await running.submit([Group(group)])
        await ours.finished(running, tasks)
        took_s = time.perf_counter() - started
        counts = (await running.stats()).counts
        assert sum(n for (_, state), n in counts.items() if state is State.SUCCEEDED) == tasks
        return tasks * each / took_s


_RECORDED = {
    "steps": {"kind": "steps", "tasks": 100, "each": 100},
    "checkpoints": {"kind": "checkpoints", "tasks": 100, "each": 1_000},
    "lines of logs": {"kind": "log", "tasks": 10, "each": 20_000},
}

FIGURES = [
    Figure(
        "workflow",
        {"10,000 tasks": Probe("features:workflow", {"count": 10_000})},
        [
            Row("submit of 10,000 tasks with 29,700 edges", "10,000 tasks", "s", key="submit"),
            Row("its drain, 100 levels", "10,000 tasks", "tasks/s", key="drain"),
        ],
    ),
    Figure(
        "schedules",
        {"10,000": Probe("features:schedules", {"count": 10_000, "seconds": 20.0})},
        [
            Row("10,000 schedules every 10 s", "10,000", "fires/s", key="fires"),
            Row("  share of a core", "10,000", "", key="cpu"),
            Row("  tasks made late by, p50", "10,000", "s", key="late_p50"),
            Row("  tasks made late by, p99", "10,000", "s", key="late_p99"),
        ],
        rounds=1,
    ),
    Figure(
        "progress",
        {name: Probe("features:recorded", params) for name, params in _RECORDED.items()},
        [Row(f"{name} recorded", name, "a second") for name in _RECORDED],
    ),
]
