"""What came of the rounds, as Markdown: ours beside the fastest peer of each class, and all values."""

import os
import platform
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import ROOT
from benchmarks.peers.catalogue import CLASSES, LINES, OURS, RECOVERY, RECOVERY_AIM_S, Class, Line, reason
from benchmarks.peers.contenders import WITHIN
from mainspring import __version__

Who = tuple[str, bool]


@dataclass(frozen=True)
class Compared:
    """Ours beside the fastest peer's: medians, and the median of the ratios within one round."""

    line: Line
    ours: float
    peer: Who
    theirs: float
    ratio: float
    aim: float | None

    @property
    def behind(self) -> bool:
        bar = self.aim if self.aim is not None else 1.0
        return self.ratio > bar if self.line.less else self.ratio < bar


class Report:
    def __init__(self, found: Sequence[dict[str, Any]]) -> None:
        self._found = found

    def text(self) -> str:
        parts = [self._head()]
        for at in CLASSES.values():
            if any(record["class"] == at.name for record in self._found):
                parts.append(self._class(at))
        parts += [self._recovery(), self._abouts(), self._failures()]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _head(self) -> str:
        return (
            "# Beside its peers\n\n"
            f"Mainspring {__version__}, Python {platform.python_version()}, {os.cpu_count()} processors"
            f" ({platform.machine()}); medians of interleaved rounds, and medians of the ratios within one"
            " round; after the first round only those peers are measured that were within"
            f" {WITHIN:g} times of the fastest. A machine drifts by a factor of two within an hour: the"
            " ratios count, not the bare figures. Every value is one process of its own on an empty store; a"
            " queue that a peer cannot fill within the limit is drained as far as it was filled."
            " `make benchmark-peers` measures it all anew."
        )

    # --- one class ------------------------------------------------------------------------------

    def _class(self, at: Class) -> str:
        records = [record for record in self._found if record["class"] == at.name]
        told = {record["server"] for record in records if "server" in record}
        compared = [pair for line in LINES if (pair := self._compared(at, line)) is not None]
        parts = [f"## {at.title}", f"{'; '.join(sorted(told))}. Rounds: {_rounds(records)}."]
        if compared:
            parts += [_table(_COMPARED, [_compared_row(one) for one in compared]), self._values(at)]
            behind = [_behind(at, one) for one in compared if one.behind]
            parts.append("\n".join(["Where we are behind:", "", *behind]) if behind else "Nowhere behind.")
        return "\n\n".join(parts)

    def _rounds_of(self, at: Class, line: Line, who: Who) -> dict[int, float]:
        return {
            record["round"]: record[line.key]
            for record in self._found
            if (record["class"], record["workload"]) == (at.name, line.workload)
            and (record["peer"], record["kept"]) == who
            and line.key in record
        }

    def _participants(self, at: Class, workload: str) -> list[Who]:
        found = [
            record for record in self._found if (record["class"], record["workload"]) == (at.name, workload)
        ]
        return list(dict.fromkeys((record["peer"], record["kept"]) for record in found))

    def _compared(self, at: Class, line: Line) -> Compared | None:
        ours = self._rounds_of(at, line, (OURS, False))
        best: tuple[float, Who, dict[int, float]] | None = None
        for who in self._participants(at, line.workload):
            theirs = self._rounds_of(at, line, who)
            if who[0] == OURS or who[1] != (line.among == "kept") or not theirs:
                continue
            value = statistics.median(theirs.values())
            if best is None or (value < best[0] if line.less else value > best[0]):
                best = value, who, theirs
        if best is None or not ours:
            return None
        value, who, theirs = best
        ratio = statistics.median(ours[at] / theirs[at] for at in ours.keys() & theirs.keys())
        return Compared(line, statistics.median(ours.values()), who, value, ratio, line.aims.get(at.name))

    def _values(self, at: Class) -> str:
        """Everybody's medians: a row for each, a column for each value that somebody has."""
        everybody: dict[Who, None] = {}
        for workload in dict.fromkeys(line.workload for line in LINES):
            everybody |= dict.fromkeys(self._participants(at, workload))
        lines = [line for line in _EVERY if any(self._rounds_of(at, line, who) for who in everybody)]
        rows = []
        for who in everybody:
            values = [self._rounds_of(at, line, who).values() for line in lines]
            rows.append([_name(who), *(_shown(statistics.median(held)) if held else "" for held in values)])
        return _table(["", *(f"{line.title}, {line.unit}" for line in lines)], rows)

    # --- the rest -------------------------------------------------------------------------------

    def _recovery(self) -> str:
        records = [record for record in self._found if record["workload"] == "recovery"]
        if not records:
            return ""
        rows = [
            [record["class"], record["peer"], _recovered(record), _recovery_verdict(record)]
            for record in records
        ]
        return (
            "## A worker is SIGKILLed\n\nTwo workers with default settings, one task; the worker that runs it"
            " is killed and started again. When the task begins anew; watched for 90 s.\n\n"
            + _table(["store", "", "begins anew", f"at most {RECOVERY_AIM_S:g} s"], rows)
        )

    def _abouts(self) -> str:
        told: dict[str, dict[str, str]] = {}
        for record in self._found:
            if "about" in record:
                told.setdefault(record["peer"], record["about"])
        columns = ("handlers", "settings", "results", "record", "bulk")
        rows = [
            [f"{peer} {_version(peer)}", *(about[column] for column in columns)]
            for peer, about in told.items()
        ]
        if not rows:
            return ""
        titles = [
            "",
            "handlers",
            "settings beyond the defaults",
            "results",
            "done is what its record says:",
            "bulk",
        ]
        return "## Who was measured, and how\n\n" + _table(titles, rows)

    def _failures(self) -> str:
        rows = {
            (
                record["class"],
                record["workload"],
                _name((record["peer"], record["kept"])),
                record["error"],
            ): None
            for record in self._found
            if "error" in record
        }
        if not rows:
            return ""
        titles = ["store", "workload", "", "error"]
        return "## What failed\n\n" + _table(titles, [list(row) for row in rows])


