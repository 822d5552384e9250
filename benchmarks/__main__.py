"""Runs the figures, prints a table for people and JSON lines for programs.

python -m benchmarks [--only drain,submits] [--rounds 3] [--json FILE]
"""

import argparse
import importlib
import json
import platform
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Figure, measure

FIGURES = ("drain", "submits", "latency", "flat", "limits", "features", "rest", "burst")


def main() -> None:
    options = _options()
    console = Console(width=150)
    records: list[dict[str, Any]] = []
    for module in options.only.split(","):
        figures: list[Figure] = importlib.import_module(f"benchmarks.{module}").FIGURES
        for figure in figures:
            console.print(f"[dim]measuring {figure.name} ...[/dim]")
            records += measure(figure, options.rounds)
    console.print(_table(records))
    lines = "".join(json.dumps(record) + "\n" for record in records)
    if options.json:
        options.json.write_text(lines)
    else:
        print(lines, end="")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", default=",".join(FIGURES), help=f"some of {', '.join(FIGURES)}")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds; medians are shown")
    parser.add_argument("--json", type=Path, help="write the JSON lines to this file instead")
    return parser.parse_args()


def _table(records: list[dict[str, Any]]) -> Table:
    title = f"Python {platform.python_version()}, {platform.machine()}; medians; ratios within one round"
    table = Table(title=title, title_justify="left")
    for column in ("figure", "what", "median", "beside", "its median", "ratio", "bar", ""):
        table.add_column(column, justify="right" if column in ("median", "its median", "ratio") else "left")
    for record in records:
        table.add_row(
            record["figure"],
            record["name"],
            f"{record['value']:,.6g} {record['unit']}",
            record.get("beside", ""),
            f"{record['beside_value']:,.6g}" if "beside" in record else "",
            f"{record['ratio']:.2f}" if "ratio" in record else "",
            record.get("bar", ""),
            "" if not record.get("bar") else "met" if record["met"] else "MISSED",
        )
    return table


if __name__ == "__main__":
    main()
