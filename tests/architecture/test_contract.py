"""The contract keeps its rows, and the tool that counts their tests counts right."""

from pathlib import Path

import pytest

from tools import contract

ROOT = Path(__file__).parents[2]


def test_every_row_is_there_once():
    rows = contract.rows((ROOT / "docs/contract.md").read_text())
    sizes = [73, 80, 46, 42, 39]
    assert rows == [f"S{source}-{n:02d}" for source, size in enumerate(sizes) for n in range(1, size + 1)]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('"""Submits (S4-16)."""', {"S4-16"}),
        ("def test_s4_16_submit(): ...", {"S4-16"}),
        ('@pytest.mark.covers("S0-01", "S0-02")', {"S0-01", "S0-02"}),
        ("# S1-54..56", {"S1-54", "S1-55", "S1-56"}),
        ("address_s4_16 = runs4_16, S4-160, s4_1", {"S4-16"}),
    ],
)
def test_citations(text, ids):
    assert contract.cited(text) == ids


def test_report_names_rows_without_a_test(tmp_path):
    (tmp_path / "api").mkdir()
    (tmp_path / "api/test_jobs.py").write_text("# S1-02, S9-09")
    (tmp_path / "architecture").mkdir()
    (tmp_path / "architecture/test_it.py").write_text("# S1-01")
    report = contract.report(["S1-01", "S1-02", "S2-01"], contract.cited_below(tmp_path))
    assert report.splitlines() == [
        "S1: 1 of 2 rows have a test",
        "    none: 01",
        "S2: 0 of 1 rows have a test",
        "    none: 01",
        "all: 1 of 3",
        "cited, but not in the contract: S9-09",
    ]
