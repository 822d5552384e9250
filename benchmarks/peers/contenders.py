"""Who takes part in a round of a workload.

The first round measures everybody. The later ones measure those who could still turn out the fastest peer:
most of the time of a run went to peers at a tenth of the best, whose medians decide nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.peers.catalogue import LINES, OURS, Class, Line, Participant, Workload

# Of those that another workload has measured before, with results and without each.
FASTEST = 3
# A peer within this factor of the best stays: rounds of one machine differ by less.
WITHIN = 2.0


def contenders(
    number: int, at: Class, work: Workload, found: Sequence[dict[str, Any]]
) -> Iterable[Participant]:
    """Those of the class that run the workload in round `number`, by what was `found` until now; ours do
    always."""
    everybody = at.participants(work.both)
    if work.after and (rates := _values(number, at, work.after, "rate", found)):
        fastest = {who for kept in (False, True) for who in _fastest(rates, kept)}
        everybody = [who for who in everybody if who.peer == OURS or who in fastest]
    if number == 0:
        return everybody
    failed = {_who(record) for record in _records(0, at, work.name, found) if "error" in record}
    close = {
        who
        for line in LINES
        if line.workload == work.name and line.is_speed
        for who in _close(line, _values(0, at, work.name, line.key, found))
    }
    return [who for who in everybody if who.peer == OURS or who in close or who in failed]


def _fastest(rates: dict[Participant, float], kept: bool) -> Iterable[Participant]:
    others = [who for who in rates if who.kept is kept and who.peer != OURS]
    return sorted(others, key=rates.__getitem__, reverse=True)[:FASTEST]


def _close(line: Line, values: dict[Participant, float]) -> Iterable[Participant]:
    others = {
        who: value for who, value in values.items() if who.peer != OURS and who.kept is (line.among == "kept")
    }
    if not others:
        return []
    if line.less:
        return [who for who, value in others.items() if value <= WITHIN * min(others.values())]
    return [who for who, value in others.items() if WITHIN * value >= max(others.values())]


def _values(
    number: int, at: Class, workload: str, key: str, found: Sequence[dict[str, Any]]
) -> dict[Participant, float]:
    return {_who(record): record[key] for record in _records(number, at, workload, found) if key in record}


def _records(number: int, at: Class, workload: str, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    asked = (at.name, workload, number)
    return [record for record in found if (record["class"], record["workload"], record["round"]) == asked]


def _who(record: dict[str, Any]) -> Participant:
    return Participant(record["peer"], record["kept"])
