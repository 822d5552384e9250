"""Steps, parents and logs from handler to store and back: over every source."""

import asyncio

from mainspring.core.model import State
from mainspring.errors import LeaseLost
from mainspring.ports import ClaimRequest, Group, Recall, Recalled
from mainspring.sdk import Context
from tests.worker.test_source_suite import Bench, bench, place

__all__ = ["place"]


async def text_of(at: Bench, task: str) -> str:
    pages = [page async for page in at.scheduler.progress.logs(task)]
    return "".join(piece.text for page in pages for piece in page.pieces)


async def test_a_retry_replays_the_steps_of_the_run_before(place):
    """S3-25: resume from where it left off."""
    ran = []

    def handler(ctx: Context):
        first = ctx.step("first", lambda: ran.append("first") or {"n": ctx.attempt})
        if ctx.attempt == 1:
            raise ValueError("between the steps")
        second = ctx.step("second", lambda: ran.append("second") or ctx.attempt)
        return [first, second]

    async with bench(place) as at:
        record = await at.run(handler)
    assert (record.state, record.result) == (State.SUCCEEDED, b'[{"n":1},2]')
    assert ran == ["first", "second"]


async def test_steps_of_a_run_that_was_handed_back_are_there(place):
    """Its attempt was given back: nothing in the next lease tells that there was one."""
    ran, reached = [], asyncio.Event()

    async def handler(ctx: Context):
        await ctx.step("first", lambda: ran.append(ctx.fence))
        if len(ran) == 1 and not reached.is_set():
            reached.set()
            await asyncio.Event().wait()
        return ctx.attempt

    async with bench(place) as at:
        async with at.working(kind=handler, settings={"drain_grace_s": 0.0}):
            task = await at.submit("kind")
            await reached.wait()
        async with at.working(kind=handler, settings={"worker": "w-2"}):
            record = await at.final(task)
    assert (record.state, record.result) == (State.SUCCEEDED, b"1")
    assert len(ran) == 1


async def test_the_log_of_every_run_is_kept_in_order(place):
    """S1-43: what was said last is stored before the outcome is."""

    async def handler(ctx: Context):
        ctx.log.info("run %d", ctx.attempt)
        ctx.write("raw ", "stderr")
        if ctx.attempt == 1:
            raise ValueError
        for line in range(2_000):
            ctx.log.info("line %d", line)

    async with bench(place) as at:
        record = await at.run(handler)
        text = await text_of(at, record.id)
    assert text == "run 1\nraw run 2\nraw " + "".join(f"line {line}\n" for line in range(2_000))


async def test_children_are_handed_the_results_of_their_parents(place):
    async def handler(ctx: Context, number: int = 0):
        if number:
            return {"number": number}
        parents = await ctx.parents
        return {name: parent.result["number"] for name, parent in parents.items()}

    async with bench(place) as at:
        first = at.task("kind", {"number": 2}, name="two")
        second = at.task("kind", {"number": 3}, name="three")
        child = at.task("kind", depends_on=(second.id, first.id))
        await at.scheduler.submit([Group([first, second, child])])
        async with at.working(kind=handler):
            record = await at.final(child.id)
    assert record.result == b'{"three":3,"two":2}'


async def test_a_run_that_lost_its_lease_records_nothing_more(place):
    """S3-25: it was paused, somebody else ran the task meanwhile, and it wakes."""
    began, go_on, said = asyncio.Event(), asyncio.Event(), []

    async def handler(ctx: Context):
        began.set()
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            said.append("told")
        try:
            await ctx.step("late", lambda: 1)
        except (LeaseLost, asyncio.CancelledError) as error:
            said.append(type(error).__name__)
        ctx.log.info("late")
        raise asyncio.CancelledError

    async with bench(place, lease_s=60.0) as at:
        async with at.working(kind=handler):
            task = await at.submit("kind")
            await began.wait()
            await at.scheduler.cancel(task, kill=True)
            go_on.set()
            while not said:
                await asyncio.sleep(0.001)
        await at.scheduler.replay(task)
        (lease,) = await at.source.claim(ClaimRequest("w-2", "w-2-1", 1, ("kind",), wait_s=10.0))
        (recalled,) = await at.source.recall([Recall(lease.task, lease.token)])
        assert (recalled, await text_of(at, task)) == (Recalled(), "")
    assert said[-1] in ("LeaseLost", "CancelledError")
