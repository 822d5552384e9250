"""Durations as people write and read them: seconds as a number, or Go's spelling (`250ms`, `1h30m`)."""

import math
import re

from mainspring.errors import InvalidInput

ACCEPTED = "seconds as a number, or text such as 250ms, 10s, 1h30m"
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)", re.ASCII)
_PLAIN = re.compile(r"\d+(?:\.\d*)?|\.\d+", re.ASCII)
_SPELLED = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
LONGEST_S = 100 * 365 * 86400.0


def parse_duration_s(value: object, field: str) -> float:
    """Seconds, 0 up to a hundred years. Raises `InvalidInput` that names `field`."""
    if isinstance(value, str):
        seconds = _parse_text(value.strip())
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < 1e300 else math.inf
    else:
        seconds = None
    if seconds is None:
        raise InvalidInput(field, f"not a duration: {str(value)[:40]!r}", ACCEPTED)
    if not 0.0 <= seconds <= LONGEST_S:
        raise InvalidInput(field, f"out of range: {str(value)[:40]}", "0 to 100 years")
    return seconds


def _parse_text(text: str) -> float | None:
    if _PLAIN.fullmatch(text):
        return float(text)
    seconds, position = 0.0, 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            return None
        seconds += float(part[1]) * _UNITS_S[part[2]]
        position = part.end()
    return seconds if text else None


def spelled(seconds: float) -> str:
    """For people to read, in two units at most: `250 ms`, `1.2 s`, `3 m 20 s`, `2 h 5 m`, `4 d`."""
    if seconds < 1.0:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 60.0:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    place = 0 if seconds >= 86400.0 else 1 if seconds >= 3600.0 else 2
    (unit, size), (lesser, part) = _SPELLED[place : place + 2]
    whole, rest = divmod(int(seconds), size)
    return f"{whole} {unit} {rest // part} {lesser}" if rest >= part else f"{whole} {unit}"
