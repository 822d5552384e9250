"""Workflows, as doors call them. Reached as `scheduler.workflows`."""

from collections.abc import Callable
from typing import NoReturn

from mainspring.core.model import State
from mainspring.errors import NotFound
from mainspring.ports import Clock, Moved, Query, Refused, Store
from mainspring.scheduler.finals import Finals
from mainspring.verbs import Retried, WorkflowGraph, WorkflowPage, WorkflowQuery, WorkflowRecord

_UNFINISHED = frozenset(state for state in State if not state.is_final)


class Workflows:
    """Reading, cancelling and retrying workflows over one store. They are submitted as any other group is:
    `Scheduler.submit` with `Group.workflow`.

    `moved` hears what a verb has moved, `hint` that there may be more to promote and to resolve.
    Raises what the store raises (`StoreError`); such a call may have happened, and may be repeated.
    """

    def __init__(
        self,
        store: Store,
        finals: Finals,
        clock: Clock,
        moved: Callable[[Moved], None],
        hint: Callable[[], None],
    ) -> None:
        self._store = store
        self._finals = finals
        self._clock = clock
        self._moved = moved
        self._hint = hint

    async def get(self, workflow: str) -> WorkflowRecord:
        """How it stands. Raises `NotFound`."""
        record = await self._store.get_workflow(workflow)
        return _missing(workflow) if record is None else record

    async def graph(self, workflow: str) -> WorkflowGraph:
        """How it and each of its tasks stand. Raises `NotFound`."""
        graph = await self._store.workflow_graph(workflow)
        return _missing(workflow) if graph is None else graph

    async def find(self, query: WorkflowQuery) -> WorkflowPage:
        """Newest first. Raises `InvalidInput` for a cursor that this store has not given out."""
        return await self._store.find_workflows(query)

    async def wait(self, workflow: str, timeout_s: float) -> WorkflowRecord:
        """The record as soon as nothing of it is left to run, callbacks included; else as it is after
        `timeout_s`. Raises `NotFound`."""
        until_s = self._clock.monotonic() + timeout_s
        while True:
            record = await self.get(workflow)
            left_s = until_s - self._clock.monotonic()
            if record.is_over or left_s <= 0.0:
                return record
            task = await self._unfinished(record)
            if task is not None:
                await self._end_of(task, left_s)

    async def _unfinished(self, record: WorkflowRecord) -> str | None:
        """A task that has not ended: a callback, which comes last, or the last member."""
        for callback in record.callbacks.values():
            if callback.state is not None and not callback.state.is_final:
                return callback.id
        page = await self._store.find(Query(states=_UNFINISHED, workflow=record.id, limit=1))
        return page.tasks[0].id if page.tasks else None

    async def _end_of(self, task: str, timeout_s: float) -> None:
        try:
            await self._finals.wait(task, timeout_s)
        except NotFound:
            return  # deleted meanwhile: then it is not what is waited for

    async def cancel(self, workflow: str, *, callbacks: bool = False) -> int:
        """Cancel every unfinished member; how many were cancelled or asked to stop. Callbacks follow their
        rules, or with `callbacks` are cancelled, too. Raises `NotFound`."""
        answer = await self._store.cancel_workflow(workflow, callbacks)
        if isinstance(answer, Refused):
            _missing(workflow)
        self._moved(answer)
        self._hint()
        return answer.count

    async def retry_failed(self, workflow: str) -> Retried:
        """Replay what failed; what was cancelled for no other reason waits again, and callbacks that have
        not run wait for it. Nothing that has run well runs again. Raises `NotFound`."""
        answer = await self._store.retry_workflow(workflow)
        if isinstance(answer, Refused):
            _missing(workflow)
        self._moved(Moved(answer.count, answer.ready))
        self._hint()
        return answer


def _missing(workflow: str) -> NoReturn:
    raise NotFound(f"no workflow {workflow}")
