"""The task that each fire of a schedule makes."""

import msgspec

from mainspring.core.model import Lane, NewTask, OnParentFailure, decode_policy, encode_policy
from mainspring.core.schedules import Start


class Template(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the tasks of a schedule have in common. `policy` as `encode_policy` writes it, `payload` and
    `labels` JSON text."""

    lane: Lane
    payload: bytes = b"null"
    policy: bytes | None = None
    timeout_us: int | None = None
    labels: bytes | None = None
    name: str | None = None


def task_for(template: Template, start: Start) -> NewTask:
    """The task of one fire. What it waits for may end in whatever way."""
    policy = template.policy
    if start.waits_for:
        waiting = msgspec.structs.replace(decode_policy(policy), on_parent_failure=OnParentFailure.RUN)
        policy = encode_policy(waiting)
    return NewTask(
        id=start.task,
        lane=template.lane,
        payload=template.payload,
        run_at_us=start.fire.run_us,
        policy=policy,
        timeout_us=template.timeout_us,
        depends_on=start.waits_for,
        labels=template.labels,
        name=template.name,
    )
