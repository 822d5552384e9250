"""By hand: cancel, kill, replay, run now. Every line is guarded and answered by itself."""

from collections.abc import Sequence
from typing import Any

from mainspring.core.model import Task
from mainspring.ports import Force, Refused
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import STATES, Reply, pack
from mainspring.verbs import depended_on, not_found, version_mismatch, wrong_state


async def force(db: Database, lines: Sequence[Force]) -> list[Task | Refused]:
    packed = [
        (line.task, line.action, False if line.version is None else line.version, line.delay_us)
        for line in lines
    ]
    reply = await db.run("force", pack(packed))
    told, has_news = reply.answers
    if has_news:
        db.wrote()
    return [_forced(reply, line, answer) for line, answer in zip(lines, told, strict=True)]


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
