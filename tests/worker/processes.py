"""Waiting for real processes to come and to go."""

import asyncio
from pathlib import Path


async def appears(path: Path) -> int:
    """The process id that a task under test leaves in a file."""
    while (text := read(path)) is None:
        await asyncio.sleep(0.01)
    return int(text)


async def gone(pid: int) -> None:
    """Returns when no such process runs any more (a zombie that nobody has reaped does not run)."""
    while (stat := read(Path(f"/proc/{pid}/stat"))) is not None:
        if stat.rpartition(")")[2].split()[0] in "ZX":
            return
        await asyncio.sleep(0.01)


def read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
