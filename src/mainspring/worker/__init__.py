"""Workers: they claim tasks from a source, run them, and report how each run ended.

    source ──claim──► Worker ──start──► engine ──► handlers
       ▲                │                  │
       └──renew, settle─┘◄────finished─────┘

    worker        the pump: claims, starts, drains; knows neither handlers nor transports
    held, outbox  its leases and their heartbeat; what it has to report
    runs          one claimed task on its way through a worker, and the seam to the engines
    inprocess     the engine of one process: coroutines in slots, functions on threads, one deadline sweep
    execution     one run in it, and what its context asks for
    recording     what runs record and ask, to the source and back; runlog: a log that never holds up its run
    supervisor    the engine of child processes: its fleet of runners, and what their deaths mean
    runner        such a child; frames and board are what it shares with its supervisor
    warden        ends every child when the worker is killed
    kinds         what workers run by themselves, and what is allowed beside it; loading: a user's application
    command       shell commands
    http_call     HTTP calls: http_request is what they ask for; http_guard connects, where that is allowed
    reach         which addresses those are
    files         file operations below a root; confined: paths that cannot leave it
    payloads      what the payloads of these kinds have in common
    outcomes      what a handler returned or raised, as a report; places: where it was raised
    sources       servers behind HTTP

A worker asks a `ports.TaskSource` and does not know whether that is the scheduler in its own process or a
server behind HTTP. Nothing here opens a store or loads a server.
"""

from mainspring.worker.inprocess import InProcessEngine
from mainspring.worker.runs import Engine, Reason, Run
from mainspring.worker.worker import Worker, WorkerSettings

__all__ = ["Engine", "InProcessEngine", "Reason", "Run", "Worker", "WorkerSettings"]
