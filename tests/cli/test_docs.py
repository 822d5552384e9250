"""The documents say what the code does: tables that can be compared are."""

import re
from collections.abc import Iterator
from pathlib import Path

from mainspring.core.lifecycle import TRANSITIONS, Cause
from mainspring.core.model import State

DOCS = Path(__file__).parents[2] / "docs"


def rows(document: str, heading: str) -> Iterator[list[str]]:
    """The rows of the table whose header starts with `heading`."""
    text = (DOCS / document).read_text()
    table = re.search(rf"^\| {heading} \|.*\n\| ---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table, f"no table '{heading}' in {document}"
    for line in table[1].splitlines():
        yield [cell.strip() for cell in line.strip("|").split("|")]


def test_every_transition_is_documented():
    documented: dict[Cause, set[tuple[State | None, State]]] = {}
    for cause, old, new, when in rows("life-of-a-task.md", "cause"):
        assert when
        olds = [None if name == "–" else State[name.upper()] for name in old.split(", ")]
        pairs = {(one, State[other.upper()]) for one in olds for other in new.split(", ")}
        documented.setdefault(Cause[cause.upper()], set()).update(pairs)
    assert documented == TRANSITIONS


def test_every_state_is_documented():
    assert [row[0] for row in rows("life-of-a-task.md", "state")] == [state.label for state in State]
