"""Steps: recorded before they return, run once, and replayed as they were recorded."""

from typing import Any

from mainspring.ports import Answer
from mainspring.testing.checks.check import Check
from mainspring.testing.record import Answered, Ran, Restored, Stepped


class Kept:
    """A step's record: its result, and which run recorded it when."""

    __slots__ = ("at_s", "result", "token")

    def __init__(self, at_s: float, token: int, result: bytes) -> None:
        self.at_s = at_s
        self.token = token
        self.result = result


class Steps(Check):
    """Follows what the store accepted, and what handlers say about their steps."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._kept: dict[tuple[str, str], Kept] = {}
        self._started_s: dict[tuple[str, int], float] = {}
        self._lost_s = -1.0

    def on_ran(self, event: Ran) -> None:
        if event.what == "start":
            self._started_s[event.task, event.token] = event.at_s

    def on_restored(self, event: Restored) -> None:
        self._kept = {key: kept for key, kept in self._kept.items() if kept.at_s < event.taken_s}
        self._lost_s = event.at_s

    def on_answered(self, event: Answered) -> None:
        if event.verb != "append":
            return
        call = self.model.call
        assert call is not None
        for line, answer in zip(call.args[0], event.answer, strict=True):
            if answer is Answer.OK:
                for name, result in line.steps.items():
                    self._kept.setdefault((line.task, name), Kept(event.at_s, line.token, result))

    def on_stepped(self, event: Stepped) -> None:
        kept = self._kept.get((event.task, event.name))
        if event.value is None:
            if kept is not None and event.token > kept.token:
                what = f"run {event.token} runs {event.name}, which run {kept.token} has recorded"
                self.say("step-runs-once", event.task, what, event.at_s)
        elif kept is None:
            # What a run was told when it began counts for it, though the store has lost it since.
            if self._lost_s < self._started_s[event.task, event.token]:
                what = f"{event.name} returned before it was recorded"
                self.say("step-recorded-first", event.task, what, event.at_s)
        elif event.value != kept.result:
            what = f"{event.name} gave {event.value!r}, and {kept.result!r} is recorded"
            self.say("step-replayed", event.task, what, event.at_s)
