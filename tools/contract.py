"""Which rows of docs/contract.md have a test that cites them, and which have none.

A test cites a row anywhere in its file by id: `S4-16` in a docstring, comment or marker, `s4_16` in a
name, `S1-54..57` for a run of rows. tests/architecture checks the house, not the contract: it is not read.
"""

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (S\d-\d\d) \|", re.MULTILINE)
CITATION = re.compile(r"(?<![A-Za-z0-9])s(\d)[-_](\d\d)(?:\.\.(\d\d))?(?!\d)", re.IGNORECASE)


def rows(contract: str) -> list[str]:
    return ROW.findall(contract)


def cited(text: str) -> set[str]:
    found = set()
    for source, first, last in CITATION.findall(text):
        found |= {f"S{source}-{number:02d}" for number in range(int(first), int(last or first) + 1)}
    return found


def cited_below(tests: Path) -> set[str]:
    files = [path for path in tests.rglob("*.py") if "architecture" not in path.relative_to(tests).parts]
    return set().union(*(cited(path.read_text()) for path in files))


def report(wanted: list[str], found: set[str]) -> str:
    by_source = defaultdict(list)
    for row in wanted:
        by_source[row[:2]].append(row)
    lines = []
    for source, all_rows in sorted(by_source.items()):
        missing = [row for row in all_rows if row not in found]
        lines.append(f"{source}: {len(all_rows) - len(missing)} of {len(all_rows)} rows have a test")
        if missing:
            lines.append("    none: " + " ".join(row[3:] for row in missing))
    lines.append(f"all: {len(found.intersection(wanted))} of {len(wanted)}")
    if unknown := sorted(found.difference(wanted)):
        lines.append("cited, but not in the contract: " + " ".join(unknown))
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(rows((ROOT / "docs/contract.md").read_text()), cited_below(ROOT / "tests")))
