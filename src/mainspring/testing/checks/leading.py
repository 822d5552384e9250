"""Leadership: nobody believes in a term that is over, and no decision is written under it."""

from typing import Any, NamedTuple

from mainspring.election.store import TTL_S
from mainspring.ports import Refused, Term
from mainspring.testing.checks.check import Check
from mainspring.testing.record import Answered, Called, Led, Restored


class Now(NamedTuple):
    """The term as the store has it, by its own clock."""

    holder: str
    number: int
    expires_us: int


class Terms(Check):
    """Belief is checked against what the store has granted, by the time that passes for all; decisions are
    checked against the store's own row and clock."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._now: Now | None = None
        self._granted_until_s: dict[tuple[str, int], float] = {}

    def on_restored(self, event: Restored) -> None:
        self._now = None
        if event.term is not None:
            self._take(event.term, event.now_us)

    def _take(self, term: Term, now_us: int) -> None:
        self._now = Now(term.holder, term.number, now_us + term.expires_in_us)

    def on_answered(self, event: Answered) -> None:
        call = self.model.call
        assert call is not None
        if event.verb == "take_term":
            term = event.answer
            if self._now is not None and self._now.number != term.number:
                self.see("term.changed")
            self._take(term, event.now_us)
            if term.holder == call.args[0]:
                self._granted_until_s[term.holder, term.number] = event.at_s + TTL_S
        elif event.verb == "resign" and self._now is not None and self._now[:2] == call.args:
            self._now = self._now._replace(expires_us=event.now_us)
            self.see("term.resigned")
        elif event.verb == "fire" and call.args[1] is not None:
            self._fired(call, event)

    def _fired(self, call: Called, event: Answered) -> None:
        now, number = self._now, call.args[1]
        stands = now is not None and now.number == number and now.expires_us > event.now_us
        answers = event.answer.answers
        refused = any(isinstance(one, Refused) and one.code == "deposed" for one in answers)
        if answers and stands == refused:
            what = f"term {number} {'stands' if stands else 'is over'}, and its decision was "
            self.say("term-is-checked", "", what + ("refused" if refused else "written"), event.at_s)

    def on_led(self, event: Led) -> None:
        until_s = self._granted_until_s.get((event.node, event.term), 0.0)
        if event.at_s > until_s:
            what = f"{event.node} believes that it leads {event.at_s - until_s:.2f} s after its term ran out"
            self.say("leader-knows", "", what, event.at_s)
