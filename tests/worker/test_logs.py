"""A run's log: live, in batches, before the outcome, bounded whatever the handler and the source do."""

import asyncio
import logging
import sys
from itertools import pairwise

import pytest

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome
from mainspring.core.progress import PIECE_BYTES, end_of, weight_of
from mainspring.errors import InvalidInput, StoreUnavailable
from mainspring.ports import Answer
from mainspring.sdk import Context
from mainspring.worker.runlog import BATCH_BYTES, FLUSH_S, KEPT_BYTES
from tests.worker.scripted import ScriptedSource, embedded, virtual, working


async def logged(function, source=None, **fields):
    """The log of one task whose handler is `function`."""
    source = source or ScriptedSource()
    async with working(source, embedded(kind=function)):
        await source.put("kind", **fields)
        await source.settled()
    return source.log()


def without_gaps(log):
    return log[0].offset == 0 and all(end_of(one) == two.offset for one, two in pairwise(log))


def ctx_log(ctx):
    ctx.log.debug("not told")
    ctx.log.info("copied %d of %d", 3, 10)
    ctx.log.warning("slow")
    ctx.log.log(logging.ERROR + 5, "odd level")
    ctx.log.critical("over")
    ctx.write("raw\npart")
    ctx.write(" two", "stderr")


async def coroutine(ctx: Context):
    ctx_log(ctx)


def threaded(ctx: Context):
    ctx_log(ctx)


@pytest.mark.parametrize("handler", [coroutine, threaded])
async def test_what_a_handler_logs_is_told_before_its_outcome(handler):
    """S1-43: lines carry their level; what another program said is told as it is."""
    source = ScriptedSource()
    log = await logged(handler, source)
    assert [(piece.stream, piece.text) for piece in log] == [
        ("info", "copied 3 of 10\n"),
        ("warning", "slow\n"),
        ("error", "odd level\n"),
        ("critical", "over\n"),
        ("stdout", "raw\npart"),
        ("stderr", " two"),
    ]
    assert without_gaps(log)
    assert source.calls.index("append") < source.calls.index("settle")
    now_us = SystemClock().now_us()
    assert all(abs(now_us - piece.at_us) < 60_000_000 for piece in log)


async def test_an_exception_is_logged_with_its_traceback():
    def handler(ctx: Context):
        try:
            raise ValueError("deep")
        except ValueError as error:
            ctx.log.exception("it went wrong")
            ctx.log.error("again", exc_info=error)
            ctx.log.info("bad %d format", "text")

    first, second, third = await logged(handler)
    for piece, head in ((first, "it went wrong\n"), (second, "again\n")):
        assert piece.text.startswith(head + "Traceback")
        assert piece.text.endswith("ValueError: deep\n")
    assert third.text == "'bad %d format' ('text',)\n"


async def test_the_workers_own_log_has_the_line_too_from_where_it_came(caplog):
    def handler(ctx: Context):
        ctx.log.warning("seen", extra={"mine": 1})

    with caplog.at_level(logging.INFO, "mainspring.task"):
        await logged(handler, task="t-9")
    (record,) = [record for record in caplog.records if record.name == "mainspring.task"]
    assert (record.getMessage(), record.task, record.mine) == ("seen", "t-9", 1)
    assert (record.filename, record.funcName) == ("test_logs.py", "handler")


async def test_the_workers_level_does_not_silence_the_tasks_log(caplog):
    def handler(ctx: Context):
        ctx.log.info("told")

    with caplog.at_level(logging.ERROR, "mainspring.task"):
        assert [piece.text for piece in await logged(handler)] == ["told\n"]
    assert not caplog.records


async def test_what_is_no_text_is_told_as_well_as_can_be():
    def handler(ctx: Context):
        ctx.write("a\ud800b\0c")
        ctx.write("")
        ctx.log.info("")

    assert [piece.text for piece in await logged(handler)] == ["a\\ud800b\0c", "\n"]


async def test_an_unknown_stream_is_refused():
    async def handler(ctx: Context):
        with pytest.raises(InvalidInput, match="stdin"):
            ctx.write("x", "stdin")

    assert await logged(handler) == []


@virtual
async def test_the_first_line_goes_at_once_and_others_in_batches(clock):
    sent_s = []

    async def handler(ctx: Context):
        for line in range(100):
            ctx.log.info("%d", line)
            await asyncio.sleep(0.01)
        await asyncio.sleep(10)

    source = ScriptedSource()
    source.on_call = lambda verb: sent_s.append(clock.monotonic()) if verb == "append" else None
    async with working(source, embedded(clock, kind=handler), clock):
        await source.put("kind")
        began_s = clock.monotonic()
        await source.settled()
    assert sent_s[0] - began_s < 0.01
    assert 8 <= len(sent_s) <= 12
    assert all(two - one >= FLUSH_S - 1e-9 for one, two in pairwise(sent_s))
    assert "".join(source.texts()) == "".join(f"{line}\n" for line in range(100))


