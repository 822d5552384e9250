"""Correctness never depends on there being one leader."""

import pytest

from mainspring.election.store import StoreElector
from mainspring.services import Firer
from mainspring.testing import nodes
from mainspring.testing.simulation import look


@pytest.mark.parametrize("start", range(0, 30, 10))
def test_everybody_fires(monkeypatch, start):
    """Every server fires, whoever leads, and no decision carries a term: nothing is lost or doubled."""
    monkeypatch.setattr(
        nodes, "Firer", lambda store, scheduler, elector, clock: Firer(store, scheduler, None, clock)
    )
    assert {seed: look(seed).broken for seed in range(start, start + 10)} == {
        seed: [] for seed in range(start, start + 10)
    }


def test_everybody_believes_that_he_leads(monkeypatch):
    """All of the leader's work is done by all, each under the term that it saw last."""
    monkeypatch.setattr(StoreElector, "leads", lambda self: True)
    found = {seed: look(seed).broken for seed in range(20)}
    # A node that takes itself for the leader cannot be replaced in time; nothing else may break.
    assert {promise for broken in found.values() for promise in broken} <= {"leader-in-time"}
