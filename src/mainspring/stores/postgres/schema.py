"""The schema's life: the numbered migrations, run by whichever node comes first."""

from importlib.resources import files
from typing import TYPE_CHECKING

from mainspring.errors import StoreTooNew

if TYPE_CHECKING:
    from asyncpg import Connection, Record

# Any number will do that no other program uses for its own locks. "MSPG".
_MIGRATING = 0x4D535047
_NOTE = "INSERT INTO mainspring.migrations (number) VALUES ($1)"
_TABLE = """
CREATE SCHEMA IF NOT EXISTS mainspring;
CREATE TABLE IF NOT EXISTS mainspring.migrations (
    number       integer PRIMARY KEY,
    applied_at   timestamptz NOT NULL DEFAULT now()
);
"""


def migrations() -> list[tuple[int, str]]:
    """The numbered steps, oldest first: number and SQL."""
    folder = files(__package__).joinpath("migrations")
    steps = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return [(int(step.name[:4]), step.read_text("utf-8")) for step in sorted(steps, key=lambda at: at.name)]


async def migrate(connection: "Connection[Record]") -> None:
    """Bring the database up to date: all of the missing steps, or none. Any number of nodes may do so at
    once, also through a pooler that gives them another server process for each transaction.

    Raises `StoreTooNew`; nothing was changed then.
    """
    steps = migrations()
    newest = steps[-1][0]
    async with connection.transaction():
        if await _number(connection, newest) == newest:
            return
    async with connection.transaction():
        # Held to the end of the transaction: whoever waited for it finds the work done.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATING)
        await connection.execute(_TABLE)
        number = await _number(connection, newest)
        for step, sql in steps:
            if step > number:
                await connection.execute(sql)
                await connection.execute(_NOTE, step)


async def _number(connection: "Connection[Record]", newest: int) -> int:
    """The schema's number, 0 for a database without one."""
    if await connection.fetchval("SELECT to_regclass('mainspring.migrations')") is None:
        return 0
    number = await connection.fetchval("SELECT coalesce(max(number), 0) FROM mainspring.migrations")
    if number > newest:
        raise StoreTooNew(
            f"the database was written by a newer Mainspring (schema {number}, this program knows {newest});"
            " nothing was changed, use that version or another database"
        )
    return int(number)
