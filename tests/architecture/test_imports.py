"""Imports point down only, so that each room can be read, tested and replaced without those above it."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"

# From the top. Rooms on one line are siblings and never import each other.
LEVELS = [
    "cli",
    "testing",
    "app",
    "node",
    "api web worker services stores.tandem",
    "stores stores.* election election.*",
    "sdk scheduler",
    "batching wire",
    "clock config hints telemetry",
    "ports",
    "verbs",
    "core",
    "errors",
]
DRIVER_SIGHT = {"clock", "hints", "ports", "verbs", "core", "errors"}
# Rooms that see less than all below them.
SIGHT = {
    "stores.*": DRIVER_SIGHT,
    "election.*": DRIVER_SIGHT,
    "stores.tandem": DRIVER_SIGHT | {"stores.postgres", "stores.redis"},
}
# Doors, workers and services meet a driver only as a port: `node` hands it to them.
BLIND_TO_DRIVERS = {"api", "web", "worker", "services"}
# Registries: each finds a driver by its URL, inside a function, so that an unused driver is never loaded.
REGISTRIES = {"stores", "election"}
# The public face re-exports what it likes.
FACES = {"mainspring", "mainspring.__main__"}

IMPURE = {"asyncio", "logging", "os", "random", "secrets", "socket", "subprocess", "threading", "time"}
CORE_LIBRARIES = {"msgspec", "cronsim"}


def room(module: str) -> str:
    parts = module.split(".")[1:]
    return ".".join(parts[:2] if parts[0] in REGISTRIES else parts[:1])


def pattern(room: str) -> str:
    """The name under which the tables above know a room: its own, or its kind's."""
    named = set(" ".join(LEVELS).split())
    return room if room in named else f"{room.partition('.')[0]}.*"


def level(room: str) -> int | None:
    return next((n for n, rooms in enumerate(LEVELS) if pattern(room) in rooms.split()), None)


def imports(module: str, source: str, modules: set[str]) -> Iterator[tuple[str, bool]]:
    """Each imported name, as a module where it is one, and whether a function defers it."""

    def walk(node: ast.AST, deferred: bool) -> Iterator[tuple[str, bool]]:
        deferred = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(node, ast.Import):
            yield from ((alias.name, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module if f"{module}.__init__" in modules else module.rpartition(".")[0]
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full if full in modules or full == "mainspring.__version__" else base), deferred
        for child in ast.iter_child_nodes(node):
            yield from walk(child, deferred)

    return walk(ast.parse(source), False)


def fault(importer: str, imported: str, deferred: bool) -> str | None:
    """Why a room may not import another, or None."""
    here, there = level(importer), level(imported)
    if here is None or there is None:
        return "a room that is not on the map"
    if importer == imported:
        return None
    if importer in REGISTRIES and imported.startswith(f"{importer}."):
        return None if deferred else "a registry imports drivers inside functions"
    if here >= there:
        return "imports point down"
    if pattern(importer) in SIGHT and imported not in SIGHT[pattern(importer)]:
        return "drivers see only ports, core, errors and the clock"
    if importer in BLIND_TO_DRIVERS and imported.partition(".")[0] in REGISTRIES:
        return "this room never imports a driver"
    return None


def faults(sources: dict[str, str]) -> list[str]:
    found = []
    modules = set(sources) | {name.removesuffix(".__init__") for name in sources}
    for name, source in sources.items():
        module = name.removesuffix(".__init__")
        if module in FACES:
            continue
        for imported, deferred in imports(module, source, modules):
            top = imported.partition(".")[0]
            why = None
            if imported == "mainspring":
                why = "the public face is for users"
            elif top == "mainspring" and imported != "mainspring.__version__":
                why = fault(room(module), room(imported), deferred)
            elif room(module) == "core" and top != "mainspring" and not pure(top):
                why = "core is pure"
            if why:
                found.append(f"{module} imports {imported}: {why}")
    return found


def pure(library: str) -> bool:
    return library in CORE_LIBRARIES or (library in sys.stdlib_module_names and library not in IMPURE)


def test_imports_point_down():
    paths = (path.relative_to(SRC).with_suffix("") for path in (SRC / "mainspring").rglob("*.py"))
    sources = {".".join(path.parts): (SRC / path).with_suffix(".py").read_text() for path in paths}
    assert faults(sources) == []


# What the planted imports below can name.
ROOMS = ["__init__", "batching", "core.__init__", "stores.__init__", "stores.memory"]
HOUSE = {f"mainspring.{name}": "" for name in ROOMS}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("core.order", "from mainspring.ports import Store"),
        ("core.order", "import asyncio"),
        ("core.order", "import httpx"),
        ("errors", "from .core import model"),
        ("wire.__init__", "from mainspring import batching"),
        ("wire.__init__", "from ..batching import Batcher"),
        ("telemetry", "def f():\n    from mainspring.config import Settings"),
        ("stores.sqlite", "from mainspring.stores.memory import MemoryStore"),
        ("stores.sqlite", "from . import memory"),
        ("stores.sqlite", "import mainspring.telemetry"),
        ("stores.__init__", "from mainspring.stores.sqlite import SqliteStore"),
        ("scheduler.__init__", "from mainspring.stores import open_store"),
        ("services.reaper", "from mainspring.stores import open_store"),
        ("api.app", "from mainspring.election.raft import Raft"),
        ("node", "from mainspring import Mainspring"),
        ("utils", "from mainspring import errors"),
    ],
)
def test_a_planted_import_is_found(module, source):
    assert len(faults(HOUSE | {f"mainspring.{module}": source})) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("core.order", "from . import lease\nimport heapq, msgspec\nfrom mainspring.errors import Refused"),
        ("stores.__init__", "def open_store(url):\n    from mainspring.stores.tandem import Tandem"),
        ("stores.tandem", "from mainspring.stores.postgres import PostgresStore"),
        ("stores.sqlite.writer", "from . import rows\nfrom mainspring.clock import SystemClock"),
        ("node", "from mainspring.stores import open_store\nfrom mainspring import __version__"),
        ("__init__", "from mainspring.app import Mainspring"),
    ],
)
def test_a_lawful_import_passes(module, source):
    assert faults(HOUSE | {f"mainspring.{module}": source}) == []
