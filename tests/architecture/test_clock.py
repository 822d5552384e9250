"""Time and chance have one door, clock.py. Ruff holds it (TID251); this holds ruff to its word."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WAIVER = re.compile(r"# *(ruff: *)?noqa(?!:)|noqa:.*TID251", re.IGNORECASE)
SMUGGLED = [
    "import time",
    "from time import monotonic",
    "def f():\n    import random",
    "import secrets as dice",
    "import datetime\ndatetime.datetime.now()",
    "from datetime import datetime\ndatetime.utcnow()",
    "from datetime import date\ndate.today()",
    "import uuid\nuuid.uuid4()",
    "from uuid import uuid4",
    "import os\nos.urandom(8)",
]


def caught(source: str, filename: str) -> bool:
    command = [sys.executable, "-m", "ruff", "check", "--select=TID251", f"--stdin-filename={filename}", "-"]
    ruff = subprocess.run(command, input=source, text=True, cwd=ROOT, capture_output=True)
    assert ruff.returncode in (0, 1), ruff.stderr
    return "TID251" in ruff.stdout


@pytest.mark.parametrize("source", SMUGGLED)
def test_linter_catches(source):
    assert caught(source, "src/mainspring/core/planted.py")


def test_clock_and_tests_are_free():
    assert not caught("import time", "src/mainspring/clock.py")
    assert not caught("import time", "tests/core/planted.py")


def test_no_waiver():
    assert [path for path in (ROOT / "src").rglob("*.py") if WAIVER.search(path.read_text())] == []
