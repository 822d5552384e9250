"""By hand: cancel, kill, replay, run now, edit, delete. Every line is guarded and answered by itself."""

from collections.abc import Sequence
from typing import Any

from mainspring.core.model import Task, decode_policy
from mainspring.ports import Edit, Force, Refused
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import STATES, Body, Reply, can_be_stored, exact, lane_text, pack
from mainspring.verbs import depended_on, not_found, version_mismatch, wrong_state


async def force(db: Database, lines: Sequence[Force]) -> list[Task | Refused]:
    known = [line for line in lines if can_be_stored(line.task)]
    packed = [
        (line.task, line.action, False if line.version is None else line.version, line.delay_us)
        for line in known
    ]
    reply = await db.run("force", pack(packed))
    told, has_news = reply.answers
    if has_news:
        db.wrote()
    answers = iter(told)
    return [
        _forced(reply, line, next(answers)) if can_be_stored(line.task) else not_found(line.task)
        for line in lines
    ]


def _forced(reply: Reply, line: Force, answer: Sequence[Any]) -> Task | Refused:
    refused = refusal(answer, line.task, line.version, line.action.name.lower())
    return refused or reply.task(answer)


def refusal(answer: Sequence[Any], task: str, version: int | None, wish: str) -> Refused | None:
    """What a script says of a line that it did not do; `None` if it is a view."""
    match answer:
        case ["not_found"]:
            return not_found(task)
        case ["version_mismatch", found]:
            return version_mismatch(task, found, version or 0)
        case ["depended_on"]:
            return depended_on(task)
        case ["wrong_state", state]:
            return wrong_state(task, STATES[state], wish)
    return None


async def amend(db: Database, task: str, version: int, edit: Edit) -> Task | Refused:
    if not all(map(can_be_stored, (*edit.lane[:3], edit.lane.key))):
        return Refused("invalid_input", "a value cannot be stored: a name of its lane")
    if not can_be_stored(task):
        return not_found(task)
    line = (
        task, version, lane_text(edit.lane), exact(edit.run_at_us), exact(edit.timeout_us),
        exact(edit.deadline_us), decode_policy(edit.policy).on_parent_failure,
    )  # fmt: skip
    reply = await db.run("amend", pack(line), pack(Body(edit.payload, edit.policy, edit.labels)))
    answer, has_news = reply.answers
    if has_news:
        db.wrote()
    return refusal(answer, task, version, "edit") or reply.task(answer)


async def delete(db: Database, tasks: Sequence[str]) -> list[Refused | None]:
    wanted = [task for task in tasks if can_be_stored(task)]
    answers = iter((await db.run("delete", pack(wanted))).answers)
    told = [next(answers) if can_be_stored(task) else ["not_found"] for task in tasks]
    return [
        refusal(answer, task, None, "delete") if answer else None
        for task, answer in zip(tasks, told, strict=True)
    ]
