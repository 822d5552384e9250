"""When and in what order tasks start: times, places in line, limits, pauses, parents."""

from typing import Any

from mainspring.core.lifecycle import Cause
from mainspring.core.limits import LimitRule, names, rule_for
from mainspring.core.model import SECOND_US
from mainspring.ports import Existing, Refused
from mainspring.testing.checks.check import Check
from mainspring.testing.record import Answered, Restored, Step

DUE_WITHIN_US = int(1.3 * SECOND_US)
CLAIMED_WITHIN_S = 20.0
# A call that was under way when the storm ended may still time out, and be repeated.
CALM_COUNTS_AFTER_S = 5.0


class Times(Check):
    """Nothing runs before its time or after its deadline; what is due does not wait long in calm weather."""

    def on_step(self, event: Step) -> None:
        life = self.model.lives.get(event.task)
        if life is None:
            return
        assert self.model.call is not None
        now_us = self.model.call.now_us
        if event.cause in (Cause.CLAIM, Cause.PROMOTE) and (life.run_at_us or 0) > now_us:
            early_s = ((life.run_at_us or 0) - now_us) / SECOND_US
            self.say("not-before-due", event.task, f"{event.cause.name} {early_s:g} s early", event.at_s)
        due_us = life.deadline_us
        if event.cause is Cause.CLAIM and due_us is not None and due_us < now_us:
            self.say("not-after-deadline", event.task, "claimed after its deadline", event.at_s)
        if event.cause is Cause.REPLAY and self.model.call.verb == "force":
            delays = [line.delay_us for line in self.model.call.args[0] if line.task == event.task]
            if (event.run_at_us or now_us) - now_us not in delays:
                self.say("replays-apart", event.task, f"it comes back at {event.run_at_us}", event.at_s)
        if event.cause is Cause.EXPIRE and (due_us is None or due_us >= now_us):
            self.say("not-after-deadline", event.task, "expired before its deadline", event.at_s)
        self._promptness(event, life.run_at_us, life.entered_s)

    def _promptness(self, event: Step, run_at_us: int | None, entered_s: float) -> None:
        calm_s = self.model.calm_s
        if calm_s is None:
            return
        calm_us = event.now_us - int((event.at_s - calm_s - CALM_COUNTS_AFTER_S) * SECOND_US)
        if event.cause is Cause.PROMOTE and run_at_us is not None:
            late_us = event.now_us - max(run_at_us, calm_us)
            if late_us > DUE_WITHIN_US:
                self.say("due-in-time", event.task, f"promoted {late_us / SECOND_US:g} s late", event.at_s)
        if event.cause is Cause.CLAIM:
            waited_s = event.at_s - max(entered_s, calm_s)
            if waited_s > CLAIMED_WITHIN_S:
                self.say("no-starvation", event.task, f"ready for {waited_s:.1f} s in calm", event.at_s)


class Order(Check):
    """First in, first out, within a lane."""

    def on_step(self, event: Step) -> None:
        if event.cause is not Cause.CLAIM:
            return
        life = self.model.lives[event.task]
        for other in self.model.ready.get(life.lane, {}).values():
            late = other.deadline_us is not None and other.deadline_us < event.now_us
            if other.seq is not None and life.seq is not None and other.seq < life.seq and not late:
                self.say("first-in-first-out", event.task, f"overtook {other.id}", event.at_s)


class Limits(Check):
    """No name has more running, or started, than its limit allows; no paused queue is claimed from."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._buckets: dict[str, tuple[float, int]] = {}

    def on_restored(self, event: Restored) -> None:
        self._buckets.clear()

    def on_answered(self, event: Answered) -> None:
        if event.verb == "set_limit":
            call = self.model.call
            self.see("limit.changed", call is not None and call.args[0] in self.model.rules)
            self._buckets.clear()

    def on_step(self, event: Step) -> None:
        if event.cause is not Cause.CLAIM:
            return
        if event.lane.queue in self.model.paused:
            self.say("pause-holds", event.task, f"claimed from paused {event.lane.queue}", event.at_s)
        for name in names(event.lane):
            rule = rule_for(name, self.model.rules)
            if rule is not None:
                self._check(name, rule, event)

    def _check(self, name: str, rule: LimitRule, event: Step) -> None:
        running = 1 + sum(
            name in names(life.lane) for life in self.model.running.values() if life.id != event.task
        )
        if rule.max_running is not None and running > rule.max_running:
            what = f"{name} has {running} running, may have {rule.max_running}"
            self.say("limit-holds", event.task, what, event.at_s)
        if rule.rate is not None:
            full = float(rule.burst if rule.burst is not None else rule.rate)
            level, at_us = self._buckets.get(name, (full, event.now_us))
            level = min(full, level + (event.now_us - at_us) / rule.interval_us) - 1.0
            self._buckets[name] = (level, event.now_us)
            if level < -0.01:
                self.say("limit-holds", event.task, f"{name} starts tasks too fast", event.at_s)


class Parents(Check):
    """A child is let go after its last parent, and given up only for a failed one."""

    def on_step(self, event: Step) -> None:
        if event.cause is Cause.UNBLOCK:
            life = self.model.lives[event.task]
            if life.open_parents:
                waits = ", ".join(sorted(life.open_parents))
                self.say("parents-first", event.task, f"let go while it waits for {waits}", event.at_s)
        elif event.cause is Cause.DOOM and not self.model.lives[event.task].doomed:
            self.say("parents-first", event.task, "given up though no parent of it failed", event.at_s)


class Rules(Check):
    """At most one task per unique rule, and one group per idempotency key."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._keys: dict[tuple[str, str], tuple[str, ...]] = {}

    def on_step(self, event: Step) -> None:
        if event.cause is not Cause.SUBMIT:
            return
        new = self.model.offered[event.task]
        rule = new.unique
        if rule is None:
            return
        for other in self.model.lives.values():
            theirs = other.new.unique
            if theirs is None or theirs.digest != rule.digest or other.gone or other.id == new.id:
                continue
            recent = rule.period_us is None or event.now_us - other.born_us < rule.period_us
            if recent and other.state in rule.states:
                self.say("unique-holds", event.task, f"there is {other.id} already", event.at_s)

    def on_answered(self, event: Answered) -> None:
        if event.verb != "exchange":
            return
        call = self.model.call
        assert call is not None
        for group, answer in zip(call.args[0].submits, event.answer.submits, strict=True):
            key = group.idempotency
            if key is None or isinstance(answer, Refused):
                continue
            name = key.principal, key.key
            earlier = self._keys.get(name, ())
            if isinstance(answer, Existing):
                if not {task.id for task in answer.tasks} <= set(earlier):
                    self.say("key-used-once", earlier[0], "the key was answered with other tasks", event.at_s)
                continue
            if earlier and any(self.model.lives[task].gone != "lost" for task in earlier):
                what = f"the key {key.key} made {', '.join(earlier)} before"
                self.say("key-used-once", group.tasks[0].id, what, event.at_s)
            self._keys[name] = tuple(task.id for task in group.tasks)
