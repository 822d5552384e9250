"""Submitted workflows: what is accepted, and which field is named when something is not."""

import itertools

import msgspec
import pytest

from mainspring.clock import VirtualClock
from mainspring.core.model import OnParentFailure, decode_policy
from mainspring.core.workflows import Callback
from mainspring.errors import InvalidInput, TooLarge
from mainspring.wire.bounds import Bounds
from mainspring.wire.workflows import WORKFLOW, new_workflow


def read(document, **bounds):
    new_id = VirtualClock(seed=1).new_id
    return new_workflow(WORKFLOW.read(msgspec.json.encode(document)), new_id, Bounds(**bounds))


def member(name, *parents, **fields):
    return {"name": name, **({"depends_on": parents} if parents else {}), **fields}


def refused(document, error=InvalidInput, **bounds):
    with pytest.raises(error) as caught:
        read(document, **bounds)
    return caught.value.field, caught.value.problem


def test_members_know_each_other_by_name():
    given = [member("c", "b"), member("a", kind="x", payload=[1]), member("b", "a")]
    document = read({"name": "nightly", "labels": {"team": "data"}, "tasks": given})
    ids = {task.name: task.id for task in document.tasks}
    assert [task.name for task in document.tasks] == ["a", "b", "c"]
    assert [task.depends_on for task in document.tasks] == [(), (ids["a"],), (ids["b"],)]
    assert (document.tasks[0].lane.kind, document.tasks[0].payload) == ("x", b"[1]")
    assert (document.workflow.name, document.workflow.labels) == ("nightly", b'{"team":"data"}')
    assert document.workflow.id not in ids.values()
    assert [document.caller_place(row) for row in range(3)] == [1, 2, 0]


def test_a_parent_may_be_outside():
    outside = VirtualClock(seed=2).new_id()
    assert read({"tasks": [member("a", outside)]}).tasks[0].depends_on == (outside,)


def test_callbacks_wait_for_every_member():
    callbacks = {role.label: {"kind": role.label} for role in Callback}
    callbacks["on_success"] |= {"name": "cheer", "max_retries": 7}
    document = read({"tasks": [member("b", "a"), member("a")], **callbacks})
    a, b, complete, success, failure = document.tasks
    assert (a.name, b.name) == ("a", "b")
    # Peer behaviour 145: a callback sees the members in the order of the document.
    assert {task.depends_on for task in (complete, success, failure)} == {(b.id, a.id)}
    assert document.workflow.callbacks == {
        Callback.ON_COMPLETE: complete.id,
        Callback.ON_SUCCESS: success.id,
        Callback.ON_FAILURE: failure.id,
    }
    rules = [decode_policy(task.policy) for task in (complete, success, failure)]
    assert [rule.on_parent_failure for rule in rules] == [
        OnParentFailure.RUN,
        OnParentFailure.CANCEL,
        OnParentFailure.ONLY,
    ]
    assert [rule.max_retries for rule in rules] == [3, 7, 3]
    assert [task.name for task in (complete, success, failure)] == ["on_complete", "cheer", "on_failure"]
    assert [document.caller_place(row) for row in range(3)] == [1, 0, None]


@pytest.mark.parametrize(
    ("tasks", "field", "problem"),
    [
        ([{}], "tasks[0].name", "missing"),
        ([member("a"), member("")], "tasks[1].name", "not a name"),
        ([member("a\n")], "tasks[0].name", "not a name"),
        ([member("x" * 201)], "tasks[0].name", "not a name"),
        ([member("01923456-89ab-7def-8123-456789abcdef")], "tasks[0].name", "not a name"),
        ([member("a"), member("b"), member("a")], "tasks[2].name", "used twice"),
        ([member("a"), member("b", "a", "x")], "tasks[1].depends_on[1]", "no task of this workflow"),
        ([member("a", "a")], "tasks[0].depends_on[0]", "circle: a -> a"),
        ([member("a", ref="b")], "tasks[0].ref", "know each other by their names"),
        ([member("a", unique=True)], "tasks[0].unique", "tasks of its own"),
        ([member("a", priority=99)], "tasks[0].priority", "not a priority"),
        ([member("a", on_parent_failure="only")], "tasks[0].on_parent_failure", "not a rule"),
        ([member("a", on_parent_failure="maybe")], "tasks[0].on_parent_failure", "not a rule"),
        ([member("a", id="7")], "tasks[0].id", "not a UUIDv7"),
    ],
)
def test_bad_members_are_named(tasks, field, problem):
    at, why = refused({"tasks": tasks})
    assert at == field
    assert problem in why


def test_a_circle_is_named_by_an_edge_of_it():
    tasks = [member("r"), member("a", "r", "c"), member("b", "a"), member("c", "b"), member("d", "c")]
    at, why = refused({"tasks": tasks})
    edges = {"tasks[1].depends_on[1]", "tasks[2].depends_on[0]", "tasks[3].depends_on[0]"}
    assert at in edges
    circle = why.partition(": ")[2].split(" -> ")
    assert set(circle) == {"a", "b", "c"}
    assert set(itertools.pairwise(circle)) == {("a", "c"), ("c", "b"), ("b", "a")}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "tasks"),
        ({"tasks": []}, "tasks"),
        ({"tasks": [member("a")], "name": ""}, "name"),
        ({"tasks": [member("a")], "labels": {"a b": "x"}}, "labels"),
        ({"tasks": [member("a")], "on_complet": {}}, "on_complet"),
        ({"tasks": [member("a")], "on_complete": {"priority": 11}}, "on_complete.priority"),
        ({"tasks": [member("a")], "on_complete": {"depends_on": ["a"]}}, "on_complete.depends_on"),
        (
            {"tasks": [member("a")], "on_success": {"on_parent_failure": "run"}},
            "on_success.on_parent_failure",
        ),
        ({"tasks": [member("a")], "on_failure": {"unique": True}}, "on_failure.unique"),
        ({"tasks": [member("a")], "on_failure": {"ref": "x"}}, "on_failure.ref"),
        ({"tasks": [member("a", colour="red")]}, "tasks[0].colour"),
        ({"tasks": {"a": {}}}, "tasks"),
    ],
)
def test_bad_documents_are_named(document, field):
    assert refused(document)[0].replace("[...]", "[0]") == field


def test_one_id_twice():
    task_id = VirtualClock(seed=3).new_id()
    tasks = [member("a", id=task_id), member("b", id=task_id)]
    assert refused({"tasks": tasks})[0] == "tasks[1].id"
    assert refused({"tasks": tasks[:1], "on_complete": {"id": task_id}})[0] == "on_complete.id"


def test_so_many_and_no_more():
    """The callbacks are not counted."""
    tasks = [member(f"t{n}") for n in range(4)]
    assert len(read({"tasks": tasks, "on_complete": {}}, batch_tasks=4).tasks) == 5
    assert refused({"tasks": tasks}, TooLarge, batch_tasks=3)[0] == "tasks"


def test_ten_thousand_members():
    """S0-68: in one document, each the child of the one before."""
    tasks = [member(f"t{n}", *([f"t{n - 1}"] if n else [])) for n in range(10_000)]
    document = read({"tasks": tasks[::-1], "on_complete": {}})
    assert [task.name for task in document.tasks[:2]] == ["t0", "t1"]
    assert len(document.tasks[-1].depends_on) == 10_000
