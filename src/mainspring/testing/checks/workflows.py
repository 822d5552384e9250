"""Workflows: callbacks run when they should, a retry brings back all that it should and nothing else, and
retention takes no part of a workflow before the rest."""

from collections import Counter
from typing import Any

import msgspec

from mainspring.core.dag import Effect, effect
from mainspring.core.lifecycle import Cause
from mainspring.core.model import OnParentFailure, State
from mainspring.ports import Moved, Refused
from mainspring.testing.checks.check import Check
from mainspring.testing.checks.model import Life
from mainspring.testing.record import Answered, Restored, Step
from mainspring.verbs import Retried


class Callbacks(Check):
    """What is there for failures alone runs after one, and is spared without; cancelling a workflow leaves
    its callbacks to their rules."""

    def on_step(self, event: Step) -> None:
        life = self.model.lives.get(event.task)
        if life is None:
            return
        if life.id in self.model.callbacks:
            self.see("callback.ran", event.cause is Cause.CLAIM)
            self.see("callback.spared", event.cause is Cause.SPARE)
        if life.policy.on_parent_failure is OnParentFailure.ONLY:
            self._check_outcome(event, life)
        call = self.model.call
        if event.cause is not Cause.CANCEL or call is None or call.verb != "cancel_workflow":
            return
        if not call.args[1] and life.id in self.model.callbacks:
            self.say("callbacks-kept", life.id, "a callback was cancelled with the members", event.at_s)

    def _check_outcome(self, event: Step, life: Life) -> None:
        parents = [self.model.life(parent) for parent in life.new.depends_on]
        known = [parent for parent in parents if parent is not None]
        failed = any(parent.state.is_final and parent.state is not State.SUCCEEDED for parent in known)
        if event.cause is Cause.UNBLOCK and not failed:
            self.say("callbacks-by-outcome", life.id, "it runs though nothing failed", event.at_s)
        if event.cause is Cause.SPARE and failed:
            self.say("callbacks-by-outcome", life.id, "it was spared though a task failed", event.at_s)


class Retries(Check):
    """All that failed comes back, with all that was cancelled for no other reason; each waits for what it
    waited for at first."""

    def on_step(self, event: Step) -> None:
        call = self.model.call
        if event.cause is not Cause.REOPEN or call is None:
            return
        life = self.model.lives[event.task]
        if call.verb != "retry_workflow" or self.model.workflow_of.get(life.id) != call.args[0]:
            self.say("retry-is-asked-for", life.id, f"{call.verb} brought it back", event.at_s)
        if event.old is State.CANCELLED and life.cause is Cause.CANCEL:
            self.say("retry-as-due", life.id, "it came back though somebody had cancelled it", event.at_s)
        waits = self.model.waits_for(life)
        if event.new is not State.BLOCKED and waits:
            self.say("parents-first", life.id, f"it came back without {', '.join(waits)}", event.at_s)
        if event.new is State.BLOCKED and not waits:
            self.say("retry-as-due", life.id, "it waits for nothing", event.at_s)

    def on_answered(self, event: Answered) -> None:
        call = self.model.call
        self.see("workflow.cancelled", event.verb == "cancel_workflow" and isinstance(event.answer, Moved))
        self.see("workflow.retried", isinstance(event.answer, Retried) and event.answer.count)
        if event.verb != "retry_workflow" or call is None or isinstance(event.answer, Refused):
            return
        for task in self.model.workflows.get(call.args[0], ()):
            life = self.model.life(task)
            if life is not None and self._is_left_behind(life):
                self.say("retry-as-due", task, f"it was left {life.state.label}", event.at_s)

    def _is_left_behind(self, life: Life) -> bool:
        rule = life.policy.on_parent_failure
        doomed = life.state is State.CANCELLED and life.cause is Cause.DOOM
        if rule is OnParentFailure.ONLY or not (doomed or life.state is State.FAILED):
            return False
        parents = [self.model.life(parent) for parent in life.new.depends_on]
        return all(
            parent is not None and not (parent.state.is_final and effect(parent.state, rule) is Effect.DOOM)
            for parent in parents
        )


class Together(Check):
    """Retention takes the tasks of a workflow when each of them may go."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._retention: Any = None

    def on_restored(self, event: Restored) -> None:
        self._retention = None

    def on_answered(self, event: Answered) -> None:
        call = self.model.call
        assert call is not None
        if event.verb == "prune":
            self._retention = call.args[1]
        elif event.verb == "pruned" and self._retention is not None:
            for task in call.args[0]:
                for mate in self.model.workflows.get(self.model.workflow_of.get(task, ""), ()):
                    life = self.model.life(mate)
                    if life is not None and not self._may_go(life, event.now_us):
                        what = f"forgotten before {mate} of its workflow"
                        self.say("kept-together", task, what, event.at_s)

    def _may_go(self, life: Life, now_us: int) -> bool:
        kept_us = self._retention.by_state.get(life.state)
        return kept_us is not None and life.ended_us + kept_us <= now_us


class Tallies(Check):
    """What is told of a workflow is a count of its members, those included that are forgotten."""

    def on_answered(self, event: Answered) -> None:
        call = self.model.call
        if event.verb != "get_workflow" or call is None:
            return
        lives = [self.model.lives[task] for task in self.model.workflows.get(call.args[0], ())]
        there = [life for life in lives if not life.gone]
        record = event.answer
        if record is None:
            if there:
                self.say("workflow-told", there[0].id, f"workflow {call.args[0]} is gone", event.at_s)
            return
        members = [life for life in lives if life.gone != "lost" and life.id not in self.model.callbacks]
        counted = Counter("skipped" if life.cause is Cause.SPARE else life.state.label for life in members)
        told = {state: count for state, count in msgspec.structs.asdict(record.members).items() if count}
        self.see("workflow.told_of_forgotten", any(life.gone for life in members))
        if told != counted:
            what = f"workflow {record.id} is told with {told}, it has {dict(counted)}"
            self.say("workflow-told", lives[0].id, what, event.at_s)
        for callback in record.callbacks.values():
            life = self.model.life(callback.id)
            if callback.state is not (None if life is None else life.state):
                self.say("workflow-told", callback.id, f"is told as {callback.state}", event.at_s)
