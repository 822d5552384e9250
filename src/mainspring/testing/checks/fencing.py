"""Leases: who holds what, and that nobody else's word counts."""

from collections import Counter
from typing import Any

from mainspring.core.lifecycle import Cause
from mainspring.core.model import State
from mainspring.ports import Answer, Renewal
from mainspring.testing.checks.check import Check
from mainspring.testing.record import Answered, Called, Restored, Step

_WRITTEN = (Answer.OK, Answer.CANCEL)


class Tokens(Check):
    """A claim, or whatever else fences a holder, mints a token above all that the task ever had."""

    def on_step(self, event: Step) -> None:
        life = self.model.lives.get(event.task)
        if life is None or event.cause is Cause.SUBMIT:
            return
        mints = event.cause is Cause.CLAIM or event.token != life.token
        if mints and event.token <= life.top_token:
            what = f"{event.cause.name} has token {event.token}, not above {life.top_token}"
            self.say("token-rises", event.task, what, event.at_s)


class Fences(Check):
    """A line counts if its token is the running row's, and changes nothing otherwise."""

    _expected: list[tuple[Any, bool]]
    _standing: set[str]

    def on_called(self, event: Called) -> None:
        if event.verb == "exchange":
            self._expected = self._settles(event)
        elif event.verb == "renew":
            lines = [held for renewal in event.args[0] for held in renewal.held]
            self._expected = [(line, self._holds(line)) for line in lines]
        elif event.verb == "append":
            self._expected = [(line, self._holds(line)) for line in event.args[0]]

    def _settles(self, event: Called) -> list[tuple[Any, bool]]:
        expected, done = [], set()
        self._standing = set()
        for line in event.args[0].settles:
            # A line without a lane is a question: its node found nobody to hold the lease.
            counts = line.lane_id != 0 and line.task not in done and self._holds(line)
            if counts and line.only_if_lapsed:
                until_us = self.model.lives[line.task].lease_until_us
                counts = until_us is not None and until_us <= event.now_us
                if not counts:
                    self._standing.add(line.task)
            if counts:
                done.add(line.task)
            expected.append((line, counts))
        return expected

    def _holds(self, line: Any) -> bool:
        life = self.model.life(line.task)
        return life is not None and life.state is State.RUNNING and life.token == line.token

    def on_answered(self, event: Answered) -> None:
        if event.verb not in ("exchange", "renew", "append"):
            return
        answers = event.answer
        if event.verb == "exchange":
            answers = event.answer.settles
        elif event.verb == "renew":
            answers = [one for several in event.answer for one in several]
        for (line, counts), answer in zip(self._expected, answers, strict=True):
            if (answer in _WRITTEN) != counts:
                self._complain(event, line, counts, answer)
        for task in event.meddled:
            self.say("refused-changes-nothing", task, f"a refused {event.verb} changed the row", event.at_s)

    def _complain(self, event: Answered, line: Any, counts: bool, answer: Answer) -> None:
        what = f"{event.verb} with token {line.token} was answered {answer.name}"
        if counts:
            self.say("holder-is-heard", line.task, what + ", though it is the holder's", event.at_s)
        elif getattr(line, "only_if_lapsed", False) and line.task in self._standing:
            self.say("lease-stands", line.task, what + ": a lease that stands was ended", event.at_s)
        else:
            self.say("only-holder-is-heard", line.task, what + ", though it is not the holder's", event.at_s)


class Outcomes(Check):
    """One accepted outcome per token; an outcome called a repeat was really accepted before."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._accepted: dict[tuple[str, int], int] = {}
        self._ever: set[tuple[str, int, int]] = set()

    def on_restored(self, event: Restored) -> None:
        self._accepted.clear()

    def on_answered(self, event: Answered) -> None:
        if event.verb != "exchange":
            return
        call = self.model.call
        assert call is not None
        for line, answer in zip(call.args[0].settles, event.answer.settles, strict=True):
            key = line.task, line.token
            if answer in _WRITTEN:
                if key in self._accepted:
                    what = f"a second outcome was accepted for token {line.token}"
                    self.say("one-outcome", line.task, what, event.at_s)
                self._accepted[key] = line.digest
                self._ever.add((*key, line.digest))
            elif answer is Answer.ALREADY and (*key, line.digest) not in self._ever:
                self.say("one-outcome", line.task, "a report was called a repeat and is none", event.at_s)


class Claims(Check):
    """A claim is granted once, to one call; what a worker does not name goes back, and nothing else does."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._granted: dict[tuple[str, int], int] = {}
        self._now: Counter[tuple[str, int]] = Counter()

    def on_called(self, event: Called) -> None:
        self._now.clear()

    def on_restored(self, event: Restored) -> None:
        self._granted.clear()

    def on_step(self, event: Step) -> None:
        if event.cause is Cause.CLAIM:
            name = event.incarnation, event.claim_seq
            self._now[name] += 1
            if self._granted.setdefault(name, event.call) != event.call:
                what = f"claim {event.claim_seq} of {event.incarnation} was granted leases a second time"
                self.say("claim-granted-once", event.task, what, event.at_s)
        elif event.old is State.RUNNING and self.model.call is not None and self.model.call.verb == "renew":
            self._check_return(event, self.model.call.args[0])

    def _check_return(self, event: Step, renewals: list[Renewal]) -> None:
        life = self.model.lives[event.task]
        for renewal in renewals:
            if renewal.incarnation != life.incarnation:
                continue
            named = (life.id, life.token) in {(held.task, held.token) for held in renewal.held}
            if named or life.claim_seq > renewal.claim_seq:
                why = "is named" if named else "was claimed later"
                self.say("only-unnamed-return", event.task, f"a lease that {why} was returned", event.at_s)

    def on_answered(self, event: Answered) -> None:
        for task in event.astray:
            self.say("unnamed-return", task, "a lease that its worker does not name was kept", event.at_s)
        if event.verb != "exchange":
            return
        call = self.model.call
        assert call is not None
        limits: dict[tuple[str, int], int] = {}
        for ask in call.args[0].claims:
            limits[ask.incarnation, ask.claim_seq] = max(
                ask.limit, limits.get((ask.incarnation, ask.claim_seq), 0)
            )
        for name, limit in limits.items():
            if self._now[name] > limit:
                what = f"{self._now[name]} leases for {limit} slots of {name[0]}"
                self.say("claim-limit", "", what, event.at_s)
