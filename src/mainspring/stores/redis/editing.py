"""By hand: cancel, kill, replay, run now. Every line is guarded and answered by itself."""

from collections.abc import Sequence

from mainspring.core.model import Task
from mainspring.ports import Force, Refused
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import pack


async def force(db: Database, lines: Sequence[Force]) -> list[Task | Refused]:
    packed = [(line.task, line.action, False if line.version is None else line.version) for line in lines]
    reply = await db.run("force", pack(packed))
    return [reply.task(answer) if isinstance(answer, int) else Refused(*answer) for answer in reply.answers]
