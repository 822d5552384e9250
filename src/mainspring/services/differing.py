"""What two stores hold differently: which records, and which of their fields."""

from collections.abc import Iterator, Mapping

import msgspec

from mainspring.verbs.moving import Kind, Record, fields_of

ROWS_TOLD = 3
SHOWN = 60  # characters of a value

Records = Mapping[str, Record]

_encode = msgspec.msgpack.Encoder().encode


def differences(kind: Kind, source: Records, target: Records) -> Iterator[str]:
    """One text a record that is not the same in both, for the log or a person: its kind, its name and its
    fields, or that one of the stores has none of it."""
    for name in sorted(source.keys() | target.keys()):
        one, other = source.get(name), target.get(name)
        called = f"in {kind.label} {name[:SHOWN]!r}"
        if other is None:
            yield f"{called} is missing"
        elif one is None:
            yield f"{called} is not in the source"
        elif fields := list(_fields(one, other)):
            yield f"{called} has {', '.join(fields)}"


def _fields(source: Record, target: Record) -> Iterator[str]:
    """As they are compared, by their encodings: what is not a number is equal to itself."""
    there = fields_of(target)
    for field, value in fields_of(source).items():
        if _encode(value) != _encode(there[field]):
            yield f"{field} {_shown(there[field])}, not {_shown(value)}"


def _shown(value: object) -> str:
    shown = "none" if value is None else repr(value)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
