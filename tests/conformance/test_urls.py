"""How a store is named: by a URL, whose driver is loaded only then."""

import subprocess
import sys

import pytest

from mainspring.clock import VirtualClock
from mainspring.errors import InvalidInput
from mainspring.stores import open_store


@pytest.mark.parametrize("path", ["store.db", "with space.db", "per%25cent.db"])
async def test_a_file_is_named_by_its_path(tmp_path, path):
    url = f"sqlite:///{tmp_path / path}"
    store = open_store(url, VirtualClock(1))
    await store.open()
    await store.close()
    assert (tmp_path / path.replace("%25", "%")).is_file()
    assert store.features.name == "sqlite"


async def test_memory_stores_are_apart():
    one, two = open_store("memory:", VirtualClock(1)), open_store("memory:", VirtualClock(1))
    await one.open()
    await two.open()
    await one.set_queue("mail", "alice")
    assert dict((await two.board()).paused) == {}


@pytest.mark.parametrize(
    "url", ["", "mysql://host/db", "sqlite:", "sqlite://", "sqlite:///", "sqlite://relative.db", "store.db"]
)
def test_other_urls_are_refused_with_what_is_accepted(url):
    with pytest.raises(InvalidInput) as caught:
        open_store(url, VirtualClock(1))
    assert caught.value.field == "store"
    assert "sqlite:///" in caught.value.accepted


def test_a_package_that_is_missing_is_told_under_the_setting_that_needs_it():
    script = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "redis":
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Missing())
from mainspring.clock import VirtualClock
from mainspring.errors import InvalidInput
from mainspring.ports import StoreOptions
from mainspring.stores import open_store
for url, queue in (("redis://localhost", ""), ("postgresql://localhost/x", "redis://localhost")):
    try:
        open_store(url, VirtualClock(1), StoreOptions(queue=queue))
    except InvalidInput as error:
        print(error)
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    needed = "needs the package redis, which is not installed; accepted: pip install mainspring[redis]"
    assert told.splitlines() == [f"store: {needed}", f"queue: {needed}"]


def test_the_registry_loads_no_driver():
    script = (
        "import sys, mainspring.stores as stores; from mainspring.clock import VirtualClock;"
        "stores.open_store('memory:', VirtualClock(1));"
        "print(*[name for name in sys.modules if name.startswith(('mainspring.stores.', 'apsw'))])"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "mainspring.stores.memory" in loaded
    assert "sqlite" not in loaded
    assert "apsw" not in loaded
