"""Submitting: a group is stored whole or not at all, and every group gets its own answer."""

import pytest

from mainspring.core.model import Lane, OnParentFailure, Policy, State
from mainspring.verbs import Accepted, Group, Refused
from tests.conformance.bench import LANE

pytestmark = pytest.mark.verbs("submit")


async def test_answers_with_states_versions_and_time(bench):
    early = bench.task()
    later = bench.task(delay=60)
    child = bench.task(depends_on=(early.id,))
    accepted = await bench.put_one(early, later, child)
    assert isinstance(accepted, Accepted)
    assert list(accepted.states) == [State.READY, State.SCHEDULED, State.BLOCKED]
    assert len(accepted.versions) == 3
    assert all(version > 0 for version in accepted.versions)
    assert accepted.created_at_us > 0
    assert not accepted.existing


async def test_no_groups_is_no_work(bench):
    assert await bench.put([]) == []


async def test_a_group_may_be_empty(bench):
    (accepted,) = await bench.put([Group([])])
    assert list(accepted.states) == []


@pytest.mark.verbs("get")
async def test_every_field_comes_back(bench):
    """S4-16, S4-06: what was submitted is what is stored, byte for byte."""
    (parent,) = await bench.submit(bench.task())
    new = bench.task(
        Lane("mail", "send", "acme", 9, "account-7"),
        payload='{"n":18014398509481985,"s":"\\u0000 \\ud83d\\ude00 é"}'.encode(),
        run_at_us=4_000_000_000_000_000,
        policy=Policy(max_retries=7, on_parent_failure=OnParentFailure.RUN),
        timeout_us=90_000_000,
        deadline_us=4_100_000_000_000_000,
        depends_on=(parent,),
        labels=b'{"team":"a"}',
        name="nightly",
    )
    accepted = await bench.put_one(new)
    record = await bench.get(new.id)
    for field in (
        "id",
        "lane",
        "payload",
        "run_at_us",
        "policy",
        "timeout_us",
        "deadline_us",
        "labels",
        "name",
    ):
        assert getattr(record, field) == getattr(new, field), field
    assert record.depends_on == (parent,)
    assert record.open_parents == 1
    assert record.state is State.BLOCKED
    assert record.version == accepted.versions[0]
    assert record.created_at_us == accepted.created_at_us
    assert (record.attempt, record.retries, record.losses, record.snoozes) == (0, 0, 0, 0)
    assert (record.result, record.error, record.attempts, record.checkpoint) == (None, None, None, None)
    assert (record.worker, record.lease_until_us, record.started_at_us, record.finished_at_us) == (None,) * 4


@pytest.mark.verbs("get")
async def test_delay_counts_from_the_store_clock(bench):
    new = bench.task(delay=60)
    accepted = await bench.put_one(new)
    record = await bench.get(new.id)
    assert record.run_at_us == accepted.created_at_us + bench.us(60)


@pytest.mark.verbs("get")
async def test_a_time_in_the_past_is_ready_at_once(bench):
    new = bench.task(run_at_us=1_000_000)
    accepted = await bench.put_one(new)
    assert list(accepted.states) == [State.READY]


@pytest.mark.verbs("get")
async def test_large_payload(bench):
    new = bench.task(payload=b'"' + b"x" * 1_000_000 + b'"')
    await bench.submit(new)
    assert (await bench.get(new.id)).payload == new.payload


@pytest.mark.verbs("get")
async def test_id_taken_changes_nothing(bench):
    """An id already in use is a conflict, in whatever state its task is."""
    first = bench.task(payload=b"1")
    await bench.submit(first)
    other = bench.task()
    refused = await bench.put_one(other, bench.task(id=first.id, payload=b"2"))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.row) == ("id_taken", 1)
    assert (await bench.get(first.id)).payload == b"1"
    assert await bench.store.get([other.id]) == [None]


@pytest.mark.verbs("get")
async def test_one_id_twice_in_a_group(bench):
    new = bench.task()
    refused = await bench.put_one(new, bench.task(id=new.id))
    assert (refused.code, refused.row) == ("id_taken", 1)
    assert await bench.store.get([new.id]) == [None]


@pytest.mark.verbs("get")
async def test_one_id_twice_in_a_batch(bench):
    """The lines of one batch are handled one after the other."""
    first, second = bench.task(payload=b"1"), bench.task(payload=b"2")
    second.id = first.id
    accepted, refused = await bench.put([Group([first]), Group([second])])
    assert isinstance(accepted, Accepted)
    assert refused.code == "id_taken"
    assert (await bench.get(first.id)).payload == b"1"


@pytest.mark.verbs("get")
async def test_unknown_parent_refuses_the_whole_group(bench):
    good = bench.task()
    bad = bench.task(depends_on=(good.id, bench.clock.new_id()))
    refused = await bench.put_one(good, bad)
    assert (refused.code, refused.row) == ("unknown_parent", 1)
    assert await bench.store.get([good.id, bad.id]) == [None, None]


@pytest.mark.verbs("get")
async def test_groups_are_independent(bench):
    """A refused group takes no other with it, before or behind."""
    before, bad, behind = bench.task(), bench.task(depends_on=(bench.clock.new_id(),)), bench.task()
    answers = await bench.put([Group([before]), Group([bad]), Group([behind])])
    assert [type(answer) for answer in answers] == [Accepted, Refused, Accepted]
    records = await bench.store.get([before.id, bad.id, behind.id])
    assert [record is not None for record in records] == [True, False, True]


async def test_a_parent_may_stand_behind_its_child(bench):
    parent = bench.task()
    child = bench.task(depends_on=(parent.id,))
    accepted = await bench.put_one(child, parent)
    assert list(accepted.states) == [State.BLOCKED, State.READY]


async def test_a_parent_may_come_in_an_earlier_group_of_the_batch(bench):
    parent = bench.task()
    child = bench.task(depends_on=(parent.id,))
    _, accepted = await bench.put([Group([parent]), Group([child])])
    assert list(accepted.states) == [State.BLOCKED]


@pytest.mark.verbs("get")
async def test_a_parent_named_twice_counts_once(bench):
    (parent,) = await bench.submit(bench.task())
    (child,) = await bench.submit(bench.task(depends_on=(parent, parent)))
    assert (await bench.get(child)).open_parents == 1


async def test_ready_names_the_lanes_that_gained_tasks(bench):
    high, low = LANE._replace(priority=8), LANE._replace(priority=2)
    answers = await bench.exchange(
        submits=[Group([bench.task(high), bench.task(high), bench.task(low, delay=60)])]
    )
    assert [head.lane for head in answers.ready] == [high]
    assert answers.now_us > 0


@pytest.mark.verbs("claim")
async def test_lanes_keep_their_numbers(bench):
    await bench.submit(bench.task())
    number = bench.lane_ids[LANE]
    await bench.submit(bench.task(LANE._replace(key="k")))
    await bench.submit(bench.task())
    assert bench.lane_ids[LANE] == number
    assert len(set(bench.lane_ids.values())) == 2


@pytest.mark.verbs("get")
async def test_versions_rise(bench):
    first = await bench.put_one(bench.task(), bench.task())
    second = await bench.put_one(bench.task())
    versions = [*first.versions, *second.versions]
    assert versions == sorted(versions)
    assert first.versions[-1] < second.versions[0]
