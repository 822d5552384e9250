"""Where an application says that it lives: this holds for a process that is started for it alone."""

import json
import subprocess
import sys
from typing import TypeGuard

from msgspec.structs import replace

from mainspring.config import Settings
from mainspring.core.addresses import scheme_of
from mainspring.stores import SCHEMES

LOADING_S = 120.0
# The supervisor of a worker never imports user code, so a child is asked. What the module prints goes first.
_ASK = """
import json, sys
from mainspring.worker.loading import address_of

address = address_of(sys.argv[1])
print()
print(json.dumps(address))
"""


def at_its_work(settings: Settings) -> Settings:
    """Settings of a worker with one place to work at: a store, or a server if `store` is empty.

    What a flag names counts first, then a server that the settings name, then a store, and then where the
    application says that it lives.
    """
    store, server = settings.origin("store"), settings.origin("api_url")
    if store == "--store" or (store != "default" and server == "default"):
        return settings
    settings = replace(settings, store="")
    if not settings.app or server != "default":
        return settings
    address = _asked(settings.app)
    if _is_server(address):
        return replace(settings, api_url=address)
    if _is_store(address) and address != "memory:":
        return replace(settings, store=address)
    return settings


def _asked(app: str) -> str | None:
    """The application's address; `None` if it cannot be loaded: the worker's runners will say why."""
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _ASK, app],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LOADING_S,
        )
        address: str | None = json.loads(asked.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        return None
    return address


def at_its_store(settings: Settings) -> Settings:
    """Settings of a node that has loaded its application: the store that this names, if they name none."""
    if not settings.app or not settings.origin("store") == settings.origin("db") == "default":
        return settings
    from mainspring.worker.loading import address_of

    address = address_of(settings.app)
    return replace(settings, store=address) if _is_store(address) else settings


def _is_server(address: str | None) -> TypeGuard[str]:
    return address is not None and scheme_of(address) in ("http", "https")


def _is_store(address: str | None) -> TypeGuard[str]:
    return address is not None and scheme_of(address) in SCHEMES
