"""Mainspring: a distributed task scheduler. Durable, fair, fast; one process or many."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.app import Mainspring, TaskFunction
    from mainspring.sdk import Cancel, Context, Fatal, Retry, Snooze, SoftTimeout, current

__version__ = "0.1.0"
__all__ = [
    "Cancel",
    "Context",
    "Fatal",
    "Mainspring",
    "Retry",
    "Snooze",
    "SoftTimeout",
    "TaskFunction",
    "__version__",
    "current",
]

_IN_APP = ("Mainspring", "TaskFunction")


def __getattr__(name: str) -> Any:
    """Load a name when it is first used: whoever imports one room does not pay for the others."""
    if name not in __all__:
        raise AttributeError(f"module 'mainspring' has no attribute {name!r}")
    value = getattr(import_module("mainspring.app" if name in _IN_APP else "mainspring.sdk"), name)
    globals()[name] = value
    return value
