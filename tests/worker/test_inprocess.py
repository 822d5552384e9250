"""The embedded worker: what handlers return and raise, and what the source is told."""

import asyncio
import threading

import msgspec
import pytest

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome
from mainspring.sdk import Cancel, Context, Fatal, Retry, Snooze, current
from mainspring.worker import InProcessEngine
from mainspring.worker.kinds import builtin_kinds
from tests.worker.scripted import ScriptedSource, embedded, working


async def outcome(function, payload=None, **fields):
    """The report on one task whose handler is `function`."""
    source = ScriptedSource()
    async with working(source, embedded(kind=function)):
        lease = await source.put("kind", payload, **fields)
        await source.settled()
    return source.report_on(lease)


def error(report):
    return msgspec.json.decode(report.error)


async def test_echo_completes_with_its_payload():
    """The default kind gives the payload back byte for byte, integers beyond 2^53 too."""
    source = ScriptedSource()
    payload = b'{"n": 123456789012345678901234567890}'
    async with working(source, InProcessEngine(builtin_kinds(), SystemClock())):
        lease = await source.put("echo", payload)
        await source.settled()
    assert source.report_on(lease).result == payload


async def test_sleep_completes_after_its_duration():
    """S4-21: a sleep task's payload is `{"duration": seconds}`."""
    source = ScriptedSource()
    async with working(source, InProcessEngine(builtin_kinds(), SystemClock())):
        lease = await source.put("sleep", {"duration": 0.01})
        await source.settled()
    report = source.report_on(lease)
    assert report.outcome is Outcome.SUCCEEDED
    assert report.duration_us >= 10_000


@pytest.mark.parametrize("payload", [None, {}, {"duration": -1}, {"duration": "soon"}, {"seconds": 1}])
async def test_a_bad_sleep_fails_and_is_not_retried(payload):
    source = ScriptedSource()
    async with working(source, InProcessEngine(builtin_kinds(), SystemClock())):
        lease = await source.put("sleep", payload)
        await source.settled()
    report = source.report_on(lease)
    assert (report.outcome, report.error_type, report.retryable) == (Outcome.FAILED, "BadPayload", False)


async def test_a_coroutine_and_a_function_run():
    loop_thread = threading.get_ident()

    async def on_loop(a, b):
        assert threading.get_ident() == loop_thread
        return a + b

    def on_thread(a, b):
        assert threading.get_ident() != loop_thread
        return a * b

    assert (await outcome(on_loop, {"args": [2], "kwargs": {"b": 3}})).result == b"5"
    assert (await outcome(on_thread, {"args": [2], "kwargs": {"b": 3}})).result == b"6"


async def test_what_a_handler_raises_decides_the_outcome():
    def raising(error):
        def handler():
            raise error

        return handler

    failed = await outcome(raising(ValueError("no such size")))
    assert (failed.outcome, failed.error_type, failed.retryable) == (Outcome.FAILED, "ValueError", True)
    assert error(failed)["message"] == "no such size"
    assert error(failed)["place"].startswith("test_inprocess.py:handler:")
    retried = await outcome(raising(Retry(2.5)))
    assert (retried.outcome, retried.delay_us, retried.retryable) == (Outcome.FAILED, 2_500_000, True)
    snoozed = await outcome(raising(Snooze(60)))
    assert (snoozed.outcome, snoozed.delay_us, snoozed.error) == (Outcome.SNOOZED, 60_000_000, None)
    cancelled = await outcome(raising(Cancel("not needed")))
    assert (cancelled.outcome, error(cancelled)["message"]) == (Outcome.CANCELLED, "not needed")
    fatal = await outcome(raising(Fatal("bad address")))
    assert (fatal.outcome, fatal.retryable, error(fatal)["message"]) == (Outcome.FAILED, False, "bad address")
    exited = await outcome(raising(SystemExit(3)))
    assert (exited.outcome, exited.error_type) == (Outcome.FAILED, "SystemExit")


class Panic(BaseException):
    """As extensions written in other languages raise it: no `Exception`."""


async def test_what_is_no_exception_fails_the_run_like_any_error():
    """Else its lease would be renewed for ever, for a run that has no end."""

    async def on_loop():
        raise Panic("index out of bounds")

    def on_thread():
        raise Panic("index out of bounds")

    for handler in (on_loop, on_thread):
        report = await outcome(handler)
        assert (report.outcome, report.error_type, report.retryable) == (Outcome.FAILED, "Panic", True)
        assert error(report)["message"] == "index out of bounds"


@pytest.mark.parametrize("chosen", [float("nan"), float("inf"), None])
async def test_a_nonsense_retry_time_leaves_it_to_the_policy(chosen):
    def handler():
        raise Retry(chosen)

    assert (await outcome(handler)).delay_us is None


