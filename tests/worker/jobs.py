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
