"""What the system tells of processes: memory and processor time of a process that leads a session, with all
of that session, and with its children that lead their own, as the backends of PostgreSQL do."""

import os
from collections.abc import Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def resident_mb(leader: int, field: str) -> float:
    """`VmRSS` is now, `VmHWM` the most there was."""
    kilobytes = 0
    for folder, _ in _processes(leader):
        try:
            lines = (folder / "status").read_text().splitlines()
        except OSError:
            continue  # it has ended meanwhile
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith(field))
    return kilobytes / 1024


def cpu_s(leader: int) -> float:
    """Processor time used so far, that of ended children included."""
    return sum(sum(map(int, words[11:15])) for _, words in _processes(leader)) / _TICKS


def _processes(leader: int) -> Iterator[tuple[Path, list[str]]]:
    """Each with the words of its `stat` from the state on."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if leader in (int(words[3]), int(words[1])):
            yield folder, words
