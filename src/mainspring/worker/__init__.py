"""Workers: they claim tasks from a source, run them, and report how each run ended.

    source ──claim──► Worker ──start──► engine ──► handlers
       ▲                │                  │
       └──renew, settle─┘◄────finished─────┘

    worker      the pump: claims, heartbeats, settles, drains; knows neither handlers nor transports
    runs        one claimed task on its way through a worker
    inprocess   the engine of one process: coroutines in slots, functions on threads, one deadline sweep
    slots, threads, sweep     its parts
    outcomes    what a handler returned or raised, as a report
    kinds       the kinds that every worker can run

A worker asks a `ports.TaskSource` and does not know whether that is the scheduler in its own process or a
server behind HTTP. Nothing here opens a store or loads a server.
"""

from mainspring.worker.inprocess import InProcessEngine
from mainspring.worker.runs import Engine, Reason, Run
from mainspring.worker.worker import Worker, WorkerSettings

__all__ = ["Engine", "InProcessEngine", "Reason", "Run", "Worker", "WorkerSettings"]
