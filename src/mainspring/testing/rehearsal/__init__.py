"""A span of time, rehearsed: what all schedules together will do to a cluster, before they do it.

    schedules ─► Rehearsal ─► Report ─► Expectation    `max_running<50`: for continuous integration
                    │
                    ├─ the scheduler, the firer and the memory store, as a node runs them
                    └─ workers of which only the number of slots and the tasks' durations are known

Time jumps from one event to the next, so a month takes seconds; nothing is random, so the same question has
the same answer. What is not rehearsed: pauses and limits of queues, and the time that claiming takes.
"""

from mainspring.testing.rehearsal.engine import Assumptions, rehearse
from mainspring.testing.rehearsal.expectations import Expectation, parse_expectation
from mainspring.testing.rehearsal.report import Event, Report, names

__all__ = ["Assumptions", "Event", "Expectation", "Report", "names", "parse_expectation", "rehearse"]
