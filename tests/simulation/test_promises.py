"""The promises that the checks look up are those that the documentation lists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = re.compile(r'(?:say|Violation)\(\s*"([a-z-]+)"')


def test_documented_and_checked_are_the_same():
    sources = (ROOT / "src" / "mainspring" / "testing").rglob("*.py")
    checked = {name for path in sources for name in NAME.findall(path.read_text())}
    table = (ROOT / "docs" / "simulation.md").read_text()
    documented = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) == checked
