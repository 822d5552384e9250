"""How it all ends: nothing lost, nothing stuck, all books right; and recovery in the time promised."""

from collections.abc import Sequence
from typing import Any

from mainspring.core.lifecycle import Cause
from mainspring.core.model import FINAL, OnParentFailure, State
from mainspring.testing.checks.check import Check
from mainspring.testing.checks.lines import CALM_COUNTS_AFTER_S
from mainspring.testing.checks.model import Life
from mainspring.testing.record import Answered, Asked, Phase, Recounted, Step, Told

RECOVERED_WITHIN_US = 1_000_000
REPLACED_WITHIN_S = 1.0


class Promises(Check):
    """What a client was told is so, and stays so, but for writes that a class B store lost."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lost = 0
        self._told: set[str] = set()

    def on_told(self, event: Told) -> None:
        for task in event.tasks:
            life = self.model.lives.get(task)
            if life is None:
                self.say("told-when-stored", task, f"{event.wish} was acknowledged before it was", event.at_s)
            elif event.state is not None and event.state not in life.past:
                what = f"{event.wish} was answered {event.state.label}, which it never was"
                self.say("told-when-stored", task, what, event.at_s)
            elif event.wish in ("submit", "existing"):
                self._told.add(task)

    def at_end(self) -> None:
        for task in sorted(self._told):
            life = self.model.lives[task]
            if life.gone != "lost":
                continue
            self.lost += 1
            if not self._was_in_window(life):
                what = "an acknowledged task is gone, and was no recent write when the store failed"
                self.say("nothing-lost", task, what, life.born_s)

    def _was_in_window(self, life: Life) -> bool:
        return any(restore.taken_s <= life.born_s <= restore.at_s for restore in self.model.restores)


class Endings(Check):
    """In the end every task is final, or held by a failed parent because its rule says so."""

    def at_end(self) -> None:
        for life in self.model.lives.values():
            if not life.gone and not life.state.is_final and not self._is_held(life):
                what = f"is {life.state.label} in the end"
                self.say("everything-ends", life.id, what, life.entered_s)

    def _is_held(self, life: Life) -> bool:
        """Blocked by a parent that ended badly under the rule `block`, or that is held itself."""
        if life.state is not State.BLOCKED:
            return False
        for parent_id in life.open_parents:
            parent = self.model.life(parent_id)
            if parent is None:
                return False
            if parent.state is State.BLOCKED and self._is_held(parent):
                return True
            ended_badly = parent.state in FINAL and parent.state is not State.SUCCEEDED
            if ended_badly and life.policy.on_parent_failure is OnParentFailure.BLOCK:
                return True
        return False


class Removals(Check):
    """Only what is final is forgotten, after its retention if by a sweep, and no unfinished task needs it."""

    def on_answered(self, event: Answered) -> None:
        call = self.model.call
        assert call is not None
        if event.verb == "delete":
            lines = zip(call.args[0], event.answer, strict=True)
            self._check([task for task, refused in lines if refused is None], event)
        elif event.verb == "prune":
            self._retention = call.args[1]
        elif event.verb == "pruned":
            self._check(call.args[0], event)
            for task in call.args[0]:
                life = self.model.lives[task]
                kept_us = getattr(self._retention, f"{life.state.label}_us", None)
                if kept_us is None or life.ended_us + kept_us > event.now_us:
                    self.say("kept-long-enough", task, "forgotten before its time", event.at_s)

    def _check(self, tasks: Sequence[str], event: Answered) -> None:
        for task in tasks:
            if not self.model.lives[task].state.is_final:
                self.say("kept-long-enough", task, "forgotten though it is not final", event.at_s)
            for child_id in self.model.children.get(task, ()):
                child = self.model.life(child_id)
                if child is not None and not child.state.is_final and child_id not in tasks:
                    self.say("kept-long-enough", task, f"forgotten though {child_id} needs it", event.at_s)


class Recovery(Check):
    """In calm weather a lapsed lease is noticed within a second, and no lease of a living worker lapses."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._gone: set[str] = set()
        self._owners: dict[str, str] = {}

    def on_asked(self, event: Asked) -> None:
        self._owners[event.incarnation] = event.worker

    def on_phase(self, event: Phase) -> None:
        if event.name == "gone":
            self._gone.update(who for who, worker in self._owners.items() if worker == event.detail)

    def on_step(self, event: Step) -> None:
        calm_s = self.model.calm_s
        if calm_s is None or event.cause not in (Cause.LOSE, Cause.POISON):
            return
        life = self.model.lives[event.task]
        assert life.lease_until_us is not None
        late_us = event.now_us - life.lease_until_us
        lapsed_s = event.at_s - late_us / 1e6
        if lapsed_s < calm_s + CALM_COUNTS_AFTER_S:
            return
        if late_us > RECOVERED_WITHIN_US:
            what = f"its lease lapsed {late_us / 1e6:.3f} s before anybody noticed"
            self.say("recovered-in-time", event.task, what, event.at_s)
        if life.entered_s > calm_s and life.incarnation not in self._gone:
            owner = self._owners[life.incarnation]
            self.say("living-keep-leases", event.task, f"lost by {owner}, which lives", event.at_s)


class Books(Check):
    """Counters and indexes agree with the rows, terms rise, and everything stops when told to."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._terms: dict[int, str] = {}
        self._renewed = ("", 0.0)

    def on_recounted(self, event: Recounted) -> None:
        for difference in event.differences:
            self.say("books-agree", "", difference, event.at_s)

    def on_answered(self, event: Answered) -> None:
        if event.verb in ("audit", "inspect"):
            found = event.answer.findings if event.verb == "audit" else event.answer
            for finding in found:
                what = f"{finding.law}: {finding.subject}: {finding.detail}"
                self.say("laws-hold", "", what, event.at_s)
        if event.verb != "take_term":
            return
        term = event.answer
        if self._terms.get(term.number, term.holder) != term.holder:
            self.say("terms-rise", "", f"term {term.number} has two holders", event.at_s)
        elif term.number not in self._terms and term.number < max(self._terms, default=0):
            self.say("terms-rise", "", f"term {term.number} is new, and not the highest", event.at_s)
        self._terms[term.number] = term.holder
        self._check_failover(event, term.holder)

    def _check_failover(self, event: Answered, holder: str) -> None:
        """In calm weather a leader that dies is replaced within its time to live and a second."""
        call = self.model.call
        assert call is not None
        earlier, renewed_s = self._renewed
        calm_s = self.model.calm_s
        if calm_s is not None and renewed_s > calm_s and holder != earlier:
            waited_s = event.at_s - renewed_s
            if waited_s > call.args[1] / 1e6 + REPLACED_WITHIN_S:
                what = f"{holder} leads {waited_s:.2f} s after {earlier} last renewed"
                self.say("leader-in-time", "", what, event.at_s)
        if holder == call.args[0]:
            self._renewed = holder, event.at_s

    def on_phase(self, event: Phase) -> None:
        if event.name == "closing" and event.detail:
            self.say("stops-in-order", "", event.detail, event.at_s)
        if event.name == "end" and event.detail:
            self.say("no-stray-error", "", event.detail, event.at_s)
