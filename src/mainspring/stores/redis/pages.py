"""Cursors and labels: what pages of every kind are cut and filtered by."""

from typing import Any

import msgspec

from mainspring.errors import InvalidInput, StoreCorrupt
from mainspring.stores.redis.packing import can_be_stored

LONGEST_ID = 200

_labels = msgspec.json.Decoder(dict[str, Any])


def known_cursor(cursor: str) -> str:
    """An id behind which a page begins. Raises `InvalidInput`."""
    if not cursor or len(cursor) > LONGEST_ID or not can_be_stored(cursor):
        raise InvalidInput("cursor", "this cursor was not given out by this store")
    return cursor


def has_label(labels: bytes | None, wanted: tuple[str, str]) -> bool:
    name, value = wanted
    try:
        return labels is not None and _labels.decode(labels).get(name) == value
    except msgspec.MsgspecError:
        raise StoreCorrupt("a task's labels are damaged: run mainspring doctor") from None
