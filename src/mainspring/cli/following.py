"""Waiting for many tasks: live progress while they run, and a summary in the end."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mainspring.cli import show
from mainspring.cli.client import Server, decode, step
from mainspring.cli.exits import Exit, Unreachable
from mainspring.core.model import FINAL
from mainspring.errors import Refused, StoreUnavailable
from mainspring.wire.bounds import BOUNDS
from mainspring.wire.views import PageView, TaskView

T = TypeVar("T")

POLLERS = 16
MANY = 100
WAIT_S = 2
PATIENCE_S = 30.0
RETRY_S = 0.5
SHOWN = 10
_FINAL = frozenset(state.label for state in FINAL)
OnFinal = Callable[[TaskView], None]


def is_final(task: TaskView) -> bool:
    return task.state in _FINAL


class Follower:
    """Waits for tasks to end.

    A few pollers walk the list, each waiting at one task at a time and moving on after a while, so that a
    slow task in front hides none of those behind it. Before that, the ends of a large batch are collected
    by the page, as long as there are any: asking for each alone would take longer than running them.

    A server that has answered before and goes away is given `PATIENCE_S` to come back: its tasks are
    durable. Raises `Unreachable` after that, `NotFound` for a task that was deleted meanwhile.
    """

    def __init__(self, server: Server, on_final: OnFinal) -> None:
        self._server = server
        self._on_final = on_final
        self._pending: deque[str] = deque()

    async def follow(self, tasks: Sequence[str]) -> None:
        self._pending.extend(tasks)
        while len(self._pending) > MANY and await self._sweep():
            if self._pending:
                await self._turn()
        pollers = [asyncio.create_task(self._poll()) for _ in range(min(POLLERS, len(self._pending)))]
        try:
            await asyncio.gather(*pollers)
        finally:
            for poller in pollers:
                poller.cancel()
            await asyncio.gather(*pollers, return_exceptions=True)

    async def _sweep(self) -> bool:
        """Look through the newest final tasks, as far as the pending ones reach; whether one was there."""
        wanted, ended, token = set(self._pending), dict[str, TaskView](), None
        for _ in range(len(wanted) // BOUNDS.page_size + 2):
            page = await self._patiently(
                "/tasks", PageView, state=",".join(_FINAL), page_size=BOUNDS.page_size, page_token=token
            )
            if page is None:
                return True
            ended |= {task.id: task for task in page.tasks if task.id in wanted}
            token = page.next_page_token
            if token is None:
                break
        self._pending = deque(task for task in self._pending if task not in ended)
        for task in ended.values():
            self._on_final(task)
        return bool(ended)

    async def _poll(self) -> None:
        while self._pending:
            await self._turn()

    async def _turn(self) -> None:
        """Wait a while for the first of those that are pending."""
        identity = self._pending.popleft()
        task = await self._patiently(f"/tasks/{step(identity)}", TaskView, wait=WAIT_S)
        if task is not None and is_final(task):
            self._on_final(task)
        else:
            self._pending.append(identity)

    async def _patiently(self, path: str, kind: type[T], **query: Any) -> T | None:
        body = await patiently(self._server, path, **query)
        return None if body is None else decode(body, kind)


async def patiently(server: Server, path: str, **query: Any) -> bytes | None:
    """The answer, or `None` from a server that is not there now but may come back."""
    try:
        return await server.send("GET", path, query=query)
    except Unreachable:
        answered_s = server.answered_s
        if answered_s is None or asyncio.get_running_loop().time() - answered_s > PATIENCE_S:
            raise
    except (Refused, StoreUnavailable):
        pass  # it is there, and busy
    await asyncio.sleep(RETRY_S)
    return None


class Summary:
    """What became of a batch."""

    def __init__(self) -> None:
        self.tasks: list[TaskView] = []
        self.counts: Counter[str] = Counter()

    def add(self, task: TaskView) -> None:
        self.tasks.append(task)
        self.counts[task.state] += 1

    @property
    def exit_code(self) -> Exit:
        return Exit.OK if self.counts["succeeded"] == len(self.tasks) else Exit.FAILED

    def show(self, seconds: float) -> None:
        by_state = ", ".join(f"{n} {show.coloured(state)}" for state, n in sorted(self.counts.items()))
        out = show.console()
        out.print(f"{show.count(len(self.tasks))} in {show.duration(seconds)}: {by_state}")
        ran = [(run_s(task), task) for task in self.tasks if task.started_at and task.finished_at]
        ran.sort(key=lambda entry: -entry[0])
        if len(ran) > 1:
            slowest = ", ".join(f"{label(task)} {show.duration(seconds)}" for seconds, task in ran[:3])
            out.print(f"slowest: {slowest}")
        elif self.counts["succeeded"] and (left := show.output_of(self.tasks[0])):
            out.print(show.indented(left))
        failures = [task for task in self.tasks if task.state == "failed"]
        for task in failures[:SHOWN]:
            error = show.text(show.error_line(task.error), 200)
            out.print(f"{show.coloured('failed')} {label(task)} {task.id} (run {task.attempt}): {error}")
        if len(failures) > SHOWN:
            out.print(f"and {len(failures) - SHOWN} more: mainspring dead list")


def run_s(task: TaskView) -> float:
    """How long the last run took."""
    if task.started_at is None or task.finished_at is None:
        return 0.0
    return (task.finished_at - task.started_at).total_seconds()


def label(task: TaskView) -> str:
    return show.text(
        task.name or (show.payload_text(task.kind, task.payload) if task.kind == "command" else task.kind), 40
    )


async def follow(server: Server, tasks: Sequence[str]) -> Summary:
    """Follow with a progress bar on standard error, if that is a terminal."""
    summary = Summary()
    console = show.console(stderr=True, width=None)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        line = bar.add_task("running", total=len(tasks))

        def ended(task: TaskView) -> None:
            summary.add(task)
            failed = summary.counts["failed"]
            bar.update(line, advance=1, description=f"running, {failed} failed" if failed else "running")

        await Follower(server, ended).follow(tasks)
    order = {identity: place for place, identity in enumerate(tasks)}
    summary.tasks.sort(key=lambda task: order[task.id])
    return summary
