"""A full audit of a store, and its mending by hand. Servers on the same store may go on meanwhile."""

from collections.abc import Sequence
from typing import NamedTuple

from mainspring.core.laws import LAWS
from mainspring.ports import Store
from mainspring.verbs.audit import Finding, Mended, Mending

ROWS_A_SLICE = 2_000
MENDED_AT_ONCE = 500
# Mending a task shows what it hid: numbers that were booked for it, children that it held up. Two rounds have
# always been enough; this many say that something breaks as fast as it is mended.
ROUNDS = 5
# An index must be right before rows are moved by it, and rows before they are counted.
_FIRST = ("damaged_index", "not_in_line")
Key = tuple[str, tuple[int | str, ...]]
_ORDER = [*_FIRST, *(law for law in LAWS if law not in _FIRST)]


class Examination(NamedTuple):
    """Every breach of every law, each once, and how many rows were looked at."""

    findings: list[Finding]
    looked: int


async def examine(store: Store) -> Examination:
    """Raises `StoreError`."""
    found: dict[Key, Finding] = {}
    looked, cursor = 0, None
    while True:
        audit = await store.audit(cursor, ROWS_A_SLICE)
        found.update({_key(finding): finding for finding in audit.findings})
        looked, cursor = looked + audit.looked, audit.cursor
        if cursor is None:
            break
    found.update({_key(finding): finding for finding in await store.inspect()})
    return Examination(list(found.values()), looked)


def _key(finding: Finding) -> Key:
    return finding.law, finding.key


async def treat(store: Store, findings: Sequence[Finding]) -> tuple[list[Mended], list[Finding]]:
    """Mend what can be mended, and look again until nothing is left to mend. Returns what was done, in order,
    and what is still broken. Raises `StoreError`; what was mended before that stays mended."""
    done: list[Mended] = []
    told: set[Key] = set()
    left = list(findings)
    for _ in range(ROUNDS):
        fresh = [finding for finding in left if _key(finding) not in told]
        fresh.sort(key=lambda finding: _ORDER.index(finding.law))
        if not fresh:
            break
        for start in range(0, len(fresh), MENDED_AT_ONCE):
            done += await store.repair(fresh[start : start + MENDED_AT_ONCE])
        told = {_key(one.finding) for one in done if one.mending is Mending.REPORTED}
        left = (await examine(store)).findings
    return done, left
