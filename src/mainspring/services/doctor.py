"""A full audit of a store, and its mending by hand. Servers on the same store may go on meanwhile."""

from collections.abc import Iterable, Sequence

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
_ORDER = [*_FIRST, *(law for law in LAWS if law not in _FIRST)]


async def examine(store: Store) -> list[Finding]:
    """Every breach of every law, each once. Raises `StoreError`."""
    found: dict[tuple[str, tuple[int | str, ...]], Finding] = {}
    cursor: str | None = None
    while True:
        audit = await store.audit(cursor, ROWS_A_SLICE)
        _collect(found, audit.findings)
        cursor = audit.cursor
        if cursor is None:
            break
    _collect(found, await store.inspect())
    return list(found.values())


def _collect(found: dict[tuple[str, tuple[int | str, ...]], Finding], findings: Iterable[Finding]) -> None:
    for finding in findings:
        found.setdefault((finding.law, finding.key), finding)


async def treat(store: Store, findings: Sequence[Finding]) -> tuple[list[Mended], list[Finding]]:
    """Mend what can be mended, and look again until nothing is left to mend. Returns what was done, in order,
    and what is still broken. Raises `StoreError`; what was mended before that stays mended."""
    done: list[Mended] = []
    told: set[tuple[str, tuple[int | str, ...]]] = set()
    left = list(findings)
    for _ in range(ROUNDS):
        fresh = [finding for finding in left if (finding.law, finding.key) not in told]
        fresh.sort(key=lambda finding: _ORDER.index(finding.law))
        if not fresh:
            break
        for start in range(0, len(fresh), MENDED_AT_ONCE):
            done += await store.repair(fresh[start : start + MENDED_AT_ONCE])
        told = {(one.finding.law, one.finding.key) for one in done if one.mending is Mending.REPORTED}
        left = await examine(store)
    return done, left
