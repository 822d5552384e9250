"""A submitted task: what a user wrote becomes what stores understand, or is refused by name."""

import itertools
import json

import pytest

from mainspring.clock import SystemClock
from mainspring.core.model import OnParentFailure, State, decode_policy
from mainspring.errors import InvalidInput, TooLarge
from mainspring.wire.bounds import Bounds
from mainspring.wire.tasks import TASK, new_task

clock = SystemClock()


def task(**fields):
    return new_task(TASK.read(json.dumps(fields).encode()), clock.new_id)


def test_defaults():
    """Peer behaviour 1: only a payload is needed; the rest has documented defaults."""
    made = task(payload={"message": "Hello, World!"})
    assert tuple(made.lane) == ("default", "echo", "default", 5, "")
    assert (made.delay_us, made.run_at_us, made.policy) == (0, None, None)
    assert (made.timeout_us, made.deadline_us) == (None, None)
    assert (made.depends_on, made.labels, made.unique, made.name) == ((), None, None, None)
    assert json.loads(made.payload) == {"message": "Hello, World!"}
    assert task().payload == b"null"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"kind": "resize"}, "resize"),
        ({"type": "sleep"}, "sleep"),
        ({"kind": "a", "type": "a"}, "a"),
        ({"payload": {"command": "ls"}}, "command"),
        ({"payload": {"type": "http"}}, "http"),
        ({"payload": {"handler": "app.tasks:resize"}}, "app.tasks:resize"),
        ({"payload": {"job": "demo"}}, "echo"),
        ({"payload": [1]}, "echo"),
        ({"payload": {"type": 7}}, "echo"),
        ({"kind": "echo", "payload": {"command": "ls"}}, "echo"),
    ],
)
def test_kind_said_or_understood(fields, kind):
    """Contract 1.6-I; S0-18 submits without a kind."""
    assert task(**fields).lane.kind == kind


def test_command_alone_is_a_command():
    """As job files have it: a list of `{"command": ...}`."""
    made = task(command="ls -la", priority="high")
    assert (made.lane.kind, made.lane.priority) == ("command", 8)
    assert json.loads(made.payload) == {"command": "ls -la"}


def test_everything_at_once():
    parent = clock.new_id()
    made = task(
        kind="resize", queue="images", priority=9, tenant="acme", key="account-7", name="first",
        delay="1h30m", max_retries=0, retry={"strategy": "linear", "delay": "2s", "only": ["ValueError"]},
        max_losses=25, timeout=10, soft_timeout="5s", deadline="2040-01-01T00:00:00Z",
        depends_on=[parent, parent], on_parent_failure="run", labels={"team": "a"},
    )  # fmt: skip
    policy = decode_policy(made.policy)
    assert tuple(made.lane) == ("images", "resize", "acme", 9, "account-7")
    assert (made.delay_us, made.timeout_us, made.deadline_us) == (
        5_400_000_000,
        10_000_000,
        2_208_988_800_000_000,
    )
    assert (policy.max_retries, policy.max_losses, policy.soft_timeout_s) == (0, 25, 5.0)
    assert (policy.retry.strategy, policy.retry.delay_s, policy.retry.only) == (
        "linear",
        2.0,
        ("ValueError",),
    )
    assert policy.on_parent_failure is OnParentFailure.RUN
    assert (made.depends_on, made.labels, made.name) == ((parent,), b'{"team":"a"}', "first")


