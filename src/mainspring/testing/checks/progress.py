"""What runs leave behind: steps that run once, checkpoints and parents' results handed on, logs in order."""

from itertools import pairwise
from typing import Any

from mainspring.core.lifecycle import Cause
from mainspring.core.model import State
from mainspring.ports import Answer, Recall, Recalled, Refused
from mainspring.testing.checks.check import Check
from mainspring.testing.record import Answered, Asked, Heard, Logged, Ran, Restored, Saved, Step, Stepped


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

    def on_step(self, event: Step) -> None:
        """What was recorded of a task that is gone is not of one that is submitted under its id since."""
        if event.cause is Cause.SUBMIT:
            self._kept = {key: kept for key, kept in self._kept.items() if key[0] != event.task}

    def on_answered(self, event: Answered) -> None:
        call = self.model.call
        assert call is not None
        if event.verb == "append":
            for line, answer in zip(call.args[0], event.answer, strict=True):
                self.see("append.refused", answer is Answer.LOST)
                for name, result in line.steps.items() if answer is Answer.OK else ():
                    self._kept.setdefault((line.task, name), Kept(event.at_s, line.token, result))
        elif event.verb == "recall":
            for line, answer in zip(call.args[0], event.answer, strict=True):
                if line.steps and isinstance(answer, Recalled):
                    self._check_recall(line.task, answer.steps, event.at_s)

    def _check_recall(self, task: str, told: dict[str, bytes], at_s: float) -> None:
        kept = {name: kept.result for (owner, name), kept in self._kept.items() if owner == task}
        if told != kept:
            what = f"a run is told of {sorted(told)}, recorded are {sorted(kept)}"
            self.say("step-replayed", task, what, at_s)

    def on_stepped(self, event: Stepped) -> None:
        kept = self._kept.get((event.task, event.name))
        self.see("step.replayed", event.value is not None and kept is not None and kept.token < event.token)
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


