"""The Scheduler: the one service that every door calls.

    door ─► Scheduler ─┬─ submitting ──┐
                       ├─ claiming ────┼─► Batcher ─► Store.exchange      the hot path (fairness: accounts)
                       ├─ settling ────┘
                       ├─ schedules    making, changing and reading schedules ─► Store
                       │                 (rescheduling: a patch; firing: decisions, for the firer too)
                       ├─ workflows    reading, cancelling and retrying workflows ─► Store
                       ├─ bulk         one action for all that match a filter ─► Store
                       ├─ explaining   why a task is not running ─► Store
                       ├─ progress     what running tasks record, and everybody who watches ─► Store
                       ├─ finals       who waits for the end of which task (elsewhere: what others wrote)
                       ├─ intake       what was submitted in users' own transactions becomes tasks
                       └─ editing, querying, controlling ─► Store          the calm path

It decides nothing that `core` has a rule for, and stores nothing that a crash could lose.
"""

from mainspring.scheduler.editing import Patch
from mainspring.scheduler.explaining import Explanation
from mainspring.scheduler.rescheduling import SchedulePatch
from mainspring.scheduler.schedules import Schedules
from mainspring.scheduler.service import ClusterInfo, Scheduler, SchedulerSettings

__all__ = [
    "ClusterInfo",
    "Explanation",
    "Patch",
    "SchedulePatch",
    "Scheduler",
    "SchedulerSettings",
    "Schedules",
]
