"""Plain tasks in bulk are written as bytes of this driver's own making: they come back as they were given."""

import pytest

from mainspring.clock import SystemClock
from mainspring.core.model import Lane, NewTask, OnParentFailure, Policy, State, encode_policy
from mainspring.ports import Accepted, Exchange, Group, Refused
from mainspring.stores.postgres import copying

LANES = [Lane("default", "echo", "default", 5), Lane("mail", "größe", "acme", 10, "key")]
FAR_US = 4_000_000_000_000_000
# Every value meets every other one somewhere in a few hundred tasks: their numbers have no common divisor.
VALUES = {
    "policy": [None, encode_policy(Policy(max_retries=9, on_parent_failure=OnParentFailure.RUN))],
    "payload": [b"{}", b"1", b"\x00\xff" * 400],
    "timeout_us": [None, 0, 1, -1, (1 << 63) - 1],
    "name": [None, "", "größer", "\U0001f600", "n", "m", "o"],
    "run_at_us": [None, 0, FAR_US, None, FAR_US, None, FAR_US + 1, 1, None, None, None],
    "labels": [None, b'{"for":"ada"}', *[None] * 11],
    "deadline_us": [None, FAR_US, *[None] * 15],
    "lane": [LANES[0], LANES[1], *[LANES[0]] * 17],
    "delay_us": [0, 60_000_000, *[0] * 21],
}


def tasks(count):
    clock = SystemClock()
    for place in range(count):
        values = {name: choices[place % len(choices)] for name, choices in VALUES.items()}
        if values["run_at_us"] is not None:
            values["delay_us"] = 0
        yield NewTask(clock.new_id(), **values)


@pytest.mark.parametrize("piece_bytes", [1, copying.PIECE_BYTES], ids=["row by row", "as ever"])
async def test_tasks_in_bulk_come_back_as_they_were_given(new_database, monkeypatch, piece_bytes):
    monkeypatch.setattr(copying, "PIECE_BYTES", piece_bytes)
    given = list(tasks(600))
    groups = [Group(given[:1]), Group(given[1:550]), Group(given[550:])]
    async with new_database() as database, database.store(history=True) as store:
        answers = (await store.exchange(Exchange(submits=groups))).submits
        now_us = answers[0].created_at_us
        assert [version for answer in answers for version in answer.versions] == [
            now_us + place for place in range(1, 601)
        ]
        states = [state for answer in answers for state in answer.states]
        stored = await store.get([task.id for task in given])
        for task, record, state in zip(given, stored, states, strict=True):
            due_us = now_us + task.delay_us if task.delay_us else task.run_at_us
            assert (record.id, record.lane, record.payload) == (task.id, task.lane, task.payload)
            assert (record.policy, record.labels, record.name) == (task.policy, task.labels, task.name)
            assert (record.timeout_us, record.deadline_us) == (task.timeout_us, task.deadline_us)
            assert (record.run_at_us, record.created_at_us) == (due_us, now_us)
            assert record.state is state
            assert (state is State.SCHEDULED) == (due_us is not None and due_us > now_us)
            (step,) = await store.history(task.id)
            assert (step.old, step.new, step.at_us) == (None, state, now_us)
        assert sum((await store.stats()).counts.values()) == 600
        audit = await store.audit(None, 10_000)
        assert audit.findings == []


@pytest.mark.parametrize("bad", ["nul\0", "half\ud800", "taken"])
@pytest.mark.parametrize("place", [0, 299, 599])
async def test_a_bad_one_among_many_harms_its_own_group_alone(new_database, monkeypatch, place, bad):
    """Wherever it stands: some of the rows are on their way by the time that it is found."""
    monkeypatch.setattr(copying, "PIECE_BYTES", 1)
    clock = SystemClock()
    async with new_database() as database, database.store() as store:
        new = [NewTask(clock.new_id(), LANES[0], b"{}") for _ in range(600)]
        if bad == "taken":
            taken = Group([NewTask(new[place].id, LANES[1], b"first")])
            assert isinstance((await store.exchange(Exchange(submits=[taken]))).submits[0], Accepted)
        else:
            new[place].id = bad
        answers = (await store.exchange(Exchange(submits=[Group([task]) for task in new]))).submits
        assert [at for at, answer in enumerate(answers) if not isinstance(answer, Accepted)] == [place]
        refused = answers[place]
        assert isinstance(refused, Refused)
        assert refused.code == ("id_taken" if bad == "taken" else "invalid_input")
        assert sum((await store.stats()).counts.values()) == (600 if bad == "taken" else 599)
