"""Files of tasks: a JSON array, or one JSON object a line. They travel to the server byte for byte."""

import re
import sys
from pathlib import Path

from mainspring.errors import InvalidInput, TooLarge
from mainspring.wire.bounds import BOUNDS
from mainspring.wire.strict import parse_json

ACCEPTED = "a JSON array of tasks, or one JSON object a line"
STDIN = Path("-")
_PLACE = re.compile(r"tasks\[(\d+)\]\.?")
_DEPTH = BOUNDS.depth + 3


class BatchFile:
    """`body` is the request that submits the file's tasks as one batch."""

    def __init__(self, path: Path) -> None:
        self.name = "standard input" if path == STDIN else str(path)
        self._lines: list[int] = []
        content = read_file(path)
        if not content.strip():
            raise InvalidInput(self.name, "is empty", ACCEPTED)
        is_array = content.lstrip().startswith(b"[")
        array = self._array(content.strip()) if is_array else self._joined(content)
        self.body = b'{"tasks":' + array + b"}"

    def _array(self, content: bytes) -> bytes:
        try:
            parse_json(content, _DEPTH)
        except InvalidInput as error:
            raise type(error)(self.name, where(error), error.accepted) from None
        return content

    def _joined(self, content: bytes) -> bytes:
        objects = []
        for number, line in enumerate(content.splitlines(), 1):
            if not line.strip():
                continue
            try:
                if not isinstance(parse_json(line, _DEPTH), dict):
                    raise InvalidInput("", "not an object", ACCEPTED)
            except InvalidInput as error:
                raise type(error)(f"{self.name}, line {number}", where(error), error.accepted) from None
            objects.append(line)
            self._lines.append(number)
        return b"[" + b",".join(objects) + b"]"

    def located(self, error: InvalidInput) -> InvalidInput:
        """The server's complaint about the n-th task, as one about this file."""
        found = _PLACE.match(error.field)
        if found is None:
            return type(error)(self.name, where(error), error.accepted)
        at, rest = int(found[1]), error.field[found.end() :]
        place = f"line {self._lines[at]}" if self._lines else f"task {at + 1}"
        problem = f"{rest}: {error.problem}" if rest else error.problem
        return type(error)(f"{self.name}, {place}", problem, error.accepted)


def where(error: InvalidInput) -> str:
    """The problem, with the place inside of the JSON where there is one."""
    return error.problem if error.field in ("", "body", "tasks") else f"{error.field}: {error.problem}"


def read_file(path: Path) -> bytes:
    """The whole file, or standard input. Raises `InvalidInput`, `TooLarge`."""
    try:
        content = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
    except OSError as error:
        raise InvalidInput("--file", f"cannot be read: {error}", ACCEPTED) from None
    if len(content) > BOUNDS.body_bytes:
        raise TooLarge(str(path), f"has {len(content)} bytes", f"at most {BOUNDS.body_bytes} bytes")
    return content
