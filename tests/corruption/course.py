"""A spoiled store is examined, mended and examined again; what became of each spoil, as a table."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mainspring.ports import Store
from mainspring.services.doctor import examine, treat
from mainspring.verbs import Finding, Mended, Mending

Key = tuple[str, tuple[Any, ...]]


class Fate(NamedTuple):
    """What became of the spoils of one class. What was mended along with another counts as repaired."""

    planted: int
    found: int
    repaired: int
    reported: int


class Course(NamedTuple):
    fates: Mapping[str, Fate]
    done: list[Mended]
    left: list[Finding]
    unexplained: list[Finding]


async def run(store: Store, planted: Mapping[str, Iterable[Key]], touched: set[Any]) -> Course:
    """Examine and mend. Findings that name neither a spoil nor anything of `touched` are unexplained."""
    found = {(finding.law, finding.key): finding for finding in (await examine(store)).findings}
    done, left = await treat(store, list(found.values()))
    answers = {(one.finding.law, one.finding.key): one.mending for one in reversed(done)}
    fates = {}
    for name, spoils in planted.items():
        keys = set(spoils)
        told = Counter(answers.get(key) for key in keys)
        repaired = told[Mending.REPAIRED] + told[Mending.GONE]
        fates[name] = Fate(len(keys), len(keys & found.keys()), repaired, told[Mending.REPORTED])
    wanted = {key for spoils in planted.values() for key in spoils}
    unexplained = [
        finding
        for key, finding in found.items()
        if key not in wanted and not touched.intersection(finding.key)
    ]
    return Course(fates, done, left, unexplained)


def table(fates: Mapping[str, Fate]) -> str:
    lines = [f"{'class':26}{'planted':>9}{'found':>9}{'repaired':>9}{'reported':>9}"]
    lines += [f"{name:26}" + "".join(f"{number:9}" for number in fate) for name, fate in fates.items()]
    total = [sum(column) for column in zip(*fates.values(), strict=True)]
    return "\n".join([*lines, f"{len(fates):3} classes".ljust(26) + "".join(f"{n:9}" for n in total)])
