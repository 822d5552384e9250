"""Correctness never depends on there being one leader."""

import pytest

from mainspring.election.store import StoreElector
from mainspring.testing.course import run_seed
from mainspring.testing.simulation import look, run_cli


@pytest.mark.parametrize("start", range(0, 30, 10))
def test_everybody_leads(start):
    """Every firer, pruner and auditor works, under no term: nothing is lost, and nothing doubled."""
    assert {seed: look(seed, elects=False).broken for seed in range(start, start + 10)} == {
        seed: [] for seed in range(start, start + 10)
    }


def test_without_election_there_is_no_term():
    called = [event for event in run_seed(3, elects=False).record.events if type(event).__name__ == "Called"]
    verbs = {event.verb for event in called}
    assert "take_term" not in verbs
    assert {event.args[1] for event in called if event.verb == "fire"} == {None}
    assert {"prune", "audit", "fire"} <= verbs


def test_the_command_line_takes_election_away(capsys):
    assert run_cli(seeds=2, seed=None, planted=False, elects=False) == 0
    out = capsys.readouterr().out
    assert "every promise was kept" in out
    assert "term.changed" not in out
    assert run_cli(seeds=1, seed=3, planted=False, elects=False) == 0
    replayed = capsys.readouterr().out
    assert run_seed(3, elects=False).record.digest() in replayed


def test_everybody_believes_that_he_leads(monkeypatch):
    """All of the leader's work is done by all, each under the term that it saw last."""
    monkeypatch.setattr(StoreElector, "leads", lambda self: True)
    found = {seed: look(seed).broken for seed in range(20)}
    # Whoever takes himself for the leader is wrong, and is not replaced in time; nothing else may break.
    assert {promise for broken in found.values() for promise in broken} <= {"leader-in-time", "leader-knows"}
