"""The schema's life: the numbered migrations, run by whichever node comes first."""

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from mainspring.core.migrations import Step, refuse_newer, refuse_older, steps_of, way

if TYPE_CHECKING:
    from asyncpg import Connection, Record

# Any number will do that no other program uses for its own locks. "MSPG".
LOCK = f"SELECT pg_advisory_xact_lock({0x4D535047})"
TABLE = """\
CREATE SCHEMA IF NOT EXISTS mainspring;
CREATE TABLE IF NOT EXISTS mainspring.migrations (
    number       integer PRIMARY KEY,
    applied_at   timestamptz NOT NULL DEFAULT now()
);
"""
NOTE = "INSERT INTO mainspring.migrations (number) VALUES ({});"
STRIKE = "DELETE FROM mainspring.migrations WHERE number = {};"


@cache
def steps() -> list[Step]:
    """Oldest first."""
    ups = files(__package__).joinpath("migrations")
    read = [
        {entry.name: entry.read_text("utf-8") for entry in folder.iterdir() if entry.name.endswith(".sql")}
        for folder in (ups, ups.joinpath("down"))
    ]
    return steps_of(*read)


async def prepare(connection: "Connection[Record]", *, migrates: bool) -> None:
    """Bring the database up to date, if it is not, and if that is wanted.

    Raises `StoreTooNew`, `StoreTooOld`; nothing was changed then.
    """
    newest = steps()[-1].number
    async with connection.transaction():
        number = await number_of(connection)
    refuse_newer(number, newest)
    if not migrates:
        refuse_older(number, newest)
    if number < newest:
        await migrate(connection, None)


async def migrate(connection: "Connection[Record]", to: int | None) -> tuple[list[Step], list[Step]]:
    """Go to a number: all of the steps, or none. Any number of nodes may do so at once, also through a pooler
    that gives them another server process for each transaction. Returns the steps taken, up and down."""
    async with connection.transaction():
        # Held to the end of the transaction: whoever waited for it finds the work done.
        await connection.execute(LOCK)
        ups, downs = way(steps(), await number_of(connection), to)
        if ups:
            await connection.execute(TABLE)
        for step in ups:
            await connection.execute(step.up)
            await connection.execute(NOTE.format(step.number))
        for step in downs:
            await connection.execute(step.down)
            await connection.execute(STRIKE.format(step.number))
    return ups, downs


async def number_of(connection: "Connection[Record]") -> int:
    """The schema's number, 0 for a database without one."""
    if await connection.fetchval("SELECT to_regclass('mainspring.migrations')") is None:
        return 0
    return int(await connection.fetchval("SELECT coalesce(max(number), 0) FROM mainspring.migrations"))
