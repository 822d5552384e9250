"""Lines and answers about workflows: what a group says of itself, and what is read of its tasks."""

from collections.abc import Mapping, Sequence

import msgspec

from mainspring.core.model import State
from mainspring.core.order import LaneHead
from mainspring.core.workflows import Callback, Tally, WorkflowState, verdict


class NewWorkflow(msgspec.Struct, frozen=True):
    """What makes a group a workflow. `callbacks` name tasks of the group; all others are its members.
    `labels` are a JSON object."""

    id: str
    name: str | None = None
    labels: bytes | None = None
    callbacks: Mapping[Callback, str] = {}


class CallbackRecord(msgspec.Struct):
    """A callback as it stands. `state` is `None` once the task has been forgotten; `spared`: it ended
    cancelled because nothing had failed."""

    id: str
    state: State | None
    spared: bool = False


class WorkflowRecord(msgspec.Struct):
    """A workflow and how its tasks stand. `members` counts all that it ever had, those that have been
    forgotten since in the state in which they ended. Callbacks are not among them."""

    id: str
    created_at_us: int
    members: Tally
    name: str | None = None
    labels: bytes | None = None
    callbacks: Mapping[Callback, CallbackRecord] = {}

    @property
    def state(self) -> WorkflowState:
        return verdict(self.members)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left to run, callbacks included."""
        ends = [callback.state for callback in self.callbacks.values()]
        return not self.members.unfinished and all(state is None or state.is_final for state in ends)


class Member(msgspec.Struct):
    """One task of a workflow, without what it carries. `callback` is `None` for a member."""

    id: str
    name: str | None
    kind: str
    state: State
    callback: Callback | None = None
    attempt: int = 0
    retries: int = 0
    run_at_us: int | None = None
    started_at_us: int | None = None
    finished_at_us: int | None = None
    worker: str | None = None
    depends_on: tuple[str, ...] = ()


class WorkflowGraph(msgspec.Struct):
    """A workflow with its tasks as of one moment, parents before children, callbacks last. Tasks that have
    been forgotten are missing."""

    now_us: int
    record: WorkflowRecord
    tasks: Sequence[Member]


class WorkflowQuery(msgspec.Struct):
    """A filter over workflows, newest first. Empty `states` means every state."""

    states: frozenset[WorkflowState] = frozenset()
    name: str | None = None
    label: tuple[str, str] | None = None
    limit: int = 100
    cursor: str | None = None


class WorkflowPage(msgspec.Struct):
    """Newest first. `cursor` is `None` only after the last match; a page may be shorter than asked for, even
    empty: a call counts a bounded number of tasks."""

    workflows: list[WorkflowRecord]
    cursor: str | None = None


class Retried(msgspec.Struct):
    """What a retry of a workflow's failures brought back. Of the `count` tasks, `waiting` wait for parents.
    `ready` are lanes that gained ready tasks."""

    count: int
    waiting: int = 0
    ready: Sequence[LaneHead] = ()


MEMBERS_COUNTED = 50_000  # about so many tasks a page of workflows counts at most
