"""An application that submits and runs its own tasks, on one SQLite file: `python shop.py`.

mainspring standalone -A shop:app    the same file with an API, a worker and a command line
python -m pytest test_shop.py        how its tasks are tested
"""

from mainspring import Context, Mainspring, TaskFailed, When

app = Mainspring("sqlite:///shop.db")


class OutOfStock(Exception):
    """Trying again will not help: see `max_retries` below."""


@app.task
def reserve(item: str, count: int = 1) -> str:
    return f"{count} x {item}"


@app.task(queue="payments", max_retries=5)
def charge(ctx: Context, order: str, cents: int) -> str:
    """A step is run once in the task's life: a crash after it charges nobody twice."""
    return ctx.step("pay", lambda: f"receipt for {order} over {cents / 100:.2f}")


@app.task
async def ship(ctx: Context, order: str) -> dict[str, str]:
    """Knows what the tasks before it returned."""
    parents = await ctx.parents
    return {"order": order, **{parent.name or parent.id: parent.result for parent in parents.values()}}


@app.task(max_retries=0)
def restock(item: str) -> None:
    raise OutOfStock(item)


@app.task
def report(day: str = "today") -> str:
    return f"sales of {day}"


def main() -> None:
    with app, app.worker(concurrency=4):
        # One task, and its result.
        print(reserve.submit("lamp", count=2).result(timeout=10))

        # Three that belong together: stored all or none, run in their order.
        reserved = reserve.with_options(name="goods").bind("lamp")
        charged = charge.with_options(name="payment", depends_on=[reserved]).bind("order-7", cents=4999)
        shipped = ship.with_options(depends_on=[reserved, charged]).bind("order-7")
        *_, parcel = app.submit_many([reserved, charged, shipped])
        print(parcel.result(timeout=10))

        # A failure is raised where the result is asked for.
        try:
            restock.submit("lamp").result(timeout=10)
        except TaskFailed as failure:
            print(f"{failure.error['type']}: {failure.error['message']}")

        # Every night from now on, while a scheduler runs; and once right now.
        nightly = report.schedule("report", When(cron="0 3 * * *", zone="Europe/Berlin"), day="yesterday")
        print(nightly.trigger().result(timeout=10))


if __name__ == "__main__":
    main()
