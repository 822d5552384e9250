"""Bugs put in on purpose: if the checks did not catch each of them, their silence would mean nothing.

    rules     the lifecycle decides wrongly
    stores    the store forgets a guard
    workflows the store forgets what callbacks, retries and retention are about
    schedules schedules are decided about, or written, wrongly
    progress  what runs leave behind, limits and replays are mixed up
    nodes     a scheduler or a worker takes a short cut

A bug replaces one or two functions while its `with` block lasts. The list is fixed:
`mainspring simulate --planted` runs each until a seed shows it.
"""

from mainspring.testing.planted.nodes import NODE_BUGS
from mainspring.testing.planted.planting import Bug
from mainspring.testing.planted.progress import PROGRESS_BUGS
from mainspring.testing.planted.rules import RULE_BUGS
from mainspring.testing.planted.schedules import SCHEDULE_BUGS
from mainspring.testing.planted.stores import STORE_BUGS
from mainspring.testing.planted.workflows import WORKFLOW_BUGS

__all__ = ["BUGS", "Bug"]

BUGS: tuple[Bug, ...] = (*RULE_BUGS, *STORE_BUGS, *SCHEDULE_BUGS, *WORKFLOW_BUGS, *PROGRESS_BUGS, *NODE_BUGS)
