"""One action for every task that matches a filter: page by page, each task under its own guard.

A call that ends half-way, or whose answer is lost, has done what it has done, and may be repeated: what is
done already does not match any more.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import msgspec

from mainspring.core.model import State, Task
from mainspring.ports import Action, Force, Query, Store
from mainspring.scheduler.finals import Finals

PAGE = 500
_FINAL = frozenset(state for state in State if state.is_final)
_UNFINISHED = frozenset(State) - _FINAL


class Bulk:
    def __init__(self, store: Store, finals: Finals, after_move: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._finals = finals
        self._after_move = after_move

    async def cancel(self, query: Query) -> int:
        """Cancel every unfinished task that matches; how many were cancelled or asked to stop."""
        return await self._force(query, Action.CANCEL, _UNFINISHED)

    async def replay(self, query: Query, interval_us: float = 0.0) -> int:
        """Run every matching dead letter again, the newest first, one each `interval_us`; how many.

        Those whose turn has not come are scheduled, durably: nobody needs to stay for them to run."""
        return await self._force(query, Action.REPLAY, frozenset({State.FAILED}), interval_us)

    async def purge(self, query: Query) -> int:
        """Forget every matching final task that nothing depends on; how many."""
        purged = 0
        async with aclosing(self._matching(query, _FINAL)) as pages:
            async for tasks in pages:
                refusals = await self._store.delete([task.id for task in tasks])
                purged += sum(refused is None for refused in refusals)
        return purged

    async def _force(
        self, query: Query, action: Action, states: frozenset[State], interval_us: float = 0.0
    ) -> int:
        moved = 0
        async with aclosing(self._matching(query, states)) as pages:
            async for tasks in pages:
                lines = [
                    Force(task.id, action, None, int((moved + place) * interval_us))
                    for place, task in enumerate(tasks)
                ]
                answers = await self._store.force(lines)
                records = [answer for answer in answers if isinstance(answer, Task)]
                moved += len(records)
                self._finals.finished(record.id for record in records if record.state.is_final)
        await self._after_move()
        return moved

    async def _matching(self, query: Query, states: frozenset[State]) -> AsyncGenerator[list[Task], None]:
        """Pages of the tasks that match now, among those states that the action is for."""
        chosen = query.states & states if query.states else states
        cursor: str | None = None
        while chosen:
            page = await self._store.find(
                msgspec.structs.replace(query, states=chosen, limit=PAGE, cursor=cursor)
            )
            if page.tasks:
                yield page.tasks
            cursor = page.cursor
            if cursor is None:
                return
