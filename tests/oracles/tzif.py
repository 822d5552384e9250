"""The changes of offset that a time zone's file (RFC 9636) writes out, read without `zoneinfo`'s help."""

import importlib.resources
import struct
import zoneinfo
from pathlib import Path


def written_changes(name: str) -> list[tuple[int, int, int]]:
    """(instant, offset before, offset after) of each change from 1970 on, the file's first one excepted."""
    data = _file(name)
    version, counts = _header(data, 0)
    assert version >= b"2"
    isut, isstd, leaps, times, types, chars = counts
    second = 44 + times * 5 + types * 6 + chars + leaps * 8 + isstd + isut
    _, (_, _, _, times, types, _) = _header(data, second)
    start = second + 44
    instants = struct.unpack_from(f">{times}q", data, start)
    kinds = struct.unpack_from(f">{times}B", data, start + times * 8)
    offsets = [struct.unpack_from(">i", data, start + times * 9 + kind * 6)[0] for kind in range(types)]
    found = []
    for number in range(1, times):
        before, after = offsets[kinds[number - 1]], offsets[kinds[number]]
        if before != after and instants[number] > 0:
            found.append((instants[number], before, after))
    return found


def _header(data: bytes, start: int) -> tuple[bytes, tuple[int, ...]]:
    assert data[start : start + 4] == b"TZif"
    return data[start + 4 : start + 5], struct.unpack_from(">6I", data, start + 20)


def _file(name: str) -> bytes:
    for folder in zoneinfo.TZPATH:
        if (Path(folder) / name).is_file():
            return (Path(folder) / name).read_bytes()
    return importlib.resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).read_bytes()
