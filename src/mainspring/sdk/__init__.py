"""What code inside a task handler sees.

    handlers   which function runs which kind, and how a payload becomes its arguments
    context    the running task: its number, its payload, where to report progress, whether to stop
    signals    how a handler ends otherwise than by returning: Retry, Snooze, Cancel, Fatal

A handler is any function: nothing here has to be imported to write one. Nothing here talks to a store
or a server; a worker fills in what a handler asks for.
"""

from mainspring.sdk.context import Cancellation, Context, current
from mainspring.sdk.handlers import Handler, Registry
from mainspring.sdk.signals import Cancel, Fatal, Retry, Signal, Snooze, SoftTimeout

__all__ = [
    "Cancel",
    "Cancellation",
    "Context",
    "Fatal",
    "Handler",
    "Registry",
    "Retry",
    "Signal",
    "Snooze",
    "SoftTimeout",
    "current",
]
