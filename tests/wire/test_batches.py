"""Batches: names for siblings, parents first, all or nothing."""

import json

import pytest

from mainspring.clock import SystemClock
from mainspring.errors import InvalidInput, TooLarge
from mainspring.wire.batches import BATCH, new_batch
from mainspring.wire.bounds import Bounds

clock = SystemClock()


def batch(*tasks, bounds=None):
    given = BATCH.read(json.dumps({"tasks": tasks}).encode()).tasks
    return new_batch(given, clock.new_id, bounds or Bounds())


def test_plain_batches_keep_their_order():
    """Peer behaviour 8: ids in the order given."""
    made = batch(*({"kind": f"k{n}"} for n in range(5)))
    assert [task.lane.kind for task in made.tasks] == [f"k{n}" for n in range(5)]
    assert list(made.order) == [0, 1, 2, 3, 4]


def test_refs_name_siblings_in_any_order():
    """A whole workflow in one call (S0-68, S3-01): children may stand before their parents."""
    outside = clock.new_id()
    made = batch(
        {"ref": "join", "kind": "join", "depends_on": ["left", "right", outside]},
        {"ref": "left", "kind": "left", "depends_on": ["root"]},
        {"ref": "right", "kind": "right", "depends_on": ["root"]},
        {"ref": "root", "kind": "root"},
    )
    kinds = [task.lane.kind for task in made.tasks]
    ids = {task.lane.kind: task.id for task in made.tasks}
    assert kinds[0] == "root"
    assert kinds[-1] == "join"
    assert set(made.tasks[-1].depends_on) == {ids["left"], ids["right"], outside}
    assert [kinds[row] for row in made.order] == ["join", "left", "right", "root"]
    assert [made.caller_place(row) for row in range(4)] == [made.order.index(row) for row in range(4)]


def test_an_order_that_will_do_is_kept():
    """Tasks that are due at once are stored, and so run, in the order in which they were given."""
    made = batch({"ref": "a"}, {"ref": "b", "depends_on": ["a"]}, {"ref": "c"}, {"depends_on": ["b", "c"]})
    assert list(made.order) == [0, 1, 2, 3]


def test_ids_name_siblings_too():
    parent = clock.new_id()
    made = batch({"depends_on": [parent], "kind": "child"}, {"id": parent, "kind": "parent"})
    assert [task.lane.kind for task in made.tasks] == ["parent", "child"]


@pytest.mark.parametrize(
    ("tasks", "field", "problem"),
    [
        ([], "tasks", "empty"),
        ([{}, {"priority": 99}], "tasks[1].priority", "not a priority"),
        ([{}, {"retry": {"jitter": 9}}], "tasks[1].retry.jitter", "out of range"),
        ([{"depends_on": ["nobody"]}], "tasks[0].depends_on[0]", "no task has this ref"),
        ([{"ref": "a"}, {"ref": "a"}], "tasks[1].ref", "used twice"),
        ([{"ref": ""}], "tasks[0].ref", "not a name"),
        (
            [{"ref": "a", "depends_on": ["b"]}, {"ref": "b", "depends_on": ["a"]}],
            "depends_on",
            "in a circle: ",
        ),
        ([{"ref": "a", "depends_on": ["a"]}], "depends_on", "in a circle: a -> a"),
    ],
)
def test_refused(tasks, field, problem):
    """Peer behaviours 9 and 150: one bad task stops the batch; cycles and missing parents are refused."""
    with pytest.raises(InvalidInput, match=problem) as caught:
        batch(*tasks)
    assert caught.value.field == field


def test_one_id_twice():
    mine = clock.new_id()
    with pytest.raises(InvalidInput, match="used twice") as caught:
        batch({"id": mine}, {"id": mine})
    assert caught.value.field == "tasks[1].id"


def test_too_many():
    with pytest.raises(TooLarge, match="has 3 tasks"):
        batch({}, {}, {}, bounds=Bounds(batch_tasks=2))


def test_wide_fans():
    """Dependencies with fan-in and fan-out of thousands are sorted, not searched."""
    made = batch(
        {"ref": "end", "depends_on": [f"n{n}" for n in range(3000)]},
        *({"ref": f"n{n}", "depends_on": ["start"]} for n in range(3000)),
        {"ref": "start"},
    )
    assert made.order[0] == 3001
    assert made.order[-1] == 0
