"""Mainspring: a distributed task scheduler. Durable, fair, fast; one process or many."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.app import Mainspring
    from mainspring.errors import TaskCancelled, TaskFailed
    from mainspring.sdk.calls import TaskCall
    from mainspring.sdk.context import Context, current
    from mainspring.sdk.functions import TaskFunction
    from mainspring.sdk.handles import TaskHandle, TaskRecord
    from mainspring.sdk.schedules import ScheduleHandle, ScheduleInfo, When
    from mainspring.sdk.signals import Cancel, Fatal, Retry, Snooze, SoftTimeout

__version__ = "0.1.0"
__all__ = [
    "Cancel",
    "Context",
    "Fatal",
    "Mainspring",
    "Retry",
    "ScheduleHandle",
    "ScheduleInfo",
    "Snooze",
    "SoftTimeout",
    "TaskCall",
    "TaskCancelled",
    "TaskFailed",
    "TaskFunction",
    "TaskHandle",
    "TaskRecord",
    "When",
    "__version__",
    "current",
]

_ROOMS = {
    "Mainspring": "app",
    "ScheduleHandle": "sdk.schedules",
    "ScheduleInfo": "sdk.schedules",
    "TaskCall": "sdk.calls",
    "TaskCancelled": "errors",
    "TaskFailed": "errors",
    "TaskFunction": "sdk.functions",
    "TaskHandle": "sdk.handles",
    "TaskRecord": "sdk.handles",
    "When": "sdk.schedules",
}


def __getattr__(name: str) -> Any:
    """Load a name when it is first used: whoever imports one room does not pay for the others."""
    if name not in __all__:
        raise AttributeError(f"module 'mainspring' has no attribute {name!r}")
    value = getattr(import_module(f"mainspring.{_ROOMS.get(name, 'sdk')}"), name)
    globals()[name] = value
    return value
