"""Dead letters by what killed them."""

from collections.abc import Sequence

import msgspec

from mainspring.errors import InvalidInput


class DeadGroup(msgspec.Struct):
    """Dead letters whose failures are alike. `sample` is the one that failed last, `error` its error; times
    are those of the failures that are still on record."""

    fingerprint: int
    kind: str
    count: int
    first_us: int
    last_us: int
    sample: str
    error: bytes | None


class DeadGroups(msgspec.Struct):
    """The largest group first. `cursor` is where the next page goes on; `None` after the last group."""

    groups: Sequence[DeadGroup]
    cursor: str | None = None


def group_rank(count: int, fingerprint: int) -> tuple[int, int]:
    """Groups are listed in the order of this."""
    return -count, fingerprint


def group_cursor(group: DeadGroup) -> str:
    """Where a page that ends with this group goes on. Groups that grow or shrink meanwhile move."""
    return f"{group.count}-{group.fingerprint}"


def parse_group_cursor(cursor: str) -> tuple[int, int]:
    """The rank of the last group of the page before. Raises `InvalidInput`."""
    count, _, fingerprint = cursor.partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) < 20 for part in (count, fingerprint)):
        raise InvalidInput("cursor", "this cursor was not given out by this store")
    return group_rank(int(count), int(fingerprint))
