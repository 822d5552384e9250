"""Timeouts, soft timeouts and deadlines, and handlers that do not listen to them."""

import asyncio
import threading

import msgspec

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome
from mainspring.core.model import SECOND_US, Policy, encode_policy
from mainspring.sdk import Context, Handler, Registry, SoftTimeout
from mainspring.worker import InProcessEngine
from tests.worker.scripted import ScriptedSource, embedded, virtual, working

SOFT = encode_policy(Policy(soft_timeout_s=2.0))


def message(report):
    return msgspec.json.decode(report.error)["message"]


async def forever():
    await asyncio.Event().wait()


@virtual
async def test_a_run_over_its_timeout_is_stopped_and_says_the_limit(clock):
    """S4-04, S0-69: the timeout is a setting of the task."""
    source = ScriptedSource()
    async with working(source, embedded(clock, kind=forever), clock):
        lease = await source.put("kind", timeout_us=3 * SECOND_US)
        await source.settled()
        assert 3 <= clock.monotonic() < 3.1
    report = source.report_on(lease)
    assert (report.outcome, report.error_type, report.retryable) == (Outcome.FAILED, "Timeout", True)
    assert message(report) == "timed out after 3 s"
    assert report.duration_us >= 3 * SECOND_US


@virtual
async def test_the_time_limit_counts_from_the_start_not_from_the_claim(clock):
    """What waited for its turn in the worker has used none of its time."""

    async def handler(seconds):
        await asyncio.sleep(seconds)

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock, slots=1) as worker:
        worker._mean_us = 1.0  # lets it claim ahead
        await source.put("kind", 0.9)
        lease = await source.put("kind", 0.9, timeout_us=SECOND_US)
        await source.settled(2)
    assert source.outcome_of(lease) is Outcome.SUCCEEDED


@virtual
async def test_the_handlers_timeout_holds_for_tasks_without_one(clock):
    """What a task says overrides what its handler says."""
    source = ScriptedSource()
    engine = InProcessEngine(Registry(Handler("kind", forever, timeout="2s")), clock)
    async with working(source, engine, clock):
        default = await source.put("kind")
        own = await source.put("kind", timeout_us=5 * SECOND_US)
        await source.settled(2)
    assert message(source.report_on(default)) == "timed out after 2 s"
    assert message(source.report_on(own)) == "timed out after 5 s"


@virtual
async def test_of_timeout_and_deadline_the_earlier_holds(clock):
    """The deadline is judged by the server's clock: this machine's own may be hours off."""
    source = ScriptedSource()
    clock.offset_us = -5 * 3600 * SECOND_US
    async with working(source, embedded(clock, kind=forever), clock):
        # The scripted server grants at second 1 of its clock.
        deadline = await source.put("kind", timeout_us=5 * SECOND_US, deadline_us=4 * SECOND_US)
        timeout = await source.put("kind", timeout_us=5 * SECOND_US, deadline_us=60 * SECOND_US)
        await source.settled(2)
    missed = source.report_on(deadline)
    assert (missed.error_type, missed.retryable) == ("DeadlineExceeded", False)
    assert 3 * SECOND_US <= missed.duration_us < 3.1 * SECOND_US
    assert source.report_on(timeout).error_type == "Timeout"


@virtual
async def test_without_a_limit_a_run_may_take_for_ever(clock):
    source = ScriptedSource()
    async with working(source, embedded(clock, kind=forever), clock, drain_grace_s=0.0):
        lease = await source.put("kind")
        await asyncio.sleep(7200)
        assert source.reports == []
    assert source.outcome_of(lease) is Outcome.RELEASED


@virtual
async def test_clean_up_gets_its_grace(clock):
    cleaned = []

    async def handler():
        try:
            await forever()
        finally:
            await asyncio.sleep(4)
            cleaned.append(clock.monotonic())

    source = ScriptedSource()
    async with working(source, embedded(clock, grace_s=5.0, kind=handler), clock):
        await source.put("kind", timeout_us=SECOND_US)
        await source.settled()
    assert 5 <= cleaned[0] < 5.1


@virtual
async def test_a_handler_that_swallows_its_timeout_is_given_up_and_its_slot_made_up_for(clock):
    ends = []

    async def stubborn():
        try:
            await forever()
        except asyncio.CancelledError:
            await asyncio.sleep(100)
            ends.append(clock.monotonic())
            return "too late"

    async def good():
        return "fine"

    source = ScriptedSource()
    engine = embedded(clock, grace_s=2.0, stubborn=stubborn, good=good)
    async with working(source, engine, clock, slots=1):
        stuck = await source.put("stubborn", timeout_us=SECOND_US)
        other = await source.put("good")
        await source.settled(2)
        assert 3 <= clock.monotonic() < 4.5
        await asyncio.sleep(200)
        assert ends
        assert engine.load == 0
    assert source.report_on(stuck).error_type == "Timeout"
    assert source.report_on(other).result == b'"fine"'
    assert len(source.offered) == 2


