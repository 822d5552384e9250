"""Steps and parents as a handler sees them: run once, replayed later, refused when the lease is lost."""

import asyncio
import threading

import msgspec
import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import State
from mainspring.core.progress import STEP_BYTES, STEPS_MOST
from mainspring.errors import InvalidInput, LeaseLost, StoreUnavailable, TooLarge
from mainspring.ports import Answer, Append, Parent
from mainspring.sdk import Context
from tests.worker.scripted import ScriptedSource, embedded, virtual, working


async def report(function, source=None, **fields):
    """The report on one task whose handler is `function`."""
    source = source or ScriptedSource()
    async with working(source, embedded(kind=function)):
        lease = await source.put("kind", **fields)
        await source.settled(len(source.reports) + 1)
    return source.report_on(lease)


def result(report):
    assert report.outcome is Outcome.SUCCEEDED, report.error
    return msgspec.json.decode(report.result)


def handlers(body):
    """The same handler as a coroutine and as a function on a thread; `body` is called in both."""

    async def coroutine(ctx: Context):
        return await body(ctx, lambda name, function: ctx.step(name, function))

    def threaded(ctx: Context):
        async def step(name, function):
            return ctx.step(name, function)

        return asyncio.run(body(ctx, step))

    return [pytest.param(coroutine, id="coroutine"), pytest.param(threaded, id="thread")]


async def _two_steps(ctx, step):
    ran = []
    one = await step("one", lambda: ran.append("one") or {"n": (1, 2)})
    two = await step("two", lambda: ran.append("two"))
    return {"ran": ran, "one": one, "two": two}


@pytest.mark.parametrize("handler", handlers(_two_steps))
async def test_a_later_run_replays_what_was_recorded(handler):
    """S3-25: a step runs once; what it returned is what JSON makes of it, the first time too."""
    source = ScriptedSource()
    first = result(await report(handler, source, task="t"))
    assert first == {"ran": ["one", "two"], "one": {"n": [1, 2]}, "two": None}
    assert [line.steps for line in source.lines] == [{"one": b'{"n":[1,2]}'}, {"two": b"null"}]
    second = result(await report(handler, source, task="t", attempt=2))
    assert second == {**first, "ran": []}
    assert len(source.recalls) == 2, "one question a run"


async def test_a_handler_without_steps_asks_for_nothing():
    source = ScriptedSource()
    await report(lambda ctx: ctx.attempt, source, attempt=3, losses=1)
    assert "recall" not in source.calls
    assert "append" not in source.calls


async def test_a_step_may_be_a_coroutine():
    async def work():
        await asyncio.sleep(0)
        return "done"

    async def handler(ctx: Context):
        first = await ctx.step("first", work)
        second = await ctx.step("second", lambda: work())
        both = await asyncio.gather(*(ctx.step(f"more-{n}", work) for n in range(5)))
        return [first, second, both]

    source = ScriptedSource()
    assert result(await report(handler, source)) == ["done", "done", ["done"] * 5]
    assert len(source.recalls) == 1


async def test_a_step_is_recorded_before_it_returns():
    """So that a crash after it never runs it again."""
    source, seen = ScriptedSource(), []

    async def handler(ctx: Context):
        await ctx.step("one", lambda: 1)
        seen.append([line.steps for line in source.lines])

    await report(handler, source)
    assert seen == [[{"one": b"1"}]]


@virtual
async def test_giving_up_one_question_leaves_the_others_theirs(clock):
    """Steps share one question to the source: a time limit around one of them must not end it for all."""
    told = []

    async def handler(ctx: Context):
        other = asyncio.create_task(ctx.step("other", lambda: "other"))
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await ctx.step("hasty", lambda: "hasty")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await ctx.parents
        told.extend([await other, await ctx.step("hasty", lambda: "at last"), len(await ctx.parents)])

    source = ScriptedSource()
    source.delays_s["recall"] = 5.0
    async with working(source, embedded(clock, kind=handler), clock):
        await source.put("kind")
        await source.settled()
    assert told == ["other", "at last", 0]
    assert len(source.recalls) == 2, "one for the steps, one for the parents"


@virtual
async def test_a_step_that_nobody_saw_recorded_is_not_run_again(clock):
    """A time limit struck while its result was on its way: what is recorded is what the handler gets."""
    ran, told = [], []

    async def handler(ctx: Context):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await ctx.step("one", lambda: ran.append(1) or len(ran))
        told.append(await ctx.step("one", lambda: ran.append(1) or len(ran)))

    source = ScriptedSource()
    source.delays_s["append"] = 5.0
    async with working(source, embedded(clock, kind=handler), clock):
        await source.put("kind")
        await source.settled()
    assert (told, ran) == ([1], [1])
    assert {line.steps["one"] for line in source.lines} == {b"1"}


