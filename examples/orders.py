"""Orders, and the tasks that follow from them, in transactions of one database: `python orders.py`.

The database is the scheduler's own store, here an SQLite file. On PostgreSQL nothing is different but the
connection: psycopg, asyncpg and SQLAlchemy will do.
"""

import contextlib
from collections.abc import Iterator

import apsw

from mainspring import Context, Mainspring, TaskHandle

FILE = "orders.db"
app = Mainspring(f"sqlite:///{FILE}")


@contextlib.contextmanager
def transaction() -> Iterator[apsw.Connection]:
    """A connection of the shop's own. Of apsw, as the scheduler's, which is in the same process here."""
    connection = apsw.Connection(FILE)
    connection.set_busy_timeout(5_000)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()  # what has not committed is rolled back


@app.task
def charge(ctx: Context, order: int) -> None:
    """The payment is booked, the task done and the next one submitted by one commit: whenever this process
    dies, all of it has happened, or none."""
    with transaction() as connection:
        connection.execute("INSERT INTO payments VALUES (?)", (order,))
        ship.submit_in(connection, order)
        ctx.complete_in(connection, f"order {order} is paid")


@app.task
def ship(order: int) -> str:
    return f"order {order} is on its way"


def place(order: int, item: str) -> TaskHandle[None]:
    """An order and its task: none without the other."""
    with transaction() as connection:
        connection.execute("INSERT INTO orders VALUES (?, ?)", (order, item))
        handle = charge.submit_in(connection, order)
        if item == "nothing":
            raise ValueError("there is nothing to order")
        return handle


def main() -> None:
    with app, app.worker():
        with transaction() as connection:
            connection.execute("CREATE TABLE orders (n INTEGER PRIMARY KEY, item TEXT)")
            connection.execute("CREATE TABLE payments (n INTEGER PRIMARY KEY)")
        print(place(7, "lamp").result(timeout=30))
        try:
            place(8, "nothing")
        except ValueError as error:
            print(error)
        with transaction() as connection:
            print(connection.execute("SELECT n, item FROM orders").fetchall())
            print(connection.execute("SELECT n FROM payments").fetchall())


if __name__ == "__main__":
    main()
