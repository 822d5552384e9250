"""A type checker finds wrong arguments and knows results, as for plain functions."""

import re
from pathlib import Path

import pytest
from mypy import api

TYPED = Path(__file__).with_name("typed.py")
WANTED = re.compile(r"# ([RE]): (.*)$")
SAID = re.compile(r".*?:(\d+): (note|error): (.*)$")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[str]]:
    """What mypy says about each line."""
    cache = tmp_path_factory.mktemp("mypy")
    told, complaints, _ = api.run(["--strict", "--no-error-summary", "--cache-dir", str(cache), str(TYPED)])
    assert complaints == ""
    lines: dict[int, list[str]] = {}
    for line in told.splitlines():
        found = SAID.match(line)
        assert found, line
        lines.setdefault(int(found[1]), []).append(f"{found[2]}: {found[3]}")
    return lines


def test_mypy_infers_results_and_finds_mistakes(said):
    wanted = {}
    for number, line in enumerate(TYPED.read_text().splitlines(), 1):
        if found := WANTED.search(line):
            wanted[number] = found.groups()
    assert said.keys() == wanted.keys(), {n: said.get(n) for n in said.keys() ^ wanted.keys()}
    for number, (what, text) in wanted.items():
        told = re.sub(
            r"\b(mainspring\.sdk\.(?:handles|schedules)|builtins|typing)\.", "", "\n".join(said[number])
        )
        expected = f'note: Revealed type is "{text}"' if what == "R" else text
        assert expected in told, (number, told)
