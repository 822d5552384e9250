"""Submits of plain tasks that are ready at once, as most are: their request is one of its own, of which a
script makes what is stored without looking into each."""

from collections.abc import Sequence

from mainspring.core.model import Lane, NewTask, OnParentFailure
from mainspring.ports import Group
from mainspring.stores.redis.packing import FIELDS, exact, lane_text, pack

# The head of a ready task that nobody has claimed, up to its rare fields: state, lane and token as one text;
# VERSION, CREATED and ORDINAL; what is between them and SEQ; SEQ; the rest.
READY_FORM = ">c17I8I8I8c43I8c28"
READY_MIDDLE = bytes(40) + bytes((OnParentFailure.CANCEL, 0, 0))
READY_END = bytes(28)


def is_ready(group: Group) -> bool:
    """Whether its tasks are plain, and ready at once."""
    if group.idempotency is not None or group.workflow is not None:
        return False
    return not any(
        task.delay_us > 0 or task.run_at_us is not None or task.deadline_us is not None
        or task.depends_on or task.unique is not None
        for task in group.tasks
    )  # fmt: skip


def packed_ready(groups: Sequence[Group]) -> tuple[bytes, bytes]:
    """Groups of which each `is_ready`: lanes, their lines, lengths; and the blob of opaque strings."""
    blobs = [pack((task.payload, task.policy, task.labels)) for group in groups for task in group.tasks]
    lanes: dict[Lane, int] = {}
    lines = [_group(group.tasks, lanes, blobs) for group in groups]
    named = [(lane_text(lane), lane.queue) for lane in lanes]
    return pack((named, lines, [len(blob) for blob in blobs])), b"".join(blobs)


def _group(tasks: Sequence[NewTask], lanes: dict[Lane, int], blobs: list[bytes]) -> tuple[object, ...]:
    """Ids; the place of a lane and how many tasks in a row are of it; the numbers of rare fields' texts."""
    runs: list[int] = []
    rare: dict[int, int] = {}
    before: Lane | None = None
    for place, task in enumerate(tasks, 1):
        if task.lane != before:
            before = task.lane
            runs += (lanes.setdefault(before, len(lanes) + 1), 0)
        runs[-1] += 1
        if task.timeout_us is not None or task.name is not None:
            blobs.append(_rare(task))
            rare[place] = len(blobs)
    return [task.id for task in tasks], runs, rare


def _rare(task: NewTask) -> bytes:
    """The rare fields of its head that a plain task may have."""
    fields: dict[int, object] = {}
    if task.timeout_us is not None:
        fields[FIELDS["TIMEOUT"]] = exact(task.timeout_us)
    if task.name is not None:
        fields[FIELDS["NAME"]] = task.name
    return pack(fields)
