"""Runs one probe in this process and prints what it returned as the last line, as JSON.

    python -m benchmarks.probe MODULE:FUNCTION '{"param": 1}' DIRECTORY

With PROFILE=1 the functions that took most of the time go to standard error.
"""

import asyncio
import cProfile
import importlib
import inspect
import json
import os
import pstats
import sys
from typing import Any


def main() -> None:
    target, params, directory = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
    module, _, function = target.partition(":")
    os.chdir(directory)
    call = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    if os.environ.get("PROFILE"):
        profile = cProfile.Profile()
        value = profile.runcall(_run, call, params)
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(30)
    else:
        value = _run(call, params)
    print(json.dumps(value))


def _run(call: Any, params: dict[str, Any]) -> Any:
    if inspect.iscoroutinefunction(call):
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(call(**params))
    return call(**params)


if __name__ == "__main__":
    main()
