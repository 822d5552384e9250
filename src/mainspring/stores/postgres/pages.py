"""Cursors and labels: what pages of every kind are cut and filtered by."""

from typing import Any

import msgspec

from mainspring.errors import InvalidInput

_labels = msgspec.json.Decoder(dict[str, Any])


def parse_cursor(cursor: str) -> int:
    """Raises `InvalidInput`."""
    if not (cursor.isascii() and cursor.isdigit()) or len(cursor) > 18:
        raise foreign_cursor()
    return int(cursor)


def foreign_cursor() -> InvalidInput:
    return InvalidInput("cursor", "this cursor was not given out by this store")


def has_label(labels: bytes | None, wanted: tuple[str, str]) -> bool:
    name, value = wanted
    return labels is not None and _labels.decode(labels).get(name) == value
