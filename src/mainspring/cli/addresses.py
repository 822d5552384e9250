"""Where an application says that it lives: this holds for a process that is started for it alone."""

import json
import subprocess
import sys

from msgspec.structs import replace

from mainspring.config import Settings

LOADING_S = 120.0
# The supervisor of a worker never imports user code, so a child is asked. What the module prints goes first.
_ASK = """
import json, sys
from mainspring.worker.loading import address_of

address = address_of(sys.argv[1])
print()
print(json.dumps(address))
"""


def at_its_server(settings: Settings) -> Settings:
    """Settings of a worker: the server of its application, if it names one and the settings do not."""
    if not settings.app or settings.origin("api_url") != "default":
        return settings
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _ASK, settings.app],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LOADING_S,
        )
        address = json.loads(asked.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        return settings  # it cannot be loaded: the worker's runners will say why
    return replace(settings, api_url=address) if _has(address, "http", "https") else settings


def at_its_store(settings: Settings) -> Settings:
    """Settings of a node that has loaded its application: the store that this names, if they name none."""
    if not settings.app or not settings.origin("store") == settings.origin("db") == "default":
        return settings
    from mainspring.worker.loading import address_of

    address = address_of(settings.app)
    return replace(settings, store=address) if _has(address, "sqlite", "memory") else settings


def _has(address: str | None, *schemes: str) -> bool:
    return address is not None and address.partition(":")[0] in schemes
