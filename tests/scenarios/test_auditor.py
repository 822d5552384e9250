"""The auditor: what it tells of a broken store, how often, and that it asks seldom."""

import asyncio
import logging
from collections import Counter

import apsw
import pytest

from mainspring.clock import VirtualClock
from mainspring.config import Settings
from mainspring.core.laws import LAWS
from mainspring.core.model import Lane, NewTask
from mainspring.errors import StoreUnavailable
from mainspring.node import Node
from mainspring.services import Auditor
from mainspring.services.auditor import EVENTS_A_SWEEP, INTERVAL_S, ROWS_LEAST, ROWS_MOST
from mainspring.telemetry import Metrics
from mainspring.verbs import Audit, Finding, Group

LANE = Lane("default", "echo", "default", 5)


class Leading:
    """An elector that leads as it is told."""

    term = None

    def __init__(self):
        self.is_leader = True

    def leads(self):
        return self.is_leader


class Slices:
    """A store that answers audits by the book: one entry a slice, `None` for a store that is away."""

    def __init__(self, clock, *slices, took_s=0.0, full=False):
        self.asked = []
        self._slices = list(slices)
        self._clock = clock
        self._took_s = took_s
        self._full = full

    async def audit(self, cursor, limit):
        self.asked.append((cursor, limit))
        findings, following = self._slices.pop(0) if self._slices else ([], None)
        self._clock.elapsed += self._took_s
        if findings is None:
            raise StoreUnavailable("away")
        return Audit(findings, following, limit if self._full else 0)


class Counts:
    def __init__(self):
        self.counted = Counter()

    def count(self, name, *labels, by=1):
        self.counted[name, *labels] += by

    def observe(self, name, value, *labels):
        raise AssertionError("nothing is measured")


def broken(n=0, law="lost_count"):
    return Finding(law, f"thing {n}", "is broken", ("thing", n))


def auditor(*slices, **options):
    clock, counts, elector = VirtualClock(seed=1), Counts(), Leading()
    store = Slices(clock, *slices, **options)
    return Auditor(store, elector, clock, counts), store, counts.counted, elector


async def test_a_breach_is_an_event_and_a_count(caplog):
    made, _, counted, _ = auditor(([broken(law="unknown_lane"), broken(law="duplicate_place")], None))
    assert await made.tick() == INTERVAL_S
    assert counted["audit_violations", "unknown_lane"] == 1
    told = [(record.levelno, record.law, record.subject, record.detail) for record in caplog.records]
    assert told == [
        (logging.ERROR, "unknown_lane", "thing 0", "is broken"),
        (logging.WARNING, "duplicate_place", "thing 0", "is broken"),
    ]


async def test_every_law_has_a_series_from_the_start():
    _, _, counted, _ = auditor()
    assert {labels[1] for labels in counted} == set(LAWS)
    assert set(counted.values()) == {0}


async def test_a_breach_that_stays_is_told_once():
    still = ([broken()], None)
    made, _, counted, _ = auditor(still, still, ([], None), still)
    for expected in (1, 1, 1, 2):
        await made.tick()
        assert counted["audit_violations", "lost_count"] == expected
    assert counted["audit_sweeps",] == 4


async def test_a_flood_is_counted_in_full_and_told_in_part(caplog):
    made, _, counted, _ = auditor(([broken(n) for n in range(100)], None))
    await made.tick()
    assert counted["audit_violations", "lost_count"] == 100
    assert len(caplog.records) == EVENTS_A_SWEEP


async def test_slices_follow_each_other():
    made, store, counted, _ = auditor(([], "a"), ([], "b"), ([], None), ([], "a"))
    for _ in range(4):
        await made.tick()
    assert [cursor for cursor, _ in store.asked] == [None, "a", "b", None]
    assert counted["audit_sweeps",] == 1


async def test_only_the_leader_asks():
    made, store, _, elector = auditor(([], "a"), ([], None))
    await made.tick()
    elector.is_leader = False
    assert await made.tick() == INTERVAL_S
    elector.is_leader = True
    await made.tick()
    assert [cursor for cursor, _ in store.asked] == [None, None]


async def test_a_store_that_is_away_is_asked_again_where_it_was():
    made, store, _, _ = auditor(([], "a"), (None, None), ([], None))
    await made.tick()
    with pytest.raises(StoreUnavailable):
        await made.tick()
    await made.tick()
    assert [cursor for cursor, _ in store.asked] == [None, "a", "a"]


async def test_slices_grow_while_they_are_quick_and_shrink_when_they_are_slow():
    quick, store, _, _ = auditor(*[([], "a")] * 9, full=True)
    for _ in range(9):
        await quick.tick()
    sizes = [limit for _, limit in store.asked]
    assert sizes == sorted(sizes)
    assert sizes[0] == ROWS_LEAST
    assert sizes[-1] == ROWS_MOST
    slow, store, _, _ = auditor(*[([], "a")] * 9, full=True, took_s=1.0)
    for _ in range(9):
        await slow.tick()
    assert {limit for _, limit in store.asked} == {ROWS_LEAST}


async def test_a_real_node_tells_of_a_real_breach(tmp_path):
    """The series are there before the first breach; a leader's auditor finds what is new in its file."""
    node = Node(Settings(db=str(tmp_path / "store.db")), serve=False)
    metrics = Metrics()
    quiet = b'mainspring_audit_violations_total{law="unknown_state"} 0.0'
    async with node:
        assert quiet in node.metrics.expose("")[0]
        await node.scheduler.submit([Group([NewTask(node.clock.new_id(), LANE, b"null")])])
        while not node.elector.leads():
            await asyncio.sleep(0.01)
        auditor = Auditor(node.store, node.elector, node.clock, metrics)
        await auditor.tick()
        assert quiet in metrics.expose("")[0]
        db = apsw.Connection(node.settings.db)
        db.set_busy_timeout(5_000)
        db.execute("UPDATE tasks SET state = 42")
        db.close()
        await auditor.tick()
    text = metrics.expose("")[0]
    assert b'mainspring_audit_violations_total{law="unknown_state"} 1.0' in text
    assert b"mainspring_audit_sweeps_total 2.0" in text
