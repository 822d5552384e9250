"""The seed of a driver to come: nobody can choose it yet, and it keeps the rules of its engine."""

import re

import pytest

from mainspring.clock import SystemClock
from mainspring.errors import InvalidInput
from mainspring.stores import open_store
from mainspring.stores.redis.scripts import SOURCES, keys


@pytest.mark.parametrize("url", ["redis://localhost", "valkey:"])
def test_no_url_opens_a_prototype(url):
    with pytest.raises(InvalidInput, match="no driver"):
        open_store(url, SystemClock())


def test_the_keys_of_redis_share_a_slot():
    """All of them are told to the server before the call: scripts make up none."""
    known = keys("tasks")
    assert all(key.startswith("{tasks}:") for key in known.values())
    for name, source in SOURCES.items():
        assert name == "keys" or "KEYS[" not in source
        for key in re.findall(r"redis\.call\([^,()]+,\s*([^,)]+)", source):
            assert key == "hash" or key.removeprefix("key.") in known, f"{name}: {key}"
    named = {key for source in SOURCES.values() for key in re.findall(r"\bkey\.(\w+)", source)}
    assert named == known.keys()