class Checkpoints(Check):
    """A run is handed what was stored last, and what it gives last is stored before its outcome."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._handed: dict[tuple[str, int], bytes | None] = {}
        self._given: dict[tuple[str, int], Saved] = {}
        self._lost_s = -1.0

    def on_restored(self, event: Restored) -> None:
        self._lost_s = event.at_s

    def on_saved(self, event: Saved) -> None:
        self._given[event.task, event.token] = event

    def on_ran(self, event: Ran) -> None:
        if event.what != "start":
            return
        self.see("checkpoint.handed_on", event.value is not None)
        handed = self._handed.get((event.task, event.token), event.value)
        if event.value != handed:
            what = f"it is handed {event.value!r}, stored was {handed!r}"
            self.say("checkpoint-handed-on", event.task, what, event.at_s)

    def on_step(self, event: Step) -> None:
        life = self.model.lives.get(event.task)
        if life is None:
            return
        if event.cause is Cause.CLAIM:
            self._handed[life.id, event.token] = life.checkpoint
        if event.old is not State.RUNNING or life.new.timeout_us or life.deadline_us:
            return
        given, word = self._given.get((life.id, life.token)), self.model.ended_as(life.id, life.token)
        is_told = word is not None and event.cause in _TOLD.get(word.what, ())
        if is_told and given is not None and given.at_s > self._lost_s and given.value != life.checkpoint:
            what = f"{event.cause.name} is stored before its last checkpoint {given.value!r}"
            self.say("checkpoint-handed-on", life.id, what, event.at_s)


# Nobody goes on from the checkpoint of a success.
_TOLD = {"ok": (), "raised": (Cause.RETRY, Cause.FAIL), "snoozed": (Cause.SNOOZE,)}


class Parents(Check):
    """Whoever holds a task, and nobody else, is told how its parents have ended, as they have."""

    def on_answered(self, event: Answered) -> None:
        call = self.model.call
        if event.verb != "recall" or call is None:
            return
        for line, answer in zip(call.args[0], event.answer, strict=True):
            self._check(line, answer, event.at_s)

    def _check(self, line: Recall, answer: Recalled | Refused, at_s: float) -> None:
        life = self.model.life(line.task)
        holds = life is not None and life.state is State.RUNNING and life.token == line.token
        self.see("recall.refused", isinstance(answer, Refused))
        if holds == isinstance(answer, Refused):
            what = f"recall with token {line.token} was {'refused' if holds else 'answered'}"
            self.say("holder-is-heard" if holds else "only-holder-is-heard", line.task, what, at_s)
        if life is None or isinstance(answer, Refused) or not line.parents:
            return
        known = [parent for name in life.new.depends_on if (parent := self.model.life(name)) is not None]
        expected = [(parent.id, parent.state, parent.result) for parent in known]
        told = [(parent.id, parent.state, parent.result) for parent in answer.parents]
        self.see("parents.told")
        if told != expected:
            self.say("parents-told", line.task, f"told {told}, stored are {expected}", at_s)


class Logs(Check):
    """The lines of a run are in the task's log in their order, each once; and all of them if its outcome is
    stored, unless they were given up: offered in vain until the lease had lapsed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._written: dict[tuple[str, int], list[str]] = {}
        self._started_s: dict[tuple[str, int], float] = {}
        self._settled: set[tuple[str, int]] = set()
        self._offered: dict[int, list[tuple[str, int]]] = {}
        self._failed: set[tuple[str, int]] = set()
        self._lost_s = -1.0

    def on_restored(self, event: Restored) -> None:
        self._lost_s = event.at_s

    def on_step(self, event: Step) -> None:
        """The log of a task that is gone went with it: one submitted under its id since has its own."""
        if event.cause is Cause.SUBMIT:
            self._settled = {run for run in self._settled if run[0] != event.task}

    def on_ran(self, event: Ran) -> None:
        if event.what == "start":
            self._started_s[event.task, event.token] = event.at_s

    def on_asked(self, event: Asked) -> None:
        if event.verb == "append":
            self._offered[event.number] = [(line.task, line.token) for line in event.message if line.log]

    def on_heard(self, event: Heard) -> None:
        runs = self._offered.pop(event.number, ())
        if event.error is None:
            self._failed.difference_update(runs)
        else:
            self._failed.update(runs)

    def on_stepped(self, event: Stepped) -> None:
        """A handler writes a line when a step has returned."""
        if event.value is not None:
            self._written.setdefault((event.task, event.token), []).append(event.name)

    def on_answered(self, event: Answered) -> None:
        call = self.model.call
        if event.verb == "exchange" and call is not None:
            for line, answer in zip(call.args[0].settles, event.answer.settles, strict=True):
                word = self.model.ended_as(line.task, line.token)
                is_reported = answer is Answer.OK and not line.only_if_lapsed
                if is_reported and word is not None and word.what in _TOLD:
                    self._settled.add((line.task, line.token))

    def on_logged(self, event: Logged) -> None:
        found: dict[int, list[str]] = {}
        for line in event.lines:
            token, _, words = line.partition(": ")
            found.setdefault(int(token), []).append(f"step-{words.split()[1]}")
        for number, names in found.items():
            written = self._written.get((event.task, number), [])
            places = [written.index(name) if name in written else -1 for name in names]
            if -1 in places or any(two <= one for one, two in pairwise(places)):
                what = f"run {number} wrote {written}, its log has {names}"
                self.say("log-in-order", event.task, what, event.at_s)
        for run in sorted((self._settled - self._failed) & self._written.keys()):
            lines, told = self._written[run], found.get(run[1])
            if run[0] == event.task and self._started_s[run] > self._lost_s and told != lines:
                what = f"run {run[1]} has ended, and of its lines {lines} the log has {told}"
                self.say("log-in-order", event.task, what, event.at_s)
