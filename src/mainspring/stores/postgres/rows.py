"""Records of the database as the values of the port."""

import msgspec
from asyncpg import Record

from mainspring.core.model import Lane, Lease, State, Task

# The prototype has neither schedules nor workflows.
_ABSENT = {"schedule_id", "fire_at_us", "workflow"}
_PLAIN = [name for name in Task.__struct_fields__ if name not in {"lane", "state", "depends_on"} | _ABSENT]
_LEASED = [name for name in Lease.__struct_fields__ if name not in {"task", "lane"} | _ABSENT]
_ids = msgspec.json.Decoder(tuple[str, ...])


def encode_ids(ids: tuple[str, ...]) -> bytes | None:
    return msgspec.json.encode(ids) if ids else None


def decode_ids(stored: bytes | None) -> tuple[str, ...]:
    return _ids.decode(stored) if stored else ()


def lane_of(record: Record) -> Lane:
    return Lane(record["queue"], record["kind"], record["tenant"], record["priority"], record["key"])


def task_of(record: Record) -> Task:
    """A task with its lane's columns."""
    return Task(
        lane=lane_of(record),
        state=State(record["state"]),
        depends_on=decode_ids(record["depends_on"]),
        **{name: record[name] for name in _PLAIN},
    )


def lease_of(record: Record, lane: Lane) -> Lease:
    return Lease(task=record["id"], lane=lane, **{name: record[name] for name in _LEASED})