_COMPARED = ["", "ours", "fastest peer", "", "ratio", "aim", ""]
# Everybody's table has one column for what the lines compare twice, once for each way with results.
_EVERY = [line for line in LINES if line.among != "kept"] + [
    Line("worker", "drain", "worker_cpu_us", "us CPU/task", less=True),
    Line("server", "drain", "server_cpu_us", "us CPU/task", less=True),
]


def _compared_row(one: Compared) -> list[str]:
    aim = "" if one.aim is None else f"{'<=' if one.line.less else '>='} {one.aim:g}"
    verdict = "**behind**" if one.behind else "met" if aim else ""
    ours = f"{_shown(one.ours)} {one.line.unit}"
    return [one.line.title, ours, _name(one.peer), _shown(one.theirs), f"{one.ratio:.2f}", aim, verdict]


def _behind(at: Class, one: Compared) -> str:
    wanted = f"aimed at {one.aim:g}" if one.aim is not None else "no aim set"
    told = f"- {one.line.title}: {one.ratio:.2f} of {_name(one.peer)}, {wanted}. {reason(at, one.line)}"
    return told.rstrip()


def _recovered(record: dict[str, Any]) -> str:
    if "error" in record:
        return f"failed: {record['error']}"
    seconds = record["seconds"]
    if seconds == -2:
        return "never: its record has nothing left to do"
    return "not within 90 s" if seconds < 0 else f"after {seconds:.1f} s"


def _recovery_verdict(record: dict[str, Any]) -> str:
    if record["peer"] != OURS:
        return ""
    return "met" if 0 <= record.get("seconds", -1) <= RECOVERY_AIM_S else "**behind**"


def _name(who: Who) -> str:
    return who[0] + (", results kept" if who[1] else "")


def _version(peer: str) -> str:
    """As pinned."""
    name = {"taskiq-stream": "taskiq"}.get(peer, peer)
    if name == OURS:
        return __version__
    pins = (ROOT / "benchmarks" / "peers" / "requirements" / f"{name}.txt").read_text().splitlines()
    return next(pin.partition("==")[2] for pin in pins if pin.lower().startswith(f"{name}=="))


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _rounds(records: Iterable[dict[str, Any]]) -> str:
    """How often we were measured: what was put together of several runs may have more of one workload."""
    ours = [record["workload"] for record in records if record["peer"] == OURS]
    counts = Counter(work for work in ours if work != RECOVERY.name).values()
    return f"{min(counts)} to {max(counts)}" if len(set(counts)) > 1 else str(max(counts))


def _table(titles: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    titles = list(titles)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