def test_zero_timeout_means_none():
    """Peer behaviour 95: 0 or none means no limit."""
    assert task(timeout=0).timeout_us is None
    assert task(soft_timeout=0).policy is None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": ""}, "kind"),
        ({"kind": "a b"}, "kind"),
        ({"kind": "a", "type": "b"}, "type"),
        ({"payload": {"type": "a b"}}, "payload.type"),
        ({"command": "ls", "kind": "echo"}, "command"),
        ({"command": "ls", "payload": {}}, "command"),
        ({"queue": ""}, "queue"),
        ({"tenant": " "}, "tenant"),
        ({"key": "x" * 201}, "key"),
        ({"name": ""}, "name"),
        ({"priority": 11}, "priority"),
        ({"priority": "urgent"}, "priority"),
        ({"delay": "soon"}, "delay"),
        ({"delay": -1}, "delay"),
        ({"delay": 1, "run_at": "2040-01-01T00:00:00Z"}, "delay"),
        ({"run_at": "2040-01-01T00:00:00"}, "run_at"),
        ({"deadline": "10s"}, "deadline"),
        ({"timeout": "x"}, "timeout"),
        ({"timeout": 5, "soft_timeout": 6}, "soft_timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": 100_001}, "max_retries"),
        ({"max_losses": 0}, "max_losses"),
        ({"retry": {"strategy": "random"}}, "retry.strategy"),
        ({"retry": {"strategy": "list"}}, "retry.delays"),
        ({"retry": {"strategy": "fixed", "delays": [1]}}, "retry.delays"),
        ({"retry": {"delays": [1, "x"]}}, "retry.delays[1]"),
        ({"retry": {"factor": 0.5}}, "retry.factor"),
        ({"retry": {"jitter": 2}}, "retry.jitter"),
        ({"retry": {"only": ["a b"]}}, "retry.only[0]"),
        ({"depends_on": ["x"]}, "depends_on[0]"),
        ({"on_parent_failure": "explode"}, "on_parent_failure"),
        ({"labels": {"a b": "c"}}, "labels"),
        ({"labels": {f"l{n}": "" for n in range(33)}}, "labels"),
        ({"unique": {"fields": ["colour"]}}, "unique.fields"),
        ({"unique": {"states": ["nope"]}}, "unique.states[0]"),
        ({"unique": {"period": 0}}, "unique.period"),
        ({"id": "x"}, "id"),
        ({"id": "9e107d9d-372b-4b9f-b2a5-1d0bfc5a3a00"}, "id"),
    ],
)
def test_refused_by_name(fields, field):
    """Peer behaviours 4, 6 and 46: out of range, ill-formed, contradictory."""
    with pytest.raises(InvalidInput) as caught:
        task(**fields)
    assert caught.value.field == field


def test_own_id():
    mine = clock.new_id()
    assert task(id=mine).id == mine


def test_payload_size():
    given = TASK.read(b'{"payload": "%b"}' % (b"x" * 98))
    assert len(new_task(given, clock.new_id, Bounds(payload_bytes=100)).payload) == 100
    with pytest.raises(TooLarge) as caught:
        new_task(given, clock.new_id, Bounds(payload_bytes=99))
    assert caught.value.field == "payload"


# --- uniqueness -------------------------------------------------------------------------------------


def digest(unique=True, **fields):
    return task(unique=unique, **fields).unique.digest


def test_unique_by_default():
    """Peer behaviours 20, 21 and 23: whole payload, queue, kind and tenant; unfinished tasks only."""
    rule = task(unique=True).unique
    assert rule.states == {State.BLOCKED, State.SCHEDULED, State.READY, State.RUNNING}
    assert rule.period_us is None
    variants = [
        digest(payload={"a": 1}), digest(payload={"a": 2}), digest(payload={}), digest(),
        digest(payload={"a": 1, "b": 1}), digest(payload={"a": 1}, kind="x"),
        digest(payload={"a": 1}, queue="q"), digest(payload={"a": 1}, tenant="t"),
        digest({"fields": ["payload"]}, payload={"a": 1}),
    ]  # fmt: skip
    assert all(one != other for one, other in itertools.combinations(variants, 2))
    assert digest(payload={"a": 1, "b": 2}) == digest(payload={"b": 2, "a": 1}, priority=9, delay=5)


def test_unique_by_members():
    by_account = {"fields": ["payload.account.id"]}
    same = digest(by_account, payload={"account": {"id": 7}, "n": 1})
    assert same == digest(by_account, payload={"account": {"id": 7}, "n": 2}, queue="other")
    others = [
        digest(by_account, payload=value) for value in ({"account": {"id": None}}, {"account": {}}, {}, 7)
    ]
    assert same not in others
    assert others[0] != others[1]


def test_unique_states_and_period():
    rule = task(unique={"states": ["pending", "succeeded"], "period": "4m"}).unique
    assert rule.states == {State.BLOCKED, State.SCHEDULED, State.READY, State.SUCCEEDED}
    assert rule.period_us == 240_000_000


def test_not_unique():
    assert task(unique=False).unique is None
    assert task(unique=None).unique is None
