"""The documents say what the code does: tables that can be compared are."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx

from mainspring.api.routes import ROUTES
from mainspring.cli.exits import Exit
from mainspring.cli.serving import server, standalone, worker
from mainspring.config import Settings, load
from mainspring.core.laws import LAWS
from mainspring.core.lifecycle import TRANSITIONS, Cause
from mainspring.core.model import State
from mainspring.testing.rehearsal.report import TOTALS
from mainspring.wire.schedules import ScheduleIn
from mainspring.worker.files import READ_MOST_BYTES, Files
from mainspring.worker.http_request import BODY_MOST_BYTES, HttpPayload

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


def test_every_law_is_documented():
    told = [tuple(row) for row in rows("laws.md", "law")]
    assert told == [
        (name, "yes" if law.grave else "", law.meaning, law.mending or "–") for name, law in LAWS.items()
    ]


def test_every_state_is_documented():
    assert [row[0] for row in rows("life-of-a-task.md", "state")] == [state.label for state in State]


def test_every_setting_is_documented_as_it_is():
    """S4-25, S4-26, S4-28: flags, variables and defaults are those of the table."""
    flags = {
        name: option
        for command in (standalone, server, worker)
        for parameter in command.params
        for option, name in [(parameter.opts[-1], parameter.name)]
    }
    documented = []
    for name, flag, variable, default, _ in rows("operations.md", "setting"):
        field = name if name in Settings.__struct_fields__ else f"{name}_s"
        documented.append(field)
        assert variable == f"MAINSPRING_{name.upper()}"
        assert flag == flags.get(field, "")
        settings = load({}, {variable: default} if default else {})
        assert getattr(settings, field) == getattr(load({}, {}), field)
        assert bool(default) == (getattr(settings, field) not in ("", ()))
    assert sorted(documented) == sorted(set(Settings.__struct_fields__) - {"origins"})


def test_payloads_of_the_kinds_are_documented(tmp_path):
    """S4-02: the fields of `http`, the operations of `file`, and the largest values of each."""
    documented = {row[0].strip("`"): row for row in rows("kinds.md", "field")}
    assert tuple(documented) == HttpPayload.__struct_fields__
    assert str(BODY_MOST_BYTES) in documented["max_bytes"][1]
    assert str(READ_MOST_BYTES) in next(row[1] for row in rows("kinds.md", "operation"))
    operations = [row[0].strip("`") for row in rows("kinds.md", "operation")]
    assert operations == list(Files(str(tmp_path)).operations)


def test_schedules_are_documented():
    """Every field that their owner writes, and every number that a simulation can be held to."""
    fields = re.findall(r"`(\w+)`", " ".join(row[0] for row in rows("schedules.md", "field of a schedule")))
    assert sorted(fields) == sorted(ScheduleIn.__struct_fields__)
    numbers = [row[0].strip("`") for row in rows("schedules.md", "number")]
    assert numbers == list(TOTALS)


def test_exit_codes_are_documented():
    documented = {int(code) for code, _ in rows("operations.md", "code")}
    assert documented == {int(code) for code in Exit}


def test_paths_that_probes_use_are_documented():
    for path, _ in rows("operations.md", "path"):
        assert path.strip("`") in {route.path for route in ROUTES}


def test_metrics_worth_an_alert_exist(cli):
    named = set(re.findall(r"`(mainspring_\w+)", (DOCS / "operations.md").read_text()))
    metrics = httpx.get(f"{cli.url}/metrics").text
    assert len(named) >= 5
    assert {name for name in named if f"# TYPE {name} " not in metrics} == set()


def test_links_between_the_documents_lead_somewhere():
    for document in [DOCS.parent / "README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
