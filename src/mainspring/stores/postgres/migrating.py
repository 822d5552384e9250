"""The schema by hand: where it stands, up, down, and as SQL for somebody else to run."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from mainspring.core.migrations import Step, way
from mainspring.errors import StoreError
from mainspring.ports.schema import Schema
from mainspring.stores.postgres.address import parse_address
from mainspring.stores.postgres.connecting import translated
from mainspring.stores.postgres.dialling import dial, greet, why
from mainspring.stores.postgres.pool import hang_up
from mainspring.stores.postgres.schema import LOCK, NOTE, STRIKE, TABLE, migrate, number_of, steps

if TYPE_CHECKING:
    from asyncpg import Connection, Record


class PostgresSchema(Schema):
    def __init__(self, address: str) -> None:
        """Raises `InvalidInput` for an address that cannot be one."""
        self.steps = steps()
        self._address = parse_address(address)

    async def number(self) -> int:
        async with self._connected() as connection, connection.transaction():
            return await number_of(connection)

    async def migrate(self, to: int | None) -> tuple[list[Step], list[Step]]:
        async with self._connected() as connection:
            return await migrate(connection, to)

    async def losses(self, to: int) -> list[str]:
        async with self._connected() as connection, connection.transaction():
            _, downs = way(self.steps, await number_of(connection), to)
            asked = [loss for step in downs for loss in step.losses]
            return [loss.what for loss in asked if await connection.fetchval(loss.question)]

    def sql(self, start: int, to: int | None) -> str:
        ups, downs = way(self.steps, start, to)
        lines = ["BEGIN;", f"{LOCK};"]
        if ups:
            lines.append(TABLE)
        for step in ups:
            lines += [f"-- {step.number} {step.name}", step.up, NOTE.format(step.number)]
        for step in downs:
            lines += [f"-- back from {step.number} {step.name}", step.down, STRIKE.format(step.number)]
        return "\n".join([*lines, "COMMIT;"]) if ups or downs else ""

    @asynccontextmanager
    async def _connected(self) -> "AsyncIterator[Connection[Record]]":
        with translated():
            connection = await dial(self._address)
            try:
                await greet(connection, self._address)
                yield connection
            except asyncpg.InsufficientPrivilegeError as error:
                raise StoreError(f"{self._address.shown}: {why(error, self._address)}") from error
            finally:
                await hang_up(connection)