async def test_the_context_tells_about_the_run():
    seen = {}

    async def handler(ctx: Context, name):
        seen.update(task=ctx.task, attempt=ctx.attempt, fence=ctx.fence, name=name, saved=ctx.saved)
        seen.update(labels=ctx.labels, payload=ctx.payload, same=current() is ctx, left=ctx.remaining_s)
        ctx.checkpoint({"row": 7})
        ctx.progress(0.5, "half way")

    source = ScriptedSource()
    async with working(source, embedded(kind=handler)):
        lease = await source.put(
            "kind",
            {"name": "x"},
            attempt=3,
            labels=b'{"team":"a"}',
            checkpoint=b'{"row":6}',
            timeout_us=60_000_000,
        )
        await source.settled()
    left = seen.pop("left")
    assert 50 < left <= 60
    assert seen == {
        "task": lease.task, "attempt": 3, "fence": lease.token, "name": "x", "saved": {"row": 6},
        "labels": {"team": "a"}, "payload": {"name": "x"}, "same": True,
    }  # fmt: skip
    (line,) = source.lines
    assert (line.task, line.token, line.checkpoint) == (lease.task, lease.token, b'{"row":7}')
    assert msgspec.json.decode(line.progress) == {"fraction": 0.5, "message": "half way"}
    assert source.calls.index("append") < source.calls.index("settle")


def test_outside_of_a_handler_there_is_no_context():
    with pytest.raises(LookupError):
        current()


async def test_handlers_leave_nothing_behind_in_their_slot():
    """A context variable that one handler sets is not seen by the next."""
    from contextvars import ContextVar

    tint = ContextVar("tint", default="none")
    seen = []

    async def handler():
        seen.append(tint.get())
        tint.set("red")
        with pytest.raises(LookupError):
            raise LookupError

    source = ScriptedSource()
    async with working(source, embedded(kind=handler), slots=1):
        for _ in range(5):
            await source.put("kind")
        await source.settled(5)
    assert seen == ["none"] * 5


async def test_a_context_value_with_its_own_idea_of_equality_does_no_harm():
    from contextvars import ContextVar

    class Odd:
        def __eq__(self, other):
            raise ValueError("the truth of this is ambiguous")

        __hash__ = None

    tint = ContextVar("tint")
    tint.set(Odd())

    async def handler():
        tint.set(Odd())

    source = ScriptedSource()
    async with working(source, embedded(kind=handler), slots=1):
        for _ in range(3):
            await source.put("kind")
        await source.settled(3)
    assert {report.outcome for report in source.reports} == {Outcome.SUCCEEDED}


async def test_a_function_that_returns_a_coroutine_fails_clearly():
    async def inner():
        pass

    report = await outcome(lambda: inner())
    assert (report.outcome, report.error_type) == (Outcome.FAILED, "TypeError")
    assert "async def" in error(report)["message"]


async def test_handlers_run_in_a_real_task():
    """`asyncio.timeout` and task groups work in a handler, though its task serves many."""

    async def handler():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        return asyncio.current_task().cancelling()

    assert (await outcome(handler)).result == b"0"


async def test_a_handler_that_cancels_itself_harms_no_other():
    async def selfish():
        asyncio.current_task().cancel()

    async def good():
        await asyncio.sleep(0)
        return "fine"

    source = ScriptedSource()
    async with working(source, embedded(selfish=selfish, good=good), slots=1):
        for _ in range(3):
            await source.put("selfish")
            await source.put("good")
        await source.settled(6)
    assert [r.result for r in source.reports].count(b'"fine"') == 3


@pytest.mark.parametrize("is_coroutine", [True, False])
async def test_never_more_than_the_slots_run(is_coroutine):
    """S0-06: the worker pool's concurrency is a setting."""
    now, most, gate = 0, 0, threading.Semaphore(0)
    lock = threading.Lock()

    def enter():
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)

    def leave():
        nonlocal now
        with lock:
            now -= 1

    async def coroutine():
        enter()
        await asyncio.sleep(0.002)
        leave()

    def function():
        enter()
        gate.acquire(timeout=0.002)
        leave()

    source = ScriptedSource()
    async with working(source, embedded(kind=coroutine if is_coroutine else function), slots=4):
        for _ in range(60):
            await source.put("kind")
        await source.settled(60)
    assert most == 4


async def test_an_unserialisable_result_is_stored_as_text():
    class Odd:
        def __repr__(self):
            return "<odd \ud800>"

    async def handler():
        return Odd()

    assert (await outcome(handler)).result == b'"<odd \\\\ud800>"'


async def test_a_result_over_the_cap_fails_clearly():
    async def handler():
        return "x" * 1024 * 1024

    report = await outcome(handler)
    assert (report.outcome, report.error_type, report.retryable) == (Outcome.FAILED, "ResultTooLarge", False)
    assert "1048578 bytes" in error(report)["message"]


async def test_a_checkpoint_over_the_cap_is_refused_where_it_is_made():
    async def handler(ctx: Context):
        ctx.checkpoint("x" * 1024 * 1024)

    report = await outcome(handler)
    assert (report.outcome, report.error_type) == (Outcome.FAILED, "TooLarge")


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
async def test_progress_is_a_fraction(fraction):
    async def handler(ctx: Context):
        ctx.progress(fraction)

    assert (await outcome(handler)).error_type == "InvalidInput"


async def test_none_is_a_result():
    async def handler():
        return None

    report = await outcome(handler)
    assert (report.outcome, report.result) == (Outcome.SUCCEEDED, None)
