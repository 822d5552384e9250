"""Handlers for runners under test: good ones, stuck ones and poisonous ones."""

import asyncio
import os
import signal
import time
from pathlib import Path

from mainspring import Context, Mainspring

app = Mainspring()


@app.task
async def pid() -> int:
    return os.getpid()


@app.task
def thread_pid() -> int:
    return os.getpid()


@app.task(isolation="process")
def lone_pid() -> int:
    return os.getpid()


@app.task
async def nap(duration: float) -> int:
    await asyncio.sleep(duration)
    return os.getpid()


@app.task
def poison() -> None:
    os._exit(7)


@app.task
def deadly() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
async def blocked(duration: float = 3600) -> None:
    """Holds up the event loop: nobody can ask it to stop."""
    time.sleep(duration)  # noqa: ASYNC251


@app.task
async def patient() -> None:
    await asyncio.sleep(3600)


@app.task
async def marking(ctx: Context, path: str) -> None:
    """Says that it has begun, by its process id in a file, and stays."""
    ctx.checkpoint({"begun": True})
    _write(Path(path), str(os.getpid()))
    await asyncio.sleep(3600)


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


# --- steps, logs and parents: `folder` says what has run, and for how long a step waits ----------------


def _ran(folder: str, name: str) -> int:
    """How often a step has run."""
    with Path(folder, name).open("a+") as file:
        file.write("x")
        return file.tell()


@app.task
async def stepping(ctx: Context, folder: str) -> dict[str, int]:
    """Two steps. Between them the first run says that it is there, and stays."""
    first = await ctx.step("first", lambda: _ran(folder, "first"))
    if ctx.attempt == 1 and not ctx.cancelled:
        _write(Path(folder, "pid"), str(os.getpid()))
        await asyncio.sleep(3600)
    second = await ctx.step("second", lambda: _ran(folder, "second"))
    return {"first": first, "second": second}


@app.task
def stepping_on_a_thread(ctx: Context, folder: str) -> dict[str, int]:
    first = ctx.step("first", lambda: _ran(folder, "first"))
    if ctx.attempt == 1:
        _write(Path(folder, "pid"), str(os.getpid()))
        time.sleep(3600)
    second = ctx.step("second", lambda: _ran(folder, "second"))
    return {"first": first, "second": second}


@app.task
async def badly_stepping(ctx: Context) -> None:
    await ctx.step("one", lambda: 1)


@app.task
def talking(ctx: Context, lines: int) -> dict[str, str]:
    for line in range(lines):
        ctx.log.info("line %d", line)
    return {name: parent.state for name, parent in ctx.parents.items()}


@app.task
async def flooding(ctx: Context, folder: str) -> None:
    """Logs 30 MB, says so, and stays until it is told to stop."""
    _write(Path(folder, "pid"), str(os.getpid()))
    for _ in range(300):
        for _ in range(100):
            ctx.write("z" * 1_000)
        await asyncio.sleep(0)
    _write(Path(folder, "flooded"), "1")
    while not Path(folder, "stop").exists():  # noqa: ASYNC240
        await asyncio.sleep(0.01)
