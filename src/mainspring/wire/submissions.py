"""Submissions of users' own transactions: documents that nobody has looked at before they were committed.

A refusal has nobody to go to, so reading one never fails: what means nothing is left out, and the first
complaint is told beside it.
"""

import msgspec

from mainspring.core.model import Lane, NewTask
from mainspring.errors import InvalidInput
from mainspring.ports import Submission
from mainspring.wire.bounds import (
    BOUNDS,
    DEFAULT_KIND,
    DEFAULT_PAYLOAD,
    DEFAULT_QUEUE,
    DEFAULT_TENANT,
    Bounds,
)
from mainspring.wire.fields import priority
from mainspring.wire.tasks import TASK, new_task

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.encode


def read_submission(submission: Submission, bounds: Bounds = BOUNDS) -> tuple[NewTask, InvalidInput | None]:
    """The task as the door would have taken it; or what is left of it, and why the door would not."""
    try:
        return _read(submission.id, submission.document, bounds), None
    except InvalidInput as error:
        return _salvaged(submission, error, bounds), error


def bare_task(submission: Submission) -> NewTask:
    """A task of which nothing is left but its id."""
    lane = Lane(DEFAULT_QUEUE, DEFAULT_KIND, DEFAULT_TENANT, priority(None))
    return NewTask(submission.id, lane, DEFAULT_PAYLOAD)


def _read(id: str, document: bytes, bounds: Bounds) -> NewTask:
    given = TASK.read(document)
    if given.id not in (None, id):
        raise InvalidInput("id", "differs from the row's", "the row's id, or none")
    given.id = id
    return new_task(given, lambda: id, bounds)


def _salvaged(submission: Submission, error: InvalidInput, bounds: Bounds) -> NewTask:
    """Leave out what is complained about, until nothing is."""
    try:
        members = _members.decode(submission.document)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return bare_task(submission)
    while members:
        field = error.field.partition(".")[0].partition("[")[0]
        if members.pop(field, None) is None and members.pop("payload", None) is None:
            break  # it is about no member: what is wrong inside of a payload is named as it is there
        try:
            return _read(submission.id, _encode(members), bounds)
        except InvalidInput as next_error:
            error = next_error
    return bare_task(submission)
