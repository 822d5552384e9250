"""Read by mypy, never run: what a type checker must know of an application, and what it must find."""

from datetime import timedelta
from typing import reveal_type

from mainspring import Context, Mainspring, TaskHandle, When

app = Mainspring("memory:")


@app.task
def add(left: int, right: int = 0) -> int:
    return left + right


@app.task(name="greet", timeout="30s", isolation="process")
async def greet(name: str, *, loud: bool = False) -> list[str]:
    return [name]


@app.task
def with_context(ctx: Context, path: str) -> float:
    return 0.5


@app.task
async def with_context_too(ctx: Context, path: str) -> bytes:
    return b""


async def right() -> None:
    # What a call results in.
    reveal_type(add.submit(1, right=2))  # R: TaskHandle[int]
    reveal_type(add.submit(1).result(timeout=5))  # R: int
    reveal_type(await greet.submit.aio("Ada", loud=True))  # R: TaskHandle[list[str]]
    reveal_type(await (await greet.submit.aio("Ada")))  # R: list[str]
    reveal_type(await add.submit(1).result.aio())  # R: int
    reveal_type(with_context.submit("a.png").result())  # R: float
    reveal_type(await with_context_too.submit("a.png"))  # R: bytes
    # A function stays the function that it was.
    reveal_type(add(1))  # R: int
    reveal_type(await greet("Ada"))  # R: list[str]
    # Options, batches, handles.
    reveal_type(add.with_options(delay=timedelta(hours=1), queue="slow").submit(1))  # R: TaskHandle[int]
    reveal_type(add.submit_many([add.bind(1), add.bind(2)]))  # R: list[TaskHandle[int]]
    reveal_type(add.handle("id"))  # R: TaskHandle[int]
    reveal_type(add.submit(1).refresh().state)  # R: str
    reveal_type(add.submit(1).cancel(kill=True))  # R: bool
    reveal_type(app.submit("echo", {"any": "thing"}, priority="high"))  # R: TaskHandle[Any]
    add.with_options(depends_on=[add.submit(1), add.bind(2), "id"])
    # On a connection of the user's own, of whatever library.
    reveal_type(add.submit_in(object(), 1, right=2))  # R: TaskHandle[int]
    reveal_type(await add.submit_in.aio(object(), 1))  # R: TaskHandle[int]
    reveal_type(app.submit_in(object(), "echo", 1, queue="q"))  # R: TaskHandle[Any]


async def wrong() -> None:
    add.submit("1")  # E: incompatible type "str"; expected "int"
    add.submit()  # E: Missing positional argument "left"
    add.submit(1, width=2)  # E: Unexpected keyword argument "width"
    add.bind("1")  # E: incompatible type "str"; expected "int"
    await add.submit.aio("1")  # E: incompatible type "str"; expected "int"
    add.submit.aio(1)  # E: must be used
    add.submit_in(object(), "1")  # E: incompatible type "str"; expected "int"
    add.submit_in.aio(object(), 1)  # E: must be used
    greet.submit("Ada", True)  # E: Too many positional arguments
    with_context.submit(1)  # E: incompatible type "int"; expected "str"
    with_context("a.png")  # E: Too few arguments
    add.with_options(prioritty=1)  # E: Unexpected keyword argument "prioritty"
    add.with_options(delay=[])  # E: incompatible type
    app.submit("echo", colour="blue")  # E: Unexpected keyword argument "colour"
    add.submit_many([greet.bind("Ada")])  # E: incompatible type
    _handle: TaskHandle[str] = add.submit(1)  # E: Incompatible types in assignment
    add.submit(1).result(soon=True)  # E: Unexpected keyword argument "soon"


async def schedules() -> None:
    nightly = When(cron="0 3 * * *", zone="Europe/Berlin")
    reveal_type(add.schedule("nightly", nightly, 1, right=2).trigger().result())  # R: int
    reveal_type(await greet.schedule.aio("n", nightly, "Ada"))  # R: ScheduleHandle[list[str]]
    reveal_type(app.schedule("nightly", nightly, add.bind(1)))  # R: ScheduleHandle[int]
    add.schedule("nightly", nightly, "1")  # E: incompatible type "str"; expected "int"
    add.schedule("nightly", 1)  # E: Missing positional argument
    When(crom="@daily")  # E: Unexpected keyword argument "crom"
