"""How it all ends: nothing lost, nothing stuck, all books right; and recovery in the time promised."""

from typing import Any

from mainspring.core.lifecycle import Cause
from mainspring.core.model import FINAL, OnParentFailure, State
from mainspring.testing.checks.check import Check
from mainspring.testing.checks.lines import CALM_COUNTS_AFTER_S
from mainspring.testing.checks.model import Life
from mainspring.testing.record import Answered, Asked, Phase, Recounted, Step, Told

RECOVERED_WITHIN_US = 1_000_000


class Promises(Check):
    """What a client was told is so, and stays so, but for writes that a class B store lost."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
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
            if life.gone == "lost" and not self._was_in_window(life):
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

    def on_recounted(self, event: Recounted) -> None:
        for difference in event.differences:
            self.say("books-agree", "", difference, event.at_s)

    def on_answered(self, event: Answered) -> None:
        if event.verb != "take_term":
            return
        term = event.answer
        if self._terms.get(term.number, term.holder) != term.holder:
            self.say("terms-rise", "", f"term {term.number} has two holders", event.at_s)
        elif term.number not in self._terms and term.number < max(self._terms, default=0):
            self.say("terms-rise", "", f"term {term.number} is new, and not the highest", event.at_s)
        self._terms[term.number] = term.holder

    def on_phase(self, event: Phase) -> None:
        if event.name == "closing" and event.detail:
            self.say("stops-in-order", "", event.detail, event.at_s)
        if event.name == "end" and event.detail:
            self.say("no-stray-error", "", event.detail, event.at_s)
