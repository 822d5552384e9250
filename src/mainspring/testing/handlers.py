"""What the tasks of a simulation do. Each handler keeps a diary of its runs, which the checks read.

A payload names the act, `{"do": "flaky", "n": 2, "s": 0.1}`: fail twice, each time after 0.1 s, then succeed.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from mainspring.sdk import Cancel, Context, Fatal, Handler, Registry, Retry, Snooze, SoftTimeout
from mainspring.testing.loop import Host, VirtualLoop
from mainspring.testing.record import Ran, Record, Saved, Stepped

KINDS = ("plain", "act", "slow")
STEP_S = 0.4
Work = Callable[[], Coroutine[Any, Any, Any]]


class Wobble(Exception):
    """An error that may pass."""


class Hopeless(Exception):
    """An error that the tasks' filters do not want retried."""


class Actor(Protocol):
    """The worker on which a handler runs."""

    name: str

    @property
    def incarnation(self) -> str: ...


class Stage:
    """The diary, and what tasks remember from run to run: a file on a disk that all hosts share."""

    def __init__(self, loop: VirtualLoop, record: Record) -> None:
        self._loop = loop
        self._record = record
        self.turns: Counter[str] = Counter()
        self.gone: set[str] = set()

    def note(
        self, actor: Actor, incarnation: str, context: Context, what: str, value: bytes | None = None
    ) -> None:
        self._record.add(
            Ran(
                self._loop.now_s,
                actor.name,
                incarnation,
                context.task,
                context.fence,
                context.attempt,
                what,
                value,
            )
        )

    async def step(self, context: Context, name: str, work: Work) -> Any:
        """A step of a handler, with its word on when it ran and what it returned."""

        def told(value: bytes | None) -> None:
            self._record.add(Stepped(self._loop.now_s, context.task, context.fence, name, value))

        async def run() -> Any:
            told(None)
            return await work()

        value = await context.step(name, run)
        told(msgspec.json.encode(value))
        return value

    def checkpoint(self, context: Context, state: Any) -> None:
        value = msgspec.json.encode(state)
        self._record.add(Saved(self._loop.now_s, context.task, context.fence, value))
        context.checkpoint(state)

    def left(self, incarnation: str) -> None:
        self.gone.add(incarnation)

    def turn(self, task: str) -> int:
        """How often this task has come here before."""
        self.turns[task] += 1
        return self.turns[task] - 1


def _json(value: Any) -> bytes | None:
    return None if value is None else msgspec.json.encode(value)


def registry(stage: Stage, actor: Actor, host: Host) -> Registry:
    """The handlers of one incarnation of a worker."""

    async def run(ctx: Context) -> Any:
        incarnation = actor.incarnation
        stage.note(actor, incarnation, ctx, "start", _json(ctx.saved))
        try:
            value = await _act(ctx, ctx.payload, stage, host)
        except asyncio.CancelledError:
            stage.note(actor, incarnation, ctx, "interrupted")
            raise
        except Exception as error:
            stage.note(actor, incarnation, ctx, _ENDINGS.get(type(error), "raised"))
            raise
        stage.note(actor, incarnation, ctx, "ok", msgspec.json.encode(value))
        return value

    return Registry(*(Handler(kind, run) for kind in KINDS))


_ENDINGS: dict[type[BaseException], str] = {Snooze: "snoozed", Cancel: "quit"}


async def _act(ctx: Context, play: dict[str, Any], stage: Stage, host: Host) -> Any:
    do, n = play["do"], play.get("n", 1)
    if do == "long":
        return await _long(ctx, play["s"], stage)
    if do == "saves":
        return await _saves(ctx, play, stage)
    if do == "gather":
        return await _gather(ctx)
    if do == "steps":
        return await _steps(ctx, play, stage)
    if do == "soft":
        return await _soft(play["s"])
    if do == "stubborn":
        return await _stubborn(play["s"])
    if play.get("s"):
        await asyncio.sleep(play["s"])
    if do == "poison":
        host.kill()
        await asyncio.get_running_loop().create_future()
    if do in _ERRORS and stage.turn(ctx.task) < n:
        raise _ERRORS[do](play)
    return {"did": do, "attempt": ctx.attempt}


_ERRORS: dict[str, Any] = {
    "flaky": lambda play: Wobble("not yet"),
    "picky": lambda play: Hopeless("never"),
    "fatal": lambda play: Fatal("bad address"),
    "again": lambda play: Retry(play["after"]),
    "snooze": lambda play: Snooze(play["after"]),
    "quit": lambda play: Cancel("not needed"),
}


async def _long(ctx: Context, duration_s: float, stage: Stage) -> Any:
    """In steps, from where an earlier run left off."""
    done_s = float(ctx.saved or 0.0)
    while done_s < duration_s:
        await asyncio.sleep(STEP_S)
        done_s += STEP_S
        stage.checkpoint(ctx, done_s)
        ctx.progress(min(1.0, done_s / duration_s))
    return {"did": "long", "attempt": ctx.attempt}


async def _saves(ctx: Context, play: dict[str, Any], stage: Stage) -> Any:
    """A checkpoint is the last that a run does before it fails; the next run goes on from there."""
    done = int(ctx.saved or 0)
    while done < play["n"]:
        await asyncio.sleep(play["s"])
        done += 1
        stage.checkpoint(ctx, done)
        if done % 2:
            raise Wobble(f"after {done}")
    return {"did": "saves", "n": done}


async def _gather(ctx: Context) -> Any:
    """What its parents gave."""
    parents = await ctx.parents
    return [[parent.id, parent.state] for parent in parents.values()]


async def _steps(ctx: Context, play: dict[str, Any], stage: Stage) -> Any:
    """Some steps, each with a line in the log; failing once in between."""
    total = 0
    for number in range(play["n"]):

        async def work(number: int = number) -> int:
            await asyncio.sleep(play["s"])
            return number * 1000 + ctx.attempt

        total += await stage.step(ctx, f"step-{number}", work)
        ctx.log.info("%d: step %d of run %d", ctx.fence, number, ctx.attempt)
        if number == 1 and not stage.turn(ctx.task):
            raise Wobble("between two steps")
    return {"did": "steps", "total": total}


async def _soft(duration_s: float) -> Any:
    """Make do with less when the soft timeout comes."""
    try:
        await asyncio.sleep(duration_s)
    except SoftTimeout:
        return {"did": "soft", "whole": False}
    return {"did": "soft", "whole": True}


async def _stubborn(duration_s: float) -> Any:
    """Go on through the first two interruptions."""
    for _ in range(2):
        try:
            await asyncio.sleep(duration_s)
            break
        except asyncio.CancelledError:
            continue
    return {"did": "stubborn"}
