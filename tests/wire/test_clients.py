"""What a client sends is what the server reads, and what the server shows is what the client reads."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.model import (
    Attempt,
    Lane,
    NewTask,
    OnParentFailure,
    Policy,
    RetryPolicy,
    State,
    Task,
    decode_policy,
    encode_policy,
)
from mainspring.errors import InvalidInput
from mainspring.ports import Group, Idempotency
from mainspring.wire.batches import BATCH, new_batch
from mainspring.wire.incoming import read_task
from mainspring.wire.outgoing import digest, write_submit
from mainspring.wire.payloads import encode_payload
from mainspring.wire.tasks import TASK, UniqueIn, new_task, unique_rule
from mainspring.wire.views import encode, task_view

NAMES = st.from_regex(r"[a-z][a-z0-9._-]{0,10}", fullmatch=True)
LANES = st.builds(Lane, NAMES, NAMES, NAMES, st.integers(1, 10), st.just("") | NAMES)
MICROSECONDS = st.integers(0, 10**13)
INSTANTS = st.integers(0, 4 * 10**15)
SECONDS = MICROSECONDS.map(lambda us: us / 1e6)
RETRIES = st.builds(
    RetryPolicy,
    st.sampled_from(["exponential", "fixed", "linear"]),
    SECONDS,
    st.floats(1, 1000),
    SECONDS,
    st.floats(0, 1),
    only=st.lists(NAMES, max_size=2).map(tuple),
    never=st.lists(NAMES, max_size=2).map(tuple),
) | st.builds(RetryPolicy, st.just("list"), delays_s=st.lists(SECONDS, min_size=1, max_size=3).map(tuple))
POLICIES = st.builds(
    Policy,
    st.integers(0, 1000),
    RETRIES,
    st.integers(1, 1000),
    st.none() | SECONDS.filter(bool),
    st.sampled_from([OnParentFailure.CANCEL, OnParentFailure.RUN, OnParentFailure.BLOCK]),
).map(encode_policy)
PAYLOADS = st.sampled_from([b"null", b'{"b":1,"a":[1.50,9007199254740993]}', b'"\\u00e9"'])
LABELS = st.none() | st.dictionaries(NAMES, NAMES, min_size=1, max_size=2).map(msgspec.json.encode)
MAYBE = st.none()
ID, OTHER_ID, CHILD_ID, NEW_ID, NEW_CHILD_ID = (f"01890a5d-ac96-774b-bcce-b302099a805{n}" for n in range(5))


@st.composite
def new_tasks(draw):
    run_at_us = draw(MAYBE | INSTANTS)
    task = NewTask(
        ID,
        draw(LANES),
        draw(PAYLOADS),
        0 if run_at_us is not None else draw(MICROSECONDS),
        run_at_us,
        draw(MAYBE | POLICIES),
        draw(MAYBE | MICROSECONDS.filter(bool)),
        draw(MAYBE | INSTANTS),
        draw(st.sampled_from([(), (OTHER_ID,)])),
        draw(LABELS),
        name=draw(MAYBE | NAMES),
    )
    _fit_soft_timeout(task)
    if draw(st.booleans()):
        fields = draw(st.lists(st.sampled_from(["queue", "key", "name", "payload"]), max_size=2))
        task.unique = unique_rule(UniqueIn(fields, draw(st.sampled_from([None, ["ready"]])), "1h"), task)
    return task


def meant(task: NewTask) -> tuple[NewTask, Policy]:
    """Two policies may be the same and written differently."""
    return msgspec.structs.replace(task, policy=None), decode_policy(task.policy)


def _fit_soft_timeout(task: NewTask) -> None:
    """A door refuses a soft timeout that is longer than the hard one."""
    soft_s = decode_policy(task.policy).soft_timeout_s
    if soft_s is not None and task.timeout_us is not None and task.timeout_us < soft_s * 1e6:
        task.timeout_us = None


def _unminted() -> str:
    raise AssertionError("the client has named its tasks")


@given(new_tasks())
def test_a_task_arrives_as_it_was_sent(task):
    assert meant(new_task(TASK.read(write_submit(Group([task]))), _unminted)) == meant(task)


@given(new_tasks())
def test_a_batch_arrives_as_it_was_sent(task):
    child = msgspec.structs.replace(task, id=OTHER_ID, depends_on=(ID,))
    parent = msgspec.structs.replace(task, depends_on=())
    batch = new_batch(BATCH.read(write_submit(Group([parent, child]))).tasks, _unminted)
    assert [meant(task) for task in batch.tasks] == [meant(parent), meant(child)]
    assert list(batch.order) == [0, 1]


def keyed(*tasks: NewTask) -> Group:
    return Group(tasks, Idempotency("sdk", "k", b"", 1))


@given(new_tasks())
def test_a_submit_under_a_key_is_the_same_text_in_every_try(task):
    replace = msgspec.structs.replace
    assert write_submit(keyed(task)) == write_submit(keyed(replace(task, id=NEW_ID)))
    assert digest(keyed(task)) == digest(keyed(replace(task, id=NEW_ID)))
    first = keyed(task, replace(task, id=CHILD_ID, depends_on=(task.id,)))
    second = keyed(replace(task, id=NEW_ID), replace(task, id=NEW_CHILD_ID, depends_on=(NEW_ID,)))
    assert write_submit(first) == write_submit(second)
    assert digest(first) == digest(second)
    parent, child = new_batch(BATCH.read(write_submit(second)).tasks, iter((ID, CHILD_ID)).__next__).tasks
    assert child.depends_on == (parent.id,)


def test_digests_tell_submits_apart():
    lane = Lane("default", "echo", "default", 5)
    first = NewTask(ID, lane, b'{"a":1,"b":2}')
    assert digest(Group([first])) == digest(Group([NewTask(ID, lane, b'{"b":2, "a":1}')]))
    for other in (
        NewTask(ID, lane, b'{"a":1,"b":3}'),
        NewTask(ID, lane._replace(priority=6), b'{"a":1,"b":2}'),
        NewTask(ID, lane, b'{"a":1,"b":2}', delay_us=1),
    ):
        assert digest(Group([first])) != digest(Group([other]))


@given(st.data())
def test_a_record_is_read_as_it_was_shown(data):
    draw = data.draw
    attempts = [Attempt(1, "failed", 1, 2, "w", msgspec.Raw(b'{"type":"E"}')), Attempt(2, "lost")]
    task = Task(
        ID,
        draw(LANES),
        draw(st.sampled_from(State)),
        draw(PAYLOADS),
        draw(INSTANTS),
        draw(st.integers(0, 10**16)),
        draw(INSTANTS),
        draw(MAYBE | POLICIES),
        draw(MAYBE | MICROSECONDS.filter(bool)),
        draw(MAYBE | INSTANTS),
        draw(LABELS),
        draw(MAYBE | NAMES),
        attempt=draw(st.integers(0, 99)),
        retries=draw(st.integers(0, 99)),
        losses=draw(st.integers(0, 99)),
        snoozes=draw(st.integers(0, 99)),
        worker=draw(MAYBE | NAMES),
        lease_until_us=draw(MAYBE | INSTANTS),
        timeout_at_us=draw(MAYBE | INSTANTS),
        started_at_us=draw(MAYBE | INSTANTS),
        finished_at_us=draw(MAYBE | INSTANTS),
        cancel_requested_at_us=draw(MAYBE | INSTANTS),
        result=draw(MAYBE | PAYLOADS.filter(lambda text: text != b"null")),
        error=draw(MAYBE | st.just(b'{"type":"E"}')),
        attempts=draw(MAYBE | st.just(msgspec.json.encode(attempts))),
        checkpoint=draw(MAYBE | st.just(b"[1]")),
        progress=draw(MAYBE | st.just(b'{"fraction":0.5}')),
        depends_on=draw(st.sampled_from([(), (OTHER_ID,)])),
        workflow=draw(MAYBE | st.just(OTHER_ID)),
        schedule_id=draw(MAYBE | NAMES),
        fire_at_us=draw(MAYBE | INSTANTS),
    )
    read = read_task(encode(task_view(task)))
    assert decode_policy(read.policy) == decode_policy(task.policy)
    read.policy = task.policy
    assert read == task


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"id":1}'])
def test_what_is_no_record_is_told(body):
    with pytest.raises((msgspec.MsgspecError, KeyError)):
        read_task(body)


def test_the_complaint_about_a_payload_names_its_field():
    with pytest.raises(InvalidInput) as caught:
        encode_payload({"a": {1: 1, "1": 1}}, "resize")
    assert caught.value.field == "resize"
    assert "twice" in caught.value.problem
