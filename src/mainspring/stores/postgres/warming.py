"""The hot statements are planned before they are needed.

A server's process plans a statement when it first runs it: 3 to 20 ms, where running it takes one. The first
tasks on a new connection would wait for that, and they are one in a hundred for some time after a start.
"""

import contextlib
from typing import TYPE_CHECKING

from mainspring.stores.postgres.dialling import NOT_CONNECTED
from mainspring.stores.postgres.statements import STATEMENTS

if TYPE_CHECKING:
    from asyncpg import Connection, Record

# Nothing to do, under a picture of limits and pauses that nobody has: nothing is written.
NO_GENERATION = -1
NOTHING: dict[str, tuple[object, ...]] = {
    "opening": (),
    "submit_plain": (NO_GENERATION, *[[]] * 11, None, [], []),
    "claim_plain": ([], [], [], 0, "", "", 0, 0, 0, [], True, NO_GENERATION, [], None),
    "succeed_plain": ([], [], [], [], NO_GENERATION, None),
    "heads": ([], []),
}


async def warm(connection: "Connection[Record]") -> None:
    """Have them planned on this connection. What goes wrong here, its next user is told better."""
    with contextlib.suppress(*NOT_CONNECTED):
        for name, values in NOTHING.items():
            await connection.fetch(STATEMENTS[name], *values)
