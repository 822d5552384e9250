"""The HTTP doors: they parse, ask who is there, call the scheduler, render, and decide nothing.

    request ─► app ─► guard ─► routes ─┬─ submitting, leasing         hot
                                       ├─ tasks, dead, queues         the calm ones
                                       ├─ schedules                   tasks made by the clock
                                       ├─ workflows                   tasks that are one document
                                       ├─ explaining                  why a task is not running
                                       ├─ watching ── streaming       states, progress and logs as they come
                                       ├─ waiting                     calls that last, and their end
                                       ├─ cluster                     probes, metrics, workers
                                       └─ jobs ── dialects.s4         another system's way to say it
                          │
                          └─► openapi                                 the same table, as a document
    serving                                                           the server's HTTP/1, one write an answer

Plain ASGI, without a framework: one look-up finds a hot route, and no object is made that it does not need.
Every error, the router's own included, leaves as a problem document (RFC 9457).
"""

from mainspring.api.app import Api, create_app
from mainspring.api.door import ApiOptions

__all__ = ["Api", "ApiOptions", "create_app"]