@virtual
async def test_while_the_source_is_away_no_more_is_kept_than_may_be(clock):
    """And a chatty handler holds up nobody's heartbeat."""
    text = "x" * 1_000

    async def handler(ctx: Context):
        for line in range(20_000):
            ctx.write(f"{line:06}{text}")
            if line % 1_000 == 0:
                await asyncio.sleep(0.1)

    source = ScriptedSource()
    source.failing["append"] = StoreUnavailable("no answer")
    async with working(source, embedded(clock, kind=handler), clock):
        await source.put("kind")
        await asyncio.sleep(10)
        assert source.offered == []
        del source.failing["append"]
        await source.settled()
    log = source.log()
    assert weight_of(log) <= KEPT_BYTES + BATCH_BYTES + PIECE_BYTES
    assert end_of(log[-1]) == 20_000 * 1_006
    assert log[-1].text.endswith(f"{19_999:06}{text}")
    assert not without_gaps(log)


@virtual
async def test_much_in_a_short_time_comes_whole_as_far_as_it_is_kept(clock):
    lines = [f"{number}\n" for number in range(20_000)]

    def handler(ctx: Context):
        for line in lines:
            ctx.write(line)

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock):
        await source.put("kind")
        await source.settled()
    assert without_gaps(source.log())
    assert "".join(source.texts()) == "".join(lines)
    assert max(len(piece.text) for piece in source.log()) <= PIECE_BYTES
    assert max(weight_of(line.log) for line in source.lines[:-1] or source.lines) <= KEPT_BYTES + BATCH_BYTES


@virtual
async def test_a_repeated_append_carries_the_same_pieces(clock):
    """So that the store can tell them from new ones."""

    async def handler(ctx: Context):
        ctx.log.info("one")
        await asyncio.sleep(0)
        ctx.log.info("two")

    source = ScriptedSource()
    append, offered = source.append, []

    async def loses_its_first_reply(lines):
        offered.append([piece for line in lines for piece in line.log])
        await append(lines)
        if len(offered) == 1:
            raise StoreUnavailable("the reply was lost")
        return [Answer.OK for _ in lines]

    source.append = loses_its_first_reply
    async with working(source, embedded(clock, kind=handler), clock):
        await source.put("kind")
        await source.settled()
    assert offered[0] == offered[1]
    told = {piece.offset: piece.text for pieces in offered for piece in pieces}
    assert told == {0: "one\n", 4: "two\n"}


async def test_a_run_that_lost_its_lease_logs_no_more():
    source, lost, gone = ScriptedSource(), asyncio.Event(), asyncio.Event()
    source.answers["append", "t"] = Answer.LOST

    async def handler(ctx: Context, last: bool = False):
        if last:
            return
        ctx.log.info("first")
        try:
            await asyncio.Event().wait()
        finally:
            ctx.log.info("late")
            gone.set()

    async with working(source, embedded(kind=handler)):
        await source.put("kind", task="t")
        await gone.wait()
        lost.set()
        await source.put("kind", {"last": True}, task="other")
        await source.settled()
    assert source.texts() == ["first\n"]


async def test_a_source_that_takes_no_logs_takes_outcomes_all_the_same():
    """An older server refuses the field: the log is given up, nothing else."""
    source = ScriptedSource()
    append = source.append

    async def old(lines):
        if any(line.log for line in lines):
            raise InvalidInput("lines[0].log", "unknown field")
        return await append(lines)

    source.append = old

    async def handler(ctx: Context):
        for _ in range(3):
            ctx.log.info("line")
            await asyncio.sleep(0.01)
        return "done"

    async with working(source, embedded(kind=handler)):
        lease = await source.put("kind")
        await source.settled()
    assert source.outcome_of(lease) is Outcome.SUCCEEDED


async def test_logs_of_many_runs_go_in_bursts_that_a_server_takes():
    """Its limit on bodies is 32 MiB; the last words of 40 runs are 40 MiB."""
    gate, sizes = asyncio.Event(), []

    async def handler(ctx: Context):
        await gate.wait()
        for _ in range(1_000):
            ctx.write("y" * 1_000)

    source = ScriptedSource()
    append = source.append

    async def measured(lines):
        sizes.append(sum(sys.getsizeof(piece.text) for line in lines for piece in line.log))
        return await append(lines)

    source.append = measured
    async with working(source, embedded(kind=handler), slots=40):
        for _ in range(40):
            await source.put("kind")
        gate.set()
        await source.settled(40)
    assert sum(sizes) > 35_000_000
    assert max(sizes) < 12_000_000
