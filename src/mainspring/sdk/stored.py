"""What a scheduler's answer to a submit means to the submitter."""

from collections.abc import Sequence

from mainspring.errors import Gone
from mainspring.ports import Accepted, Existing, Group, Refused
from mainspring.wire.problems import refusal


def stored_ids(group: Group, answer: Accepted | Existing | Refused) -> Sequence[str]:
    """The ids of the tasks that stand for the group's. Raises why it was refused, and `Gone` if what an
    idempotency key had made has been deleted since."""
    if isinstance(answer, Refused):
        raise refusal(answer, answer.row if len(group.tasks) > 1 else None)
    if isinstance(answer, Existing):
        if len(answer.tasks) < len(group.tasks):
            raise Gone("of the tasks made under this idempotency key some have been deleted")
        return [task.id for task in answer.tasks]
    found = answer.existing
    return [found[row].id if row in found else task.id for row, task in enumerate(group.tasks)]
