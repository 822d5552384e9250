"""Coroutine handlers run in slots: tasks of the event loop that take one run after another.

A task for every run would cost as much again as an empty run. A handler still runs inside a real task, so
`asyncio.timeout`, task groups and anyio work in it; the task is only not its own. What a handler could
leave behind in its slot is undone: a cancel is taken back, and a slot whose context variables were
changed is given up for a new one.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from math import inf

from mainspring.sdk.context import running
from mainspring.worker.execution import Execution, softly

# A slot that finds one short run after another lets the rest of the loop go on after this long.
TURN_S = 0.001


class Slots:
    """As many slots as are needed at a time.

    `take` gives a free slot its next run, `limited` hears of one with a limit in time, `ended` gets it back
    with its report filled in, `look_again` is asked to see to the runs that still wait.
    """

    def __init__(
        self,
        take: Callable[[], Execution | None],
        limited: Callable[[Execution], None],
        ended: Callable[[Execution], None],
        look_again: Callable[[], None],
        monotonic: Callable[[], float],
    ) -> None:
        self.yielding = 0
        self._take = take
        self._limited = limited
        self._ended = ended
        self._look_again = look_again
        self._monotonic = monotonic
        self._idle: list[asyncio.Future[None]] = []
        self._tasks: dict[asyncio.Task[None], None] = {}  # in their order, so that a run replays
        self._closed = False
        # A new slot would inherit the context of whoever wakes it, which may be the one left dirty.
        self._clean = copy_context()

    def wake(self) -> None:
        """Let a slot look for work: an idle one, or a new one."""
        if self._idle:
            self._idle.pop().set_result(None)
            return
        loop, clean = asyncio.get_running_loop(), self._clean.copy()
        task = loop.create_task(self._serve(), name="mainspring-slot", context=clean)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def close(self) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            # A handler that swallows its cancellation must not hold up the end of its worker.
            await asyncio.wait(self._tasks, timeout=1.0)

    async def _serve(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        clean, monotonic = self._clean, self._monotonic
        while not self._closed:
            self._look_again()  # if this slot is held up, another one is needed
            began_s = now_s = monotonic()
            while (execution := self._take()) is not None:
                await self._run(execution, me, now_s)
                if execution.abandoned:
                    return  # another slot stands in for this one already
                if me.cancelling():
                    await self._uncancel(me)
                if _differs(copy_context(), clean):
                    self._look_again()
                    return
                now_s = monotonic()
                if now_s - began_s > TURN_S:
                    await self._yield()
                    began_s = now_s = monotonic()
            await self._rest()

    async def _run(self, execution: Execution, me: asyncio.Task[None], now_s: float) -> None:
        handler, run = execution.handler, execution.run
        execution.slot = me
        if execution.start(now_s):
            self._limited(execution)
        token = running.set(execution)
        try:
            coroutine = handler.call(run.lease.payload, execution)
            value = await (coroutine if execution.soft_s == inf else softly(coroutine, execution))
        except asyncio.CancelledError as error:
            if self._closed:
                raise
            report = execution.raised(error, self._monotonic())
        except (KeyboardInterrupt, GeneratorExit):
            raise  # meant for this process, not raised by the handler
        except BaseException as error:
            report = execution.raised(error, self._monotonic())
        else:
            report = execution.returned(value, self._monotonic())
        finally:
            running.reset(token)
        if not execution.abandoned:
            run.report = report
            self._ended(execution)

    async def _rest(self) -> None:
        idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(idle)
        await idle

    async def _yield(self) -> None:
        self.yielding += 1
        try:
            await asyncio.sleep(0)
        finally:
            self.yielding -= 1
        self._look_again()

    async def _uncancel(self, me: asyncio.Task[None]) -> None:
        """A cancel was meant for the handler that is gone. One that it never noticed is still on its way,
        and would hit the next handler: take it here."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self._closed:
                raise
        while me.uncancel():
            pass


def _differs(now: Context, clean: Context) -> bool:
    """By identity: a value's own idea of equality may be slow, or raise."""
    return len(now) != len(clean) or any(clean.get(var, clean) is not value for var, value in now.items())
