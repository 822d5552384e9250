"""Which failures are alike: a number from the task's kind, the error's type and the place in the code.

The message has no part in it: `no customer 4711` and `no customer 4712` are one failure. Of the place only
the file and the function count, not the line: an edit further up must not part a failure from its like.
"""

import re
from hashlib import blake2b

import msgspec

# The last one is where the error was raised, in Python's own spelling of a traceback. It comes from outside,
# so every character is looked at once: with a second way to split a path, one of slashes would take hours.
_FRAME = re.compile(r'File "([^"\n]*)", line (\d+), in ([^\n]+)')
_LINE = re.compile(r":\d+$")
_POSITIVE = (1 << 63) - 1


class Failing(msgspec.Struct):
    """What an error's JSON says of its kind. `place` is `FILE:FUNCTION:LINE`, or whatever a worker says."""

    type: str = ""
    place: str = ""
    message: str = ""
    traceback: str = ""


_decoder = msgspec.json.Decoder(Failing)


def failing(error: bytes | None) -> Failing:
    """Read an error, whoever wrote it: one that says less, or nothing we know, is empty where it does."""
    try:
        found = _decoder.decode(error) if error else Failing()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Failing()
    if not found.place and found.traceback:
        frames = _FRAME.findall(found.traceback)
        if frames:
            path, line, function = frames[-1]
            file = path[max(path.rfind("/"), path.rfind("\\")) + 1 :]
            found.place = f"{file}:{function}:{line}"
    return found


def fingerprint(kind: str, error: bytes | None) -> int:
    """63 bits, never 0; the same on every node and in every version of Python."""
    found = failing(error)
    text = "\0".join((kind, found.type, _LINE.sub("", found.place)))
    digest = blake2b(text.encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") & _POSITIVE or 1
