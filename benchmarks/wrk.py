"""Drives an HTTP server with `wrk`, an external load generator, and says how busy the generator was."""

import os
import re
import resource
import shutil
import subprocess
import time
from pathlib import Path

SCRIPT = """
wrk.method = "{method}"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[{body}]==]
"""


def requests_per_s(url: str, body: str, connections: int = 32, seconds: int = 5) -> dict[str, float]:
    """POST `body` over keep-alive connections. `generator` is the share of one core that wrk itself used,
    `refused` how many answers were not 2xx."""
    if shutil.which("wrk") is None:
        raise RuntimeError("this figure needs wrk: `make benchmark` installs it where apt-get can")
    script = Path("wrk.lua")
    script.write_text(SCRIPT.format(method="POST", body=body))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    printed = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    ).stdout
    took_s = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    rate = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", printed)
    return {
        "value": float(rate[1]) if rate else 0.0,
        "generator": used_s / took_s,
        "refused": float(refused[1]) if refused else 0.0,
    }
