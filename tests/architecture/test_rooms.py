"""The house stays readable: small modules, a sign on every door, and light rooms load no server."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
MODULES = [path for path in SRC.rglob("*.py") if "_pb2" not in path.name]
SERVER = {"uvicorn", "starlette", "apsw", "mainspring.node"}


def test_modules_are_small():
    long = [path for path in MODULES if path.read_text().count("\n") > 400]
    assert long == []


def test_every_room_has_its_sign():
    rooms = [path for path in MODULES if path.name == "__init__.py"]
    unsigned = [path for path in rooms if not ast.get_docstring(ast.parse(path.read_text()))]
    assert unsigned == []


@pytest.mark.parametrize("module", ["mainspring", "mainspring.worker"])
def test_light_rooms_load_no_server(module):
    """A client or a remote worker runs where no server library is installed."""
    script = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert SERVER.intersection(run.stdout.split()) == set()