async def _raising(ctx, step):
    attempts = []

    def fails_once():
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("once")
        return len(attempts)

    with pytest.raises(ValueError, match="once"):
        await step("name", fails_once)
    return await step("name", fails_once)


@pytest.mark.parametrize("handler", handlers(_raising))
async def test_a_step_that_raises_is_not_recorded_and_may_be_tried_again(handler):
    source = ScriptedSource()
    assert result(await report(handler, source)) == 2
    assert [line.steps for line in source.lines] == [{"name": b"2"}]


async def _misused(ctx, step):
    await step("name", lambda: 1)
    bad = {"name": "there was a step", "": "not a step's", "a\nb": "not a step's", "x" * 201: "1 to 200"}
    for name, problem in bad.items():
        with pytest.raises(InvalidInput, match=problem):
            await step(name, lambda: 1)
    with pytest.raises(TooLarge, match="at most"):
        await step("large", lambda: "x" * STEP_BYTES)
    with pytest.raises(TypeError):
        await step("no json", object)
    return "refused"


@pytest.mark.parametrize("handler", handlers(_misused))
async def test_bad_names_and_results_are_refused(handler):
    source = ScriptedSource()
    assert result(await report(handler, source)) == "refused"
    assert [line.steps for line in source.lines] == [{"name": b"1"}]


async def test_a_thread_cannot_run_a_coroutine_as_a_step():
    async def work():
        return 1

    def handler(ctx: Context):
        ctx.step("name", work)

    told = await report(handler)
    assert (told.outcome, told.error_type) == (Outcome.FAILED, "InvalidInput")
    assert b"a plain function" in told.error


async def test_so_many_steps_and_no_more():
    source = ScriptedSource()
    source.lines.append(Append("t", 1, steps={f"step-{n}": b"1" for n in range(STEPS_MOST)}))

    async def handler(ctx: Context):
        assert await ctx.step("step-0", lambda: 2) == 1
        with pytest.raises(TooLarge, match=f"{STEPS_MOST} steps"):
            await ctx.step("one too many", lambda: 1)

    await report(handler, source, task="t", attempt=2)
    assert len(source.lines) == 1


async def _lost(ctx, step):
    await step("one", lambda: 1)
    raise AssertionError("a run that lost its lease went on")


@pytest.mark.parametrize("verb", ["recall", "append"])
@pytest.mark.parametrize("handler", handlers(_lost))
async def test_a_lost_lease_ends_the_run(handler, verb):
    """S3-25: the old run must not go on beside the new one."""
    source, ended = ScriptedSource(), threading.Event()
    source.answers[verb, "t"] = Answer.LOST
    expected = (LeaseLost, asyncio.CancelledError)

    async def coroutine(ctx: Context):
        with pytest.raises(expected) as caught:
            await handler(ctx)
        ended.set()
        raise caught.value

    def threaded(ctx: Context):
        with pytest.raises(expected) as caught:
            handler(ctx)
        ended.set()
        raise caught.value

    watched = coroutine if asyncio.iscoroutinefunction(handler) else threaded
    async with working(source, embedded(kind=watched)):
        await source.put("kind", task="t")
        await asyncio.to_thread(ended.wait)
        await source.put("kind", task="other")
        await source.settled(1)
    assert [told.task for told in source.reports] == ["other"]


@virtual
async def test_a_step_waits_for_a_source_that_is_away(clock):
    async def handler(ctx: Context):
        return await ctx.step("one", lambda: 1)

    for verb in ("recall", "append"):
        source = ScriptedSource()
        source.failing[verb] = StoreUnavailable("no answer")
        async with working(source, embedded(clock, kind=handler), clock):
            lease = await source.put("kind")
            await asyncio.sleep(5)
            assert source.reports == []
            assert source.calls.count(verb) > 1
            del source.failing[verb]
            await source.settled()
        assert source.outcome_of(lease) is Outcome.SUCCEEDED
        assert [line.steps for line in source.lines] == [{"one": b"1"}]


@virtual
async def test_a_step_that_could_not_be_recorded_in_time_raises(clock):
    """The lease lapsed: somebody else may run the step now."""
    seen = []

    async def handler(ctx: Context):
        try:
            await ctx.step("one", lambda: 1)
        except BaseException as error:
            seen.append(type(error))
            raise

    source = ScriptedSource()
    source.failing = {verb: StoreUnavailable("no answer") for verb in ("append", "renew")}
    async with working(source, embedded(clock, kind=handler), clock):
        await source.put("kind")
        await asyncio.sleep(40)
        assert seen
        assert source.offered == []
    assert set(seen) <= {LeaseLost, asyncio.CancelledError}


