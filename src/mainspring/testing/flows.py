"""Workflows of a simulation: graphs that fail, with every callback; retried, cancelled, mended by hand."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from mainspring.core.model import SECOND_US, NewTask, OnParentFailure, Policy, State
from mainspring.core.workflows import Callback
from mainspring.ports import Group
from mainspring.testing.client import Client
from mainspring.verbs import NewWorkflow

PAUSED = "flow"
RUN = Policy(max_retries=0, on_parent_failure=OnParentFailure.RUN)

Deed = Callable[[], Coroutine[Any, Any, Any]]


class Flows:
    """`task` makes a task that does something, `at` puts a deed somewhere into the seed's time."""

    def __init__(self, client: Client, task: Callable[..., NewTask], at: Callable[[Deed], None]) -> None:
        self._client = client
        self._dice = client.dice
        self._task = task
        at(self._retried)
        at(self._mended)
        at(self._cancelled)
        at(self._succeeding)

    def _group(self, members: Sequence[NewTask], *callbacks: Callback) -> Group:
        ids = tuple(task.id for task in members)
        tasks, roles = list(members), dict[Callback, str]()
        for callback in callbacks:
            policy = Policy(max_retries=1, on_parent_failure=callback.rule)
            task = self._task(self._dice.choice(("ok", "flaky")), s=0.1, policy=policy, depends_on=ids)
            roles[callback] = task.id
            tasks.append(task)
        return Group(tasks, workflow=NewWorkflow(self._client.new_id(), callbacks=roles))

    async def _ended(self, task: NewTask) -> State | None:
        record = await self._client.final(task.id)
        return None if record is None else record.state

    # --- deeds ----------------------------------------------------------------------------------

    async def _retried(self) -> None:
        """A member fails once; what follows it waits, runs all the same, or does not even start."""
        client, task = self._client, self._task
        first = task("fatal", n=1, s=0.2)
        both = task("fatal", n=1, s=0.1, policy=RUN, depends_on=(first.id,))
        doomed = task("ok", depends_on=(first.id,))
        last = task("ok", depends_on=(doomed.id, both.id))
        later = task("ok", policy=RUN, depends_on=(first.id,), delay_us=9 * SECOND_US)
        unstarted = task("ok", policy=RUN, depends_on=(first.id,), queue=PAUSED, kind="plain")
        group = self._group([first, both, doomed, last, later, unstarted], *Callback)
        await client.insist(lambda s: s.pause(PAUSED, "operator"), "pause")
        try:
            if await client.submit(group) and await self._ended(both) is not None:
                await self._retry(group)
                if self._dice.random() < 0.5:
                    await self._retry(group)
        finally:
            await client.insist(lambda s: s.resume(PAUSED), "resume")

    async def _mended(self) -> None:
        """The failed member is replayed alone before the rest is retried."""
        client, task = self._client, self._task
        first = task("fatal", n=1, s=0.1)
        doomed = task("ok", depends_on=(first.id,))
        delayed = task("ok", depends_on=(first.id,), delay_us=15 * SECOND_US)
        slow = task("long", s=2.0, kind="slow")
        group = self._group([first, slow, doomed, delayed], Callback.ON_COMPLETE, Callback.ON_FAILURE)
        if not await client.submit(group) or await self._ended(first) is not State.FAILED:
            return
        await self._ended(doomed)
        await client.change("replay", lambda s: s.replay(first.id))
        await self._ended(first)
        await self._retry(group)

    async def _cancelled(self) -> None:
        """While some run, some wait, and some may have been cancelled by hand; then retried in vain."""
        client, task, dice = self._client, self._task, self._dice
        first = task("ok", s=0.2)
        running = task("long", s=3.0, kind="slow", depends_on=(first.id,))
        waiting = task("ok", depends_on=(running.id,))
        group = self._group([first, running, waiting], *Callback)
        workflow = _id_of(group)
        with_callbacks = dice.random() < 0.4
        if not await client.submit(group):
            return
        await asyncio.sleep(2.5 * dice.random())
        if dice.random() < 0.3:
            await client.change("cancel", lambda s: s.cancel(waiting.id))
        await client.insist(
            lambda s: s.workflows.cancel(workflow, callbacks=with_callbacks), "cancel_workflow"
        )
        if dice.random() < 0.5:
            await self._retry(group)

    async def _succeeding(self) -> None:
        members = [self._task("ok", s=0.1)]
        members += [self._task("flaky", depends_on=(members[0].id,)) for _ in range(3)]
        group, client = self._group(members, Callback.ON_SUCCESS, Callback.ON_FAILURE), self._client
        if await client.submit(group) and await self._ended(group.tasks[len(members)]) is not None:
            # What is gone goes on counting in the state in which it ended.
            await client.change("delete", lambda s: s.delete(members[0].id))
            await client.insist(lambda s: s.workflows.get(_id_of(group)), "get_workflow")

    async def _retry(self, group: Group) -> None:
        await self._client.insist(lambda s: s.workflows.retry_failed(_id_of(group)), "retry_workflow")


def _id_of(group: Group) -> str:
    assert group.workflow is not None
    return group.workflow.id
