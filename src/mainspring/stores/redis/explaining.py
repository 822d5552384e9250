"""What surrounds one task, as of one moment: enough to say why it is not running."""

from mainspring.core.explain import OpenParent
from mainspring.core.turns import COUNTED
from mainspring.ports import Surroundings
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.controls import read_workers
from mainspring.stores.redis.packing import STATES, can_be_stored
from mainspring.stores.redis.reading import board_of


async def surroundings(db: Database, task: str, shown: int) -> Surroundings | None:
    if not can_be_stored(task):
        return None
    reply = await db.run("surroundings", task.encode(), shown, COUNTED)
    if not reply.answers:
        return None
    view, board, workers, place, waiting, holders, parents = reply.answers
    return Surroundings(
        reply.task(view),
        board_of(reply, board),
        read_workers(workers),
        place,
        dict(waiting),
        dict(holders),
        [OpenParent(id_, name or None, STATES[state]) for id_, name, state in parents],
    )
