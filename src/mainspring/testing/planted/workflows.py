"""The store forgets what a workflow's callbacks, retries and retention are about."""

from typing import Any

from mainspring.core.model import OnParentFailure, State
from mainspring.core.workflows import NOTHING, Return
from mainspring.stores.memory import moves, tending, workflows
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.tables import Tables
from mainspring.testing.planted.planting import Bug, bug, instead


def _without_waiting(returns: Any) -> Any:
    return lambda *args: [Return(line.key, ()) for line in returns(*args)]


def _forget_ends(leave: Any) -> Any:
    def wrong(tables: Tables, row: Any, workflow: str) -> None:
        leave(tables, row, workflow)
        if workflow in tables.workflows:
            tables.workflows[workflow].forgotten = NOTHING

    return wrong


def _cancel_callbacks_too(cancel: Any) -> Any:
    return lambda call, workflow, callbacks: cancel(call, workflow, True)


WORKFLOW_BUGS: tuple[Bug, ...] = (
    bug("on_failure runs though nothing failed", moves, "may_run", instead(lambda rule, parents: True)),
    bug(
        "on_failure never runs",
        moves,
        "may_run",
        instead(lambda rule, parents: rule is not OnParentFailure.ONLY),
    ),
    bug("nobody waits for a parent that runs again", Call, "wait_again", instead(lambda call, row: None)),
    bug("a retry forgets the doomed", workflows, "is_doomed", instead(lambda state, error: False)),
    bug(
        "a retry brings back what somebody cancelled",
        workflows,
        "is_doomed",
        instead(lambda state, error: state is State.CANCELLED),
    ),
    bug("a retry lets children go at once", workflows, "returns", _without_waiting),
    bug("cancelling members cancels callbacks", workflows, "cancel_workflow", _cancel_callbacks_too),
    bug("a workflow forgets the ends of what is gone", Tables, "_leave_workflow", _forget_ends),
    bug("retention takes a workflow apart", tending, "is_past", instead(lambda *args: True)),
)
