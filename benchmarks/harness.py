"""One probe is one fresh process; the probes of a figure run in turn, round by round."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Absolute, because a probe works in its own directory and starts processes from there; and this checkout
# measures its own code, whatever else is installed.
PATH = os.pathsep.join((str(ROOT), str(ROOT / "src")))
PROBE_LIMIT_S = 600


@dataclass(frozen=True)
class Probe:
    """`target` is `module:function` below `benchmarks`; it returns a number, or several by name."""

    target: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def run(self) -> dict[str, float]:
        """Measure once, in a process and a directory of its own."""
        with tempfile.TemporaryDirectory(prefix="mainspring-benchmark-") as directory:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.probe", self.target, json.dumps(self.params), directory],
                stdout=subprocess.PIPE,
                text=True,
                timeout=PROBE_LIMIT_S,
                env={**os.environ, "PYTHONPATH": PATH, "PYTHONUNBUFFERED": "1"},
            )
        if done.returncode:
            raise RuntimeError(f"{self.target} {dict(self.params)} exited with {done.returncode}")
        value = json.loads(done.stdout.splitlines()[-1])
        return value if isinstance(value, dict) else {"value": value}


@dataclass(frozen=True)
class Bar:
    """What a ratio is held to: `at_least` or `at_most` a number. Shown, never enforced."""

    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""

    def met(self, ratio: float) -> bool:
        if self.at_least is not None:
            return ratio >= self.at_least
        return self.at_most is None or ratio <= self.at_most


@dataclass(frozen=True)
class Row:
    """One line of the table: a probe's value, beside another's, and the bar on their ratio."""

    name: str
    probe: str
    unit: str
    beside: str = ""
    bar: Bar = Bar()
    key: str = "value"
    beside_key: str = "value"


@dataclass(frozen=True)
class Figure:
    """Probes that are interleaved with each other, and the rows drawn from their medians."""

    name: str
    probes: Mapping[str, Probe]
    rows: Sequence[Row]
    rounds: int | None = None


def measure(figure: Figure, rounds: int) -> list[dict[str, Any]]:
    """Run every probe of the figure in turn, `rounds` times; one record per row."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in figure.probes}
    for _ in range(figure.rounds or rounds):
        for name, probe in figure.probes.items():
            runs[name].append(probe.run())
    return [_record(figure, row, runs) for row in figure.rows]


def _record(figure: Figure, row: Row, runs: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    values = [run[row.key] for run in runs[row.probe]]
    record: dict[str, Any] = {
        "figure": figure.name,
        "name": row.name,
        "value": statistics.median(values),
        "unit": row.unit,
        "runs": values,
    }
    if row.beside:
        others = [run[row.beside_key] for run in runs[row.beside]]
        ratio = statistics.median(mine / other for mine, other in zip(values, others, strict=True))
        record |= {"beside": row.beside, "beside_value": statistics.median(others), "ratio": ratio}
        record |= {"bar": str(row.bar), "met": row.bar.met(ratio)}
    return record
