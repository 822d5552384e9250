"""Workers: they start nothing on a lease they cannot trust, stop when it is gone, and drop no outcome."""

from typing import Any

import msgspec

from mainspring.ports import Answer
from mainspring.testing.checks.check import Check
from mainspring.testing.record import Asked, Heard, Phase, Ran

STOPS_WITHIN_S = 0.5
_SAID = frozenset({"ok", "raised", "snoozed", "quit"})
_Key = tuple[str, str, int]


class Hold(msgspec.Struct):
    """What a worker can know of one lease. It trusts it until a lease after it last asked with success."""

    until_s: float
    lost_s: float | None = None
    started: bool = False
    said: str = ""
    reported: bool = False
    settled: bool = False


class Holders(Check):
    """Follows each worker's own knowledge: what it asked, heard, and ran."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._holds: dict[_Key, Hold] = {}
        self._latest: dict[tuple[str, str], int] = {}
        self._asked: dict[int, Asked] = {}
        self._woke_s: dict[str, float] = {}

    # --- what it heard --------------------------------------------------------------------------

    def on_heard(self, event: Heard) -> None:
        asked = self._asked.pop(event.number)
        if event.error is not None:
            return
        if event.verb == "claim":
            for lease in event.answer:
                self._granted((asked.incarnation, lease.task, lease.token), asked.at_s)
        elif event.verb == "renew":
            for held, answer in zip(asked.message.held, event.answer, strict=True):
                self._renewed((asked.incarnation, held.task, held.token), answer, asked.at_s, event.at_s)
        elif event.verb == "settle":
            for report in asked.message:
                self._holds[asked.incarnation, report.task, report.token].settled = True

    def _granted(self, key: _Key, asked_s: float) -> None:
        """A new lease; an older one on the same task is over, whatever was said about it."""
        latest = self._latest.get(key[:2])
        if latest is not None and latest < key[2]:
            self._holds[*key[:2], latest].settled = True
        self._latest[key[:2]] = max(latest or 0, key[2])
        self._holds.setdefault(key, Hold(asked_s + self.model.lease_s))

    def _renewed(self, key: _Key, answer: Answer, asked_s: float, heard_s: float) -> None:
        hold = self._holds[key]
        if hold.said and hold.until_s < heard_s:
            hold.settled = True  # it may have let go of the outcome before it heard this
        if answer is not Answer.LOST:
            hold.until_s = max(hold.until_s, asked_s + self.model.lease_s)
        elif hold.started and not (hold.said or hold.reported) and hold.lost_s is None:
            # What has ended, or was handed back before it began, is reported all the same.
            hold.lost_s = heard_s

    # --- what it does ---------------------------------------------------------------------------

    def on_asked(self, event: Asked) -> None:
        self._asked[event.number] = event
        if event.verb == "settle":
            for report in event.message:
                hold = self._holds.get((event.incarnation, report.task, report.token))
                if hold is None or (hold.lost_s is not None and not self._is_stubborn(report.task)):
                    what = "reports a run that it knows to be lost"
                    self.say("no-word-after-loss", report.task, f"{event.worker} {what}", event.at_s)
                else:
                    hold.reported = True
        elif event.verb == "renew":
            self._check_named(event)

    def _check_named(self, event: Asked) -> None:
        """A heartbeat leaves out what is over. An outcome that nobody has taken is not, but for the last
        heartbeat of a worker that leaves: it names nothing."""
        if not event.message.held:
            return
        named = {(held.task, held.token) for held in event.message.held}
        for (incarnation, task, token), hold in self._holds.items():
            if incarnation != event.incarnation or (task, token) in named or hold.settled:
                continue
            if hold.said in _SAID and hold.lost_s is None and hold.until_s > event.at_s:
                what = f"{event.worker} lets go of an outcome ({hold.said}) that nobody has taken"
                self.say("outcome-kept", task, what, event.at_s)

    def on_ran(self, event: Ran) -> None:
        hold = self._holds.get((event.incarnation, event.task, event.token))
        if hold is None:
            self.say("trusted-start", event.task, f"{event.worker} runs it without a lease", event.at_s)
        elif event.what == "start":
            hold.started = True
            if hold.lost_s is not None:
                self.say("trusted-start", event.task, f"{event.worker} starts what it lost", event.at_s)
            elif event.at_s > hold.until_s:
                late_s = event.at_s - hold.until_s
                what = f"{event.worker} starts it {late_s:.2f} s after it stopped trusting the lease"
                self.say("trusted-start", event.task, what, event.at_s)
        else:
            hold.said = event.what
            self._check_end(event, hold)

    def _check_end(self, event: Ran, hold: Hold) -> None:
        """Once lapsed by its own clock a lease is nobody's, as far as the worker can know: stop at once, or
        when the process wakes. A handler that ignores being stopped is given up, and counts for nothing."""
        if self._is_stubborn(event.task):
            return
        stop_s = max(hold.until_s, self._woke_s.get(event.worker, 0.0)) + STOPS_WITHIN_S
        if event.at_s > stop_s:
            what = f"{event.worker} ran it {event.at_s - hold.until_s:.2f} s beyond its lease"
            self.say("stops-when-lapsed", event.task, what, event.at_s)

    def _is_stubborn(self, task: str) -> bool:
        """Whether its handler ignores being stopped: then it is given up, and its worker reports for it."""
        return self.model.lives[task].act == "stubborn"

    def on_phase(self, event: Phase) -> None:
        if event.name == "woke":
            self._woke_s[event.detail] = event.at_s