@virtual
async def test_a_lost_reply_records_the_step_once_more_and_nothing_runs_twice(clock):
    ran = []

    async def handler(ctx: Context):
        return await ctx.step("one", lambda: ran.append(1) or len(ran))

    source = ScriptedSource()
    append = source.append

    async def loses_its_first_reply(lines):
        answers = await append(lines)
        if len(source.lines) == 1:
            raise StoreUnavailable("the reply was lost")
        return answers

    source.append = loses_its_first_reply
    async with working(source, embedded(clock, kind=handler), clock):
        await source.put("kind")
        await source.settled()
    assert [line.steps for line in source.lines] == [{"one": b"1"}] * 2
    assert source.reports[0].result == b"1"
    assert ran == [1]


async def test_one_bad_recording_is_not_the_others_fate():
    """A source that refuses a burst is asked for each line alone."""
    source = ScriptedSource()
    append = source.append

    async def picky(lines):
        if any("bad" in line.steps for line in lines):
            raise InvalidInput("lines[0].steps.bad", "no good")
        return await append(lines)

    source.append = picky
    gate = asyncio.Event()

    async def handler(ctx: Context, name: str):
        await gate.wait()
        return await ctx.step(name, lambda: 1)

    async with working(source, embedded(kind=handler)):
        leases = [await source.put("kind", {"name": name}) for name in ("a", "b", "bad", "c", "d")]
        gate.set()
        await source.settled(5)
    outcomes = [source.outcome_of(lease) for lease in leases]
    assert outcomes == [Outcome.SUCCEEDED] * 2 + [Outcome.FAILED] + [Outcome.SUCCEEDED] * 2
    assert source.report_on(leases[2]).error_type == "InvalidInput"


@virtual
async def test_a_run_that_is_given_up_frees_its_thread(clock):
    """Its grace is over while it waits for a source that is away: what it waited for will not come."""
    seen = []

    def handler(ctx: Context):
        try:
            ctx.step("one", lambda: 1)
        except LeaseLost:
            seen.append("freed")
            raise

    source = ScriptedSource()
    source.failing["recall"] = StoreUnavailable("no answer")
    async with working(source, embedded(clock, grace_s=1.0, kind=handler), clock):
        await source.put("kind", timeout_us=1_000_000)
        await source.settled()
        while not seen:
            await asyncio.sleep(0.01)
    assert source.reports[0].error_type == "Timeout"


# --- parents ----------------------------------------------------------------------------------------

PARENTS = [
    Parent("id-1", "fetch", State.SUCCEEDED, b'{"rows":3}'),
    Parent("id-2", None, State.FAILED, None, b'{"type":"E","message":"m"}'),
    Parent("id-3", "twin", State.SUCCEEDED, None),
    Parent("id-4", "twin", State.CANCELLED),
]


def told(parents):
    with pytest.raises(KeyError):
        parents["twin"]
    assert list(parents) == ["fetch", "id-2", "id-3", "id-4"]
    assert parents["id-1"] is parents["fetch"]
    return [[key, parent.name, parent.state, parent.result, parent.error] for key, parent in parents.items()]


TOLD = [
    ["fetch", "fetch", "succeeded", {"rows": 3}, None],
    ["id-2", None, "failed", None, {"type": "E", "message": "m"}],
    ["id-3", "twin", "succeeded", None, None],
    ["id-4", "twin", "cancelled", None, None],
]


async def test_parents_are_found_by_name_or_id():
    async def coroutine(ctx: Context):
        parents = await ctx.parents
        assert await ctx.parents is parents
        return told(parents)

    def threaded(ctx: Context):
        assert ctx.parents is ctx.parents
        return told(ctx.parents)

    for handler in (coroutine, threaded):
        source = ScriptedSource()
        source.parents = PARENTS
        assert result(await report(handler, source)) == TOLD
        assert len(source.recalls) == 1


async def test_in_a_coroutine_parents_have_to_be_awaited():
    async def handler(ctx: Context):
        return len(ctx.parents)

    said = await report(handler)
    assert said.error_type == "RuntimeError"
    assert b"await ctx.parents" in said.error


async def test_large_answers_are_asked_for_one_at_a_time():
    """Parents' results may have megabytes: a hundred of them in one answer would be too many."""
    source, sizes, gate = ScriptedSource(), [], asyncio.Event()
    recall = source.recall

    async def counted(lines):
        sizes.append((len(lines), any(line.parents for line in lines)))
        await gate.wait()
        return await recall(lines)

    async def handler(ctx: Context, n: int):
        if n == 39:
            asyncio.get_running_loop().call_soon(gate.set)
        if n % 8 == 0:
            return len(await ctx.parents)
        return await ctx.step("one", lambda: n)

    source.recall = counted
    async with working(source, embedded(kind=handler), slots=40):
        for n in range(40):
            await source.put("kind", {"n": n})
        await source.settled(40)
    assert {report.outcome for report in source.reports} == {Outcome.SUCCEEDED}
    assert sum(count for count, _ in sizes) == 40
    assert {count for count, parents in sizes if parents} == {1}
    assert max(count for count, _ in sizes) <= 16
