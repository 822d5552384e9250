"""By hand: cancel, kill, replay, run now. The rows are locked, changed in memory as the lines say, and
written back."""

import copy
from collections.abc import Sequence

from mainspring.core.model import WAITING, State, Task
from mainspring.ports import Action, Force, Refused
from mainspring.stores.postgres.rows import task_of
from mainspring.stores.postgres.transaction import Step, Transaction


async def force(tx: Transaction, lines: Sequence[Force]) -> list[Task | Refused]:
    records = {row["id"]: row for row in await tx.rows("lock_tasks", sorted({line.task for line in lines}))}
    tasks = {task: task_of(record) for task, record in records.items()}
    answers: list[Task | Refused] = []
    for line in lines:
        answer = _force(tx, tasks.get(line.task), line)
        answers.append(answer if isinstance(answer, Refused) else copy.copy(answer))
    changed = [task for task in tasks.values() if task.version != records[task.id]["version"]]
    await tx.do_many("rewrite", [_columns(task) for task in changed])
    await tx.moved(
        [
            Step(task.id, task.state, records[task.id]["lane_id"], records[task.id]["is_parent"])
            for task in changed
        ]
    )
    return answers


def _force(tx: Transaction, task: Task | None, line: Force) -> Task | Refused:
    if task is None:
        return Refused("not_found", f"no task {line.task}")
    if line.version is not None and task.version != line.version:
        return Refused("version_mismatch", f"task {task.id} is at version {task.version}, not {line.version}")
    if not _ACTIONS[line.action](task, tx.now_us):
        wish = line.action.name.lower()
        return Refused("wrong_state", f"task {task.id} is {task.state.label}: {wish} is not possible")
    return task


def _cancel(task: Task, now_us: int) -> bool:
    if task.state is not State.RUNNING:
        return _kill(task, now_us)
    if task.cancel_requested_at_us is None:
        task.cancel_requested_at_us = now_us
        task.version = max(task.version + 1, now_us)
    return True


def _kill(task: Task, now_us: int) -> bool:
    if task.state.is_final:
        return False
    task.cancel_requested_at_us = task.cancel_requested_at_us or now_us
    task.finished_at_us = now_us
    _move(task, State.CANCELLED, now_us)
    return True


def _replay(task: Task, now_us: int) -> bool:
    if task.state not in (State.FAILED, State.CANCELLED):
        return False
    task.attempt = task.retries = task.losses = task.snoozes = 0
    task.cancel_requested_at_us = task.started_at_us = task.finished_at_us = None
    task.result = task.error = task.run_at_us = None
    if task.deadline_us is not None and task.deadline_us < now_us:
        task.deadline_us = None
    _move(task, State.READY, now_us)
    return True


def _run_now(task: Task, now_us: int) -> bool:
    if task.state is not State.SCHEDULED:
        return False
    task.run_at_us = None
    _move(task, State.READY, now_us)
    return True


_ACTIONS = {Action.CANCEL: _cancel, Action.KILL: _kill, Action.REPLAY: _replay, Action.RUN_NOW: _run_now}


def _move(task: Task, state: State, now_us: int) -> None:
    """Whoever held a lease on the task is fenced by the new token."""
    task.token = max(task.token + 1, now_us)
    task.version = max(task.version + 1, now_us)
    task.state, task.open_parents = state, 0
    task.lease_until_us = task.timeout_at_us = None
    if state in WAITING:
        task.worker = None
    if state is State.READY:
        task.seq = max(task.seq or 0, now_us)


def _columns(task: Task) -> tuple[object, ...]:
    return (
        task.id, task.state, task.token, task.version, task.seq, task.attempt, task.retries, task.losses,
        task.snoozes, task.open_parents, task.run_at_us, task.deadline_us, task.started_at_us,
        task.finished_at_us, task.cancel_requested_at_us, task.worker, task.lease_until_us,
        task.timeout_at_us, task.result, task.error,
    )  # fmt: skip
