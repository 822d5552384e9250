"""What users' code sees: of a task that runs, and of the tasks that it submits.

Inside a handler; any function is one, nothing here has to be imported to write it:

    handlers   which function runs which kind, and how a payload becomes its arguments, and the reverse
    context    the running task: its number, its payload, where to report progress, whether to stop
    journal    what a run records on its way: steps, log lines, checkpoints
    signals    how a handler ends otherwise than by returning: Retry, Snooze, Cancel, Fatal

A program that submits; `mainspring.Mainspring` is its client:

    client ─► functions ─► submitting ─┬─ calls ─► handles     what is submitted, what is known of it then
                                       │  options, schedules   how it is to be run, and how often
                                       │  stored               what the answer to a submit means
                                       ├─ life ─► home, blocking   one event loop, for all ways to call
                                       └─► ports.Backend ─┬─ http  a server, asked with patience
                                                          └─ (app) a scheduler in the same process

    transactions   submitting and completing on the user's own connection, in the user's own transaction

Nothing here loads a store or a server.
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
