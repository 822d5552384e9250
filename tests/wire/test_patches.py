"""Changes to a waiting task."""

import json

import pytest

from mainspring.core.model import RetryPolicy
from mainspring.errors import InvalidInput
from mainspring.scheduler import Patch
from mainspring.wire.patches import PATCH, changes


def patch(**fields):
    return changes(PATCH.read(json.dumps(fields).encode()))


def test_only_what_is_named_changes():
    assert patch(priority="high") == {"priority": 8}
    assert patch(payload={"a": 1}, delay="1m") == {"payload": b'{"a": 1}', "delay_us": 60_000_000}


def test_null_sets_back_to_none():
    assert patch(run_at=None, timeout=None, labels=None, key=None, deadline=None, soft_timeout=None) == {
        "run_at_us": None, "timeout_us": None, "labels": None, "key": "", "deadline_us": None,
        "soft_timeout_s": None,
    }  # fmt: skip
    assert patch(queue=None, tenant=None, priority=None, max_retries=None, max_losses=None, retry=None) == {
        "queue": "default", "tenant": "default", "priority": 5, "max_retries": 3, "max_losses": 3,
        "retry": RetryPolicy(),
    }  # fmt: skip
    assert patch(payload=None) == {"payload": b"null"}


def test_every_change_is_one_that_the_scheduler_knows():
    everything = {
        "priority": 1, "queue": "q", "tenant": "t", "key": "k", "payload": 1,
        "run_at": "2040-01-01T00:00:00Z", "labels": {"a": "b"}, "max_retries": 1,
        "retry": {"delay": 1}, "max_losses": 1, "timeout": 1, "soft_timeout": 1,
        "deadline": "2040-01-01T00:00:00Z",
    }  # fmt: skip
    assert Patch(**patch(**everything)).queue == "q"
    assert set(everything) | {"delay"} == set(PATCH.kind.__struct_fields__)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "body"),
        ({"state": "ready"}, "state"),
        ({"kind": "x"}, "kind"),
        ({"priority": 11}, "priority"),
        ({"run_at": "2040-01-01T00:00:00Z", "delay": 1}, "delay"),
        ({"run_at": "soon"}, "run_at"),
        ({"retry": {"jitter": 7}}, "retry.jitter"),
    ],
)
def test_refused(fields, field):
    with pytest.raises(InvalidInput) as caught:
        patch(**fields)
    assert caught.value.field == field
