"""Files of schedules: one JSON object, an array of them, or what `schedules list -o json` prints."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from mainspring.cli.batchfile import STDIN, read_file, where
from mainspring.errors import InvalidInput
from mainspring.wire.bounds import BOUNDS
from mainspring.wire.schedule_views import WRITABLE, ScheduleView
from mainspring.wire.strict import parse_json

ACCEPTED = 'one JSON object, an array of them, or {"schedules": [...]}'
_READ_ONLY = frozenset(ScheduleView.__struct_fields__) - frozenset(WRITABLE)
_DEPTH = BOUNDS.depth + 4
_Document = dict[str, msgspec.Raw]


class ScheduleFile:
    """`documents` are the file's schedules as the API takes them: what has become of a schedule that was
    printed is left out, and values travel digit for digit. Raises `InvalidInput`."""

    def __init__(self, path: Path) -> None:
        self.name = "standard input" if path == STDIN else str(path)
        content = read_file(path)
        if not content.strip():
            raise InvalidInput(self.name, "is empty", ACCEPTED)
        try:
            parse_json(content, _DEPTH)
        except InvalidInput as error:
            raise type(error)(self.name, where(error), error.accepted) from None
        self.documents = [written(found) for found in self._found(content)]

    def _found(self, content: bytes) -> list[_Document]:
        try:
            if content.lstrip().startswith(b"["):
                return msgspec.json.decode(content, type=list[_Document])
            whole = msgspec.json.decode(content, type=_Document)
            if "schedules" in whole:
                return msgspec.json.decode(whole["schedules"], type=list[_Document])
        except msgspec.ValidationError:
            raise InvalidInput(self.name, "not a file of schedules", ACCEPTED) from None
        return [whole]

    def located(self, error: InvalidInput, place: int) -> InvalidInput:
        """The server's complaint about one schedule, as one about this file."""
        at = self.name if len(self.documents) == 1 else f"{self.name}, schedule {place + 1}"
        return type(error)(at, where(error), error.accepted)


def written(document: Mapping[str, msgspec.Raw]) -> bytes:
    """What an owner writes of a schedule that was printed."""
    return msgspec.json.encode({name: value for name, value in document.items() if name not in _READ_ONLY})
