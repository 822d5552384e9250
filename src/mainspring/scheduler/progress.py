"""What running tasks record, and everybody who watches: states, progress and logs as they come.

    append ──► Appends ──► Store.append        concurrent appends share a commit
       └─touched─► watchers ◄─hint, recheck── Store.glance

Whoever watches reads for himself, from where he was: nothing is queued for him, so a slow reader costs
nothing, and finds the latest when he comes. What happened on this node wakes its watchers at once. For the
rest one question for all watched tasks is asked when another process may have written, and once a second,
for hints can be lost.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import contextmanager

from mainspring.core.model import Task
from mainspring.core.progress import end_of
from mainspring.errors import NotFound, StoreUnavailable
from mainspring.ports import Answer, Append, Glance, LogPage, Recall, Recalled, Refused, Store
from mainspring.scheduler.finals import RECHECK_APART_S, hinted
from mainspring.scheduler.intake import Intake

PAGE_BYTES = 256 * 1024


class Progress:
    """The one of a node. `logs` and `events` are asynchronous generators: close them when you leave early."""

    def __init__(self, store: Store, intake: Intake) -> None:
        self._store = store
        self._intake = intake
        self._appends = Appends(store)
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._seen: dict[str, Glance | None] = {}
        self._stale = asyncio.Event()
        self._closed = False

    # --- recording ------------------------------------------------------------------------------

    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]:
        answers = await self._appends.append(lines)
        self.touched(line.task for line in lines)
        return answers

    async def recall(self, lines: Sequence[Recall]) -> Sequence[Recalled | Refused]:
        return await self._store.recall(lines)

    # --- watching -------------------------------------------------------------------------------

    async def glance(self, task: str) -> Glance:
        """Where the task stands. Raises `NotFound`."""

        async def look() -> Glance:
            (glance,) = await self._store.glance([task])
            if glance is None:
                raise NotFound(f"no task {task}")
            return glance

        return await self._intake.found(task, look)

    async def events(self, task: str) -> AsyncGenerator[Task, None]:
        """The record as it is, and then whenever its state, its progress or anything else has changed, until
        it is final or forgotten. Changes in quick succession may be told as one. Raises `NotFound`."""
        told: tuple[int, bytes | None] | None = None
        await self.glance(task)
        with self._watching(task) as woken:
            while not self._closed:
                woken.clear()
                (record,) = await self._store.get([task])
                if record is None:
                    return
                if told != (record.version, record.progress):
                    told = record.version, record.progress
                    yield record
                if record.state.is_final:
                    return
                await woken.wait()

    async def logs(self, task: str, after: int = 0, *, follow: bool = False) -> AsyncGenerator[LogPage, None]:
        """The log from byte `after` on, a page at a time; with `follow` also what is still to come, until the
        task has ended or is forgotten. Raises `NotFound`."""
        told = False
        with self._watching(task) as woken:
            while not self._closed:
                woken.clear()
                # Whether it has ended is asked first: all of its log was stored before its end.
                (glance,) = await self._store.glance([task])
                if glance is None:
                    if not told:
                        raise NotFound(f"no task {task}")
                    return
                told = True
                while glance.log_ends > after and (page := await self._page(task, after)) is not None:
                    after = end_of(page.pieces[-1])
                    yield page
                if glance.state.is_final or not follow:
                    return
                await woken.wait()

    async def _page(self, task: str, after: int) -> LogPage | None:
        page = await self._store.logs(task, after, PAGE_BYTES)
        return page if page is not None and page.pieces else None

    @contextmanager
    def _watching(self, task: str) -> Iterator[asyncio.Event]:
        woken = asyncio.Event()
        watchers = self._watchers.setdefault(task, set())
        watchers.add(woken)
        try:
            yield woken
        finally:
            watchers.discard(woken)
            if not watchers:
                self._watchers.pop(task, None)
                self._seen.pop(task, None)

    # --- waking ---------------------------------------------------------------------------------

    @property
    def watched(self) -> bool:
        """Whether anybody watches anything: else nobody need be told of changes."""
        return bool(self._watchers)

    def touched(self, tasks: Iterable[str]) -> None:
        """These tasks may have changed."""
        if self._watchers:
            for task in tasks:
                for woken in self._watchers.get(task, ()):
                    woken.set()

    def mark_stale(self) -> None:
        """Any task may have changed."""
        if self._watchers:
            self._stale.set()

    async def keep(self) -> None:
        """Look for changes that happened elsewhere; runs until cancelled."""
        while True:
            await hinted(self._stale)
            if self._watchers:
                tasks = list(self._watchers)
                for task, glance in zip(tasks, await self._store.glance(tasks), strict=True):
                    if task in self._watchers and self._seen.get(task) != glance:
                        self._seen[task] = glance
                        self.touched((task,))
                await asyncio.sleep(RECHECK_APART_S)

    async def close(self) -> None:
        """Whoever watches is sent home; what was to be recorded is."""
        self._closed = True
        self.touched(list(self._watchers))
        await self._appends.close()


class Appends:
    """Group commit for what running tasks record: while one call is on its way, others collect."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[tuple[Sequence[Append], asyncio.Future[Sequence[Answer]]]] = []
        self._flight: asyncio.Task[None] | None = None

    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]:
        """Durable on return, whoever else's lines are in the same commit. Raises `StoreError`."""
        landing: asyncio.Future[Sequence[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append((lines, landing))
        if self._flight is None:
            self._flight = asyncio.get_running_loop().create_task(self._fly(), name="appends")
        return await landing

    async def _fly(self) -> None:
        try:
            while self._waiting:
                taken, self._waiting = self._waiting, []
                await self._store_all(taken)
        finally:
            self._flight = None
            for _, landing in self._waiting:
                _fail(landing, StoreUnavailable("this node is shutting down"))

    async def _store_all(
        self, taken: Sequence[tuple[Sequence[Append], asyncio.Future[Sequence[Answer]]]]
    ) -> None:
        try:
            answers = await self._store.append([line for lines, _ in taken for line in lines])
        except Exception as error:
            for _, landing in taken:
                _fail(landing, error)
            return
        except BaseException:
            for _, landing in taken:
                _fail(landing, StoreUnavailable("this node is shutting down"))
            raise
        start = 0
        for lines, landing in taken:
            if not landing.done():
                landing.set_result(answers[start : start + len(lines)])
            start += len(lines)

    async def close(self) -> None:
        """Let what waits be stored."""
        if self._flight is not None:
            await asyncio.wait([self._flight])


def _fail(landing: "asyncio.Future[Sequence[Answer]]", error: Exception) -> None:
    if not landing.done():
        landing.set_exception(error)