@virtual
async def test_a_run_that_returns_well_after_its_timeout_has_failed_all_the_same(clock):
    async def handler():
        try:
            await forever()
        except asyncio.CancelledError:
            return "done"

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock):
        lease = await source.put("kind", timeout_us=SECOND_US)
        await source.settled()
    assert source.report_on(lease).error_type == "Timeout"


@virtual
async def test_a_soft_timeout_is_raised_once_into_a_coroutine(clock):
    """The handler may finish its work, or clean up and let it pass; its own timeouts are not disturbed."""
    seen = []

    async def handler(ctx: Context):
        try:
            async with asyncio.timeout(60):
                await forever()
        except SoftTimeout as error:
            seen.append((clock.monotonic(), str(error), ctx.cancelled.reason))
        await asyncio.sleep(10)
        return asyncio.current_task().cancelling()

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock):
        lease = await source.put("kind", policy=SOFT)
        await source.settled()
    ((at_s, text, reason),) = seen
    assert 2 <= at_s < 2.1
    assert (text, reason) == ("over the soft timeout of 2 s", "soft_timeout")
    assert (source.report_on(lease).outcome, source.report_on(lease).result) == (Outcome.SUCCEEDED, b"0")


@virtual
async def test_a_soft_timeout_that_passes_fails_the_run_by_its_name(clock):
    source = ScriptedSource()
    async with working(source, embedded(clock, kind=forever), clock):
        lease = await source.put("kind", policy=SOFT)
        await source.settled()
    report = source.report_on(lease)
    assert (report.error_type, report.retryable) == ("SoftTimeout", True)


@virtual
async def test_after_the_soft_timeout_comes_the_hard_one(clock):
    async def handler():
        while True:
            try:
                await forever()
            except SoftTimeout:
                continue

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock):
        lease = await source.put("kind", policy=SOFT, timeout_us=4 * SECOND_US)
        await source.settled()
        assert 4 <= clock.monotonic() < 4.1
    assert source.report_on(lease).error_type == "Timeout"


@virtual
async def test_exceptions_and_results_pass_through_a_handler_with_a_soft_timeout(clock):
    async def handler(ctx: Context):
        await asyncio.sleep(0.5)
        if ctx.payload == "fail":
            raise ValueError("as always")
        async with asyncio.TaskGroup() as group:
            part = group.create_task(asyncio.sleep(0.5, "part"))
        return part.result()

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock):
        good = await source.put("kind", "work", policy=SOFT)
        bad = await source.put("kind", "fail", policy=SOFT)
        await source.settled(2)
    assert source.report_on(good).result == b'"part"'
    assert message(source.report_on(bad)) == "as always"


async def test_a_function_on_a_thread_sees_why_it_should_stop():
    """Nothing can be raised into a thread: it looks at `ctx.cancelled`."""
    reasons = []

    def handler(ctx: Context):
        assert ctx.cancelled.wait(30)
        reasons.append(ctx.cancelled.reason)
        if ctx.attempt == 1:
            return "finished early"
        raise ValueError

    source = ScriptedSource()
    async with working(source, embedded(kind=handler)):
        soft = await source.put("kind", policy=encode_policy(Policy(soft_timeout_s=0.02)))
        hard = await source.put("kind", timeout_us=20_000, attempt=2)
        await source.settled(2)
    assert sorted(reasons) == ["soft_timeout", "timeout"]
    assert source.report_on(soft).result == b'"finished early"'
    assert source.report_on(hard).error_type == "Timeout"


async def test_a_thread_that_does_not_stop_is_given_up_and_another_stands_in():
    release = threading.Event()

    def stubborn():
        release.wait(30)

    def good():
        return "fine"

    source = ScriptedSource()
    engine = embedded(grace_s=0.02, stubborn=stubborn, good=good)
    async with working(source, engine, slots=1):
        stuck = await source.put("stubborn", timeout_us=20_000)
        other = await source.put("good")
        await source.settled(2)
        release.set()
    assert source.report_on(stuck).error_type == "Timeout"
    assert source.report_on(other).result == b'"fine"'


async def test_the_handlers_own_retries_hold_for_tasks_without_a_policy():
    def handler():
        raise ValueError

    source = ScriptedSource()
    engine = InProcessEngine(Registry(Handler("kind", handler, max_retries=1)), SystemClock())
    async with working(source, engine):
        first = await source.put("kind", retries=0)
        last = await source.put("kind", retries=1, attempt=2)
        own = await source.put("kind", retries=1, attempt=2, policy=encode_policy(Policy(max_retries=9)))
        await source.settled(3)
    assert [source.report_on(lease).retryable for lease in (first, last, own)] == [True, False, True]
