"""Workflows by hand: cancelling all that is unfinished, retrying all that failed."""

from collections.abc import Sequence
from typing import Any

from mainspring.core.model import OnParentFailure, State
from mainspring.core.workflows import Standing, returns
from mainspring.ports import Moved, Refused
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import STATES, can_be_stored, pack
from mainspring.verbs import Retried, no_workflow

RULES = {int(rule): rule for rule in OnParentFailure}


async def cancel_workflow(db: Database, workflow: str, callbacks: bool) -> Moved | Refused:
    if not can_be_stored(workflow):
        return no_workflow(workflow)
    reply = await db.run("cancel_workflow", workflow.encode(), int(callbacks))
    if not reply.answers:
        return no_workflow(workflow)
    count, ready, finished = reply.answers
    if ready or finished:
        db.wrote()
    return Moved(count, reply.heads(ready), finished)


async def retry_workflow(db: Database, workflow: str) -> Retried | Refused:
    """Read, decided, and written if no task of it has moved meanwhile; else read again."""
    while can_be_stored(workflow):
        reply = await db.run("standings", workflow.encode())
        if not reply.answers:
            break
        tasks, told_outside = reply.answers
        outside = {task: STATES[state] for task, state, _ in told_outside}
        back = returns(_standings(tasks, outside), outside)
        if not back:
            return Retried(0)
        guards = [(task[0], task[5]) for task in tasks] + [(told[0], told[2]) for told in told_outside]
        lines = [(line.key, list(line.waits_for)) for line in back]
        reply = await db.run("retry_workflow", pack((guards, lines)))
        if reply.answers is not False:
            db.wrote()
            waiting = sum(bool(line.waits_for) for line in back)
            return Retried(len(back), waiting, reply.heads(reply.answers))
    return no_workflow(workflow)


def _standings(tasks: Sequence[Sequence[Any]], outside: dict[str, State]) -> list[Standing[str]]:
    known = {task[0] for task in tasks} | outside.keys()
    return [
        Standing(
            task,
            STATES[state],
            RULES[rule],
            is_doomed,
            has_started,
            [parent if parent in known else None for parent in parents],
        )
        for task, state, rule, is_doomed, has_started, _, parents in tasks
    ]
