"""Lines and answers about the store's own health: what breaks a law, and what was done about it."""

from collections.abc import Sequence
from enum import IntEnum

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One breach of one law (`core.laws.LAWS`). `subject` and `detail` are for people; `key` is for the store
    that found it, which looks it up again before it mends anything."""

    law: str
    subject: str
    detail: str
    key: tuple[int | str, ...] = ()


class Audit(msgspec.Struct):
    """One slice of a sweep, as of one moment. `looked` is how many rows it read; `cursor` is where the next
    slice goes on, `None` after the last."""

    findings: Sequence[Finding]
    cursor: str | None
    looked: int = 0


class Mending(IntEnum):
    REPAIRED = 1
    REPORTED = 2  # only a person can know what is right; nothing was changed
    GONE = 3  # it was not broken any more; nothing was changed


class Mended(msgspec.Struct, frozen=True):
    """What became of one finding; `what` is one sentence for a person."""

    finding: Finding
    mending: Mending
    what: str
