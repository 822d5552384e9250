"""The tour of the README runs as it is written: every shell block, in order, in one shell."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
READY = "\nuntil mainspring stats >/dev/null 2>&1; do kill -0 %1; sleep 0.05; done\n"
# Whatever happens, the scheduler ends with its shell.
LEAVE = "set -euxo pipefail\ntrap 'kill %1 2>/dev/null && wait %1' EXIT\n"


def test_the_tour_runs(tmp_path):
    """S1-07, S1-10, S1-32: the quick start, as a newcomer would type it."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 8
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MAINSPRING_LISTEN": address,
        "MAINSPRING_API_URL": f"http://{address}",
        "USER": "reader",
    }
    script = LEAVE + blocks[0] + READY + "".join(blocks[1:])
    tour = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert tour.returncode == 0, tour.stderr
    for shown in (
        "hello from ",
        '"stdout":"42\\n"',
        '"result":9592',
        "57 succeeded",
        "nightly",
        "02:30",
        "max_running",
        "due in ",
        "ValueError: no such customer",
        "as expected",
        "by reader",
        '"status":"pass"',
    ):
        assert shown in tour.stdout, shown


def test_the_python_snippet_runs(tmp_path):
    (snippet,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    run = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "cat.png at 64\n", run.stderr
