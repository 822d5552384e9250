"""Who waits for the end of which task on this node."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable

from mainspring.core.model import Task
from mainspring.errors import NotFound
from mainspring.ports import Answer, Settlement, Store

RECHECK_S = 1.0
RECHECK_APART_S = 0.02


async def hinted(stale: asyncio.Event) -> None:
    """Wait for a hint that another process has written; a second at the most, for hints can be lost."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RECHECK_S):
            await stale.wait()
    stale.clear()


class Finals:
    """Wakes waiters when a task ends here; asks the store for those that may have ended elsewhere."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, dict[asyncio.Future[None], None]] = defaultdict(dict)
        self._stale = asyncio.Event()

    @property
    def anybody_waits(self) -> bool:
        return bool(self._waiting)

    async def wait(self, task: str, timeout_s: float) -> Task:
        """The record as soon as it is final, else as it is after `timeout_s`. Raises `NotFound`."""
        ended = asyncio.get_running_loop().create_future()
        self._waiting[task][ended] = None
        try:
            record = await self._read(task)
            if not record.state.is_final and timeout_s > 0.0:
                await asyncio.wait([ended], timeout=timeout_s)
                record = await self._read(task)
            return record
        finally:
            del self._waiting[task][ended]
            if not self._waiting[task]:
                del self._waiting[task]

    async def _read(self, task: str) -> Task:
        (record,) = await self._store.get([task])
        if record is None:
            raise NotFound(f"no task {task}")
        return record

    def finished_by(self, line: Settlement, answer: Answer) -> None:
        """A settlement was written: if it is the task's end, tell who waits for it."""
        change = line.if_cancelled if answer is Answer.CANCEL else line.change
        if change.state.is_final:
            self.finished((line.task,))

    def finished(self, tasks: Iterable[str]) -> None:
        for task in tasks:
            for ended in self._waiting.get(task, ()):
                if not ended.done():
                    ended.set_result(None)

    def mark_stale(self) -> None:
        """Another process may have ended something."""
        self._stale.set()

    async def keep(self) -> None:
        """Look for ends that happened elsewhere; runs until cancelled."""
        while True:
            await hinted(self._stale)
            if self._waiting:
                records = await self._store.get(list(self._waiting))
                self.finished(record.id for record in records if record is not None and record.state.is_final)
                await asyncio.sleep(RECHECK_APART_S)
