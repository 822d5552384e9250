"""One probe is one process with a time limit, in the peer's own environment; what fails says why."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import PATH, ROOT
from benchmarks.peers.catalogue import OURS, Class, Participant, Workload
from benchmarks.peers.servers import Place

ENVIRONMENTS = ROOT / ".venv-peers"
_SHARED = {"taskiq-stream": "taskiq"}
SHOWN = 300


def python_of(peer: str) -> str:
    """The interpreter that has the peer installed."""
    return sys.executable if peer == OURS else str(ENVIRONMENTS / _SHARED.get(peer, peer) / "bin" / "python")


def measure(at: Class, who: Participant, workload: Workload) -> dict[str, Any]:
    """What the probe found on an empty store."""
    with placed(at) as (folder, place):
        return probed(at, folder, place, who, workload)


@contextlib.contextmanager
def placed(at: Class) -> Iterator[tuple[str, Place]]:
    """A folder to work in, and an empty store."""
    # Short, because the path of a socket holds at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ms-bench-") as folder, at.place(Path(folder)) as place:
        yield folder, place


def probed(at: Class, folder: str, place: Place, who: Participant, workload: Workload) -> dict[str, Any]:
    """What the probe found, with `server` as the store told it, or `error`."""
    words = [
        python_of(who.peer), "-m", "benchmarks.peers.workloads",
        who.peer, place.url, "kept" if who.kept else "dropped", str(place.pid),
        workload.probe, json.dumps(workload.params_for(at, who)), folder,
    ]  # fmt: skip
    return {"server": place.settings} | _run(words, workload.limit_s)


def _run(words: list[str], limit_s: float) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": PATH, "PYTHONWARNINGS": "ignore", "C_FORCE_ROOT": "1"}
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        printed, complaints = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its workers end with it
        process.communicate()
        return {"error": f"took more than {limit_s:g} s"}
    if process.returncode:
        lines = [line.strip() for line in complaints.splitlines() if line.strip(" |+-")]
        return {"error": (lines or [f"exit code {process.returncode}"])[-1][:SHOWN]}
    return dict(json.loads(printed.splitlines()[-1]))
