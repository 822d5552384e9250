"""Plans as the store's own connections get them."""

from typing import TYPE_CHECKING

from mainspring.stores.postgres.dialling import PLANS

if TYPE_CHECKING:
    from asyncpg import Connection, Record


async def pin_plans(connection: "Connection[Record]") -> None:
    """For the rest of the transaction."""
    for name, value in PLANS.items():
        await connection.execute(f"SET LOCAL {name} = {value}")
