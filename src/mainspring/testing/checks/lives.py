"""The life of a task: legal steps, honest counters, and outcomes that are what the handler said."""

from mainspring.core.lifecycle import KEEPS_PLACE, Cause, allows
from mainspring.core.model import FINAL, State
from mainspring.testing.checks.check import Check
from mainspring.testing.checks.model import Life
from mainspring.testing.record import Ran, Step

_MISHAPS = (Cause.RETRY, Cause.FAIL, Cause.LOSE, Cause.POISON, Cause.RELEASE, Cause.SNOOZE)


class Steps(Check):
    """Every step starts where the last one ended, and is in the table. What is final stays so, but for a
    replay by hand."""

    def on_step(self, event: Step) -> None:
        life = self.model.life(event.task)
        state = None if life is None else life.state
        if state is not event.old or not allows(event.old, event.cause, event.new):
            what = f"{event.cause.name} took it from {_label(state)} to {_label(event.new)}"
            self.say("legal-step", event.task, what, event.at_s)


class Counters(Check):
    """Attempts are counted by the claim, and given back by what was no attempt; retries and losses by
    failures and lapses, within their limits."""

    def on_step(self, event: Step) -> None:
        life = self.model.lives.get(event.task)
        if life is None or event.cause is Cause.SUBMIT:
            return
        found = event.attempt, event.retries, event.losses, event.snoozes
        if found not in _expected(life, event):
            was = life.attempt, life.retries, life.losses, life.snoozes
            what = f"{event.cause.name} took attempt, retries, losses, snoozes from {was} to {found}"
            self.say("counters", event.task, what, event.at_s)
        self._limits(life, event)

    def _limits(self, life: Life, event: Step) -> None:
        policy = life.policy
        if event.cause is Cause.RETRY and event.retries > policy.max_retries:
            what = f"retry {event.retries} of {policy.max_retries}"
            self.say("max-retries", event.task, what, event.at_s)
        if event.cause is Cause.LOSE and event.losses >= policy.max_losses:
            what = f"goes on after loss {event.losses} of {policy.max_losses}"
            self.say("poison-stops", event.task, what, event.at_s)
        if event.cause is Cause.POISON and event.losses < policy.max_losses:
            what = f"is given up after loss {event.losses} of {policy.max_losses}"
            self.say("poison-stops", event.task, what, event.at_s)
        if event.cause is Cause.LOSE and event.losses == 1 and event.new is not State.READY:
            self.say("first-loss-at-once", event.task, "it waits after its first loss", event.at_s)
        if event.cause is Cause.FAIL and event.retries < policy.max_retries and self._may_pass(life):
            what = f"failed for good after {event.retries} of {policy.max_retries} retries"
            self.say("retries-given", event.task, what, event.at_s)

    def _may_pass(self, life: Life) -> bool:
        """Whether the run ended by an error that every policy of the workload retries."""
        word = self.model.ended_as(life.id, life.token)
        return word is not None and word.what == "raised" and life.act in ("flaky", "again")


def _expected(life: Life, event: Step) -> list[tuple[int, int, int, int]]:
    attempt, retries, losses, snoozes = life.attempt, life.retries, life.losses, life.snoozes
    same = attempt, retries, losses, snoozes
    if event.cause is Cause.CLAIM:
        return [(attempt + 1, retries, losses, snoozes)]
    if event.cause is Cause.RETRY:
        return [(attempt, retries + 1, losses, snoozes)]
    if event.cause in (Cause.LOSE, Cause.POISON):
        return [(attempt, retries, losses + 1, snoozes)]
    if event.cause is Cause.RELEASE:
        return [(attempt - 1, retries, losses, snoozes)]
    if event.cause is Cause.SNOOZE:
        return [(attempt - 1, retries, losses, snoozes + 1)]
    if event.cause is Cause.REPLAY or (event.cause is Cause.REOPEN and event.old in FINAL):
        return [(0, 0, 0, 0)]
    if event.cause is Cause.CANCEL and event.old is State.RUNNING:
        # A lease that was never seen by its worker gives its attempt back, cancelled or not.
        return [same, (attempt - 1, retries, losses, snoozes)]
    return [same]


class Cancels(Check):
    """A task whose cancellation was asked for is not run again; a success that came first stays one."""

    def on_step(self, event: Step) -> None:
        life = self.model.lives.get(event.task)
        if life is None or event.old is not State.RUNNING:
            return
        if life.cancel_wanted and event.cause in _MISHAPS:
            what = f"{event.cause.name} in spite of the cancellation"
            self.say("cancel-sticks", event.task, what, event.at_s)
        call = self.model.call
        if event.cause is Cause.CANCEL and call is not None and call.verb == "exchange":
            lines = [line for line in call.args[0].settles if line.task == event.task]
            if any(line.token == life.token and line.change.cause is Cause.SUCCEED for line in lines):
                self.say("success-stays", event.task, "a success was stored as cancelled", event.at_s)


class Truth(Check):
    """A run's stored outcome is what its handler's diary says, result and all."""

    def on_step(self, event: Step) -> None:
        call = self.model.call
        if event.old is not State.RUNNING or call is None or call.verb != "exchange":
            return
        life = self.model.lives[event.task]
        word = self.model.ended_as(life.id, life.token)
        if not _agree(event, word, life):
            said = "nothing" if word is None else word.what
            what = f"stored as {event.cause.name}, but the handler's diary says {said}"
            self.say("truthful-outcome", event.task, what, event.at_s)
        elif event.cause is Cause.SUCCEED and word is not None and event.result != word.value:
            self.say("truthful-outcome", event.task, "the stored result is another one", event.at_s)


def _agree(event: Step, word: Ran | None, life: Life) -> bool:
    said = None if word is None else word.what
    has_limit = life.new.timeout_us is not None or life.deadline_us is not None
    if event.cause is Cause.SUCCEED:
        return said == "ok"
    if event.cause is Cause.SNOOZE:
        return said == "snoozed"
    if event.cause in (Cause.RETRY, Cause.FAIL):
        # The handler failed, or the run went over its limit in time, whatever it said later.
        return said == "raised" or has_limit
    if event.cause is Cause.RELEASE:
        # A handler that would not stop was given up, and what it said later counts for nothing.
        return said in (None, "interrupted") or life.act == "stubborn"
    if event.cause is Cause.CANCEL:
        # The wish may have been lost by the store after the worker had heard of it.
        return life.cancel_told or said == "quit"
    return True


class Places(Check):
    """A place in line is new for a task that becomes ready, and kept by one whose run was no fault of its."""

    _last = 0

    def on_step(self, event: Step) -> None:
        life = self.model.lives.get(event.task)
        if event.new is not State.READY or event.seq is None:
            return
        if event.cause in KEEPS_PLACE and life is not None and life.seq is not None:
            if event.seq != life.seq:
                self.say("place-kept", event.task, f"{event.cause.name} sent it back in line", event.at_s)
        elif event.seq <= self._last:
            self.say("place-kept", event.task, f"{event.cause.name} let it jump the queue", event.at_s)
        else:
            self._last = event.seq


def _label(state: State | None) -> str:
    return "nothing" if state is None else state.label
