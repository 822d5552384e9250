"""A second opinion: what the tasks of a record must look like, told from its events alone.

It knows nothing of the store's code. Checks look at an event with the model as it was just before.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from mainspring.core.dag import Effect, effect
from mainspring.core.lifecycle import DOOMED_ERROR, SPARED_ERROR, Cause
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane, NewTask, Policy, State, Task, decode_policy
from mainspring.ports import Action, Answer, Append, Fired, FireLine, Moved
from mainspring.testing.record import Answered, Called, Event, Phase, Ran, Restored, Step

_HELD = (Answer.OK, Answer.CANCEL)
_ENDED_BY = {DOOMED_ERROR: Cause.DOOM, SPARED_ERROR: Cause.SPARE}
_CANCELS = (Action.CANCEL, Action.KILL, Action.DISCARD)


class MadeFor(NamedTuple):
    """The fire that a task was made for. Fires of a later decision have higher numbers."""

    schedule: str
    fire_us: int
    number: int


class Life:
    """One task, as far as the events tell."""

    def __init__(self, new: NewTask, step: Step) -> None:
        self.new = new
        self.id = new.id
        self.state = step.new
        self.cause: Cause | None = step.cause
        self.lane: Lane = step.lane
        self.token = self.top_token = step.token
        self.attempt = self.retries = self.losses = self.snoozes = 0
        self.incarnation = ""
        self.claim_seq = -1
        self.seq = step.seq
        self.lease_until_us: int | None = None
        self.run_at_us = step.run_at_us
        self.deadline_us = step.deadline_us
        self.born_us = self.ended_us = step.now_us
        self.born_s = self.entered_s = step.at_s
        self.result = step.result
        self.checkpoint: bytes | None = None
        self.noted: tuple[int, int] = (0, 0)
        self.cancel_wanted = False
        self.cancel_told = False
        self.doomed = False
        self.open_parents: set[str] = set()
        self.past: set[State] = {step.new}
        self.gone = ""

    @property
    def act(self) -> str:
        """What its handler does."""
        return str(msgspec.json.decode(self.new.payload)["do"])

    @property
    def policy(self) -> Policy:
        return decode_policy(self.new.policy)


class Model:
    """All tasks, and the controls."""

    def __init__(self) -> None:
        self.lives: dict[str, Life] = {}
        self.offered: dict[str, NewTask] = {}
        self.children: dict[str, list[str]] = {}
        self.workflows: dict[str, list[str]] = {}
        self.workflow_of: dict[str, str] = {}
        self.callbacks: set[str] = set()
        self.fires: dict[str, MadeFor] = {}
        self.replayed: set[str] = set()
        self._made: dict[str, list[str]] = {}
        self.ready: dict[Lane, dict[str, Life]] = {}
        self.running: dict[str, Life] = {}
        self.rules: dict[str, LimitRule] = {}
        self.paused: set[str] = set()
        self.marks: set[str] = set()
        self.diary: dict[tuple[str, int], list[Ran]] = {}
        self.restores: list[Restored] = []
        self.calm_s: float | None = None
        self.call: Called | None = None
        self.lease_s = 0.0

    def made_by(self, schedule: str) -> list[Life]:
        """The tasks of a schedule's fires that the store should have, in the order of their making."""
        return [life for task in self._made.get(schedule, ()) if (life := self.life(task)) is not None]

    def life(self, task: str) -> Life | None:
        """The task, if the store should have it."""
        life = self.lives.get(task)
        return None if life is None or life.gone else life

    def ended_as(self, task: str, token: int) -> Ran | None:
        """The handler's last word on a run, if it came to one."""
        words = self.diary.get((task, token), ())
        return words[-1] if words and words[-1].what != "start" else None

    def apply(self, event: Event) -> None:
        if isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Called):
            self.call = event
            if event.verb == "exchange":
                self._offer(event)
            elif event.verb == "fire":
                self._offer_fires(event)
        elif isinstance(event, Answered):
            self._answered(event)
        elif isinstance(event, Ran):
            self.diary.setdefault((event.task, event.token), []).append(event)
        elif isinstance(event, Restored):
            self._restore(event)
        elif isinstance(event, Phase) and event.name == "calm":
            self.calm_s = event.at_s

    # --- steps ----------------------------------------------------------------------------------

    def _offer(self, event: Called) -> None:
        batch = event.args[0]
        for group in batch.submits:
            self.offered.update((task.id, task) for task in group.tasks)
            if group.workflow is not None:
                tasks = self.workflows[group.workflow.id] = [task.id for task in group.tasks]
                self.workflow_of.update(dict.fromkeys(tasks, group.workflow.id))
                self.callbacks.update(group.workflow.callbacks.values())
        for ask in batch.claims:
            self.lease_s = ask.lease_us / 1e6

    def _offer_fires(self, event: Called) -> None:
        for line in event.args[0]:
            siblings = {made.task.id for made in line.made}
            for number, made in enumerate(line.made):
                task = made.task
                # What was to be waited for may have been forgotten: the store waits for the rest.
                known = tuple(p for p in task.depends_on if p in siblings or self.life(p) is not None)
                self.offered[task.id] = msgspec.structs.replace(task, depends_on=known)
                self.fires[task.id] = MadeFor(line.schedule, made.fire_us, event.call * 10_000 + number)

    def _step(self, step: Step) -> None:
        life = self.lives.get(step.task)
        if step.cause is Cause.SUBMIT:
            life = self._born(step)
        assert life is not None
        self._leave(life)
        life.cause = step.cause
        life.state, life.lane, life.seq = step.new, step.lane, step.seq
        life.token, life.top_token = step.token, max(life.top_token, step.token)
        life.attempt, life.retries = step.attempt, step.retries
        life.losses, life.snoozes = step.losses, step.snoozes
        life.lease_until_us, life.run_at_us = step.lease_until_us, step.run_at_us
        life.deadline_us, life.entered_s = step.deadline_us, step.at_s
        life.result = step.result
        life.past.add(step.new)
        if step.cause is Cause.CLAIM:
            life.incarnation, life.claim_seq = step.incarnation, step.claim_seq
        elif step.cause in (Cause.REPLAY, Cause.REOPEN):
            life.cancel_wanted = life.doomed = False
            life.open_parents = set(self.waits_for(life)) if step.new is State.BLOCKED else set()
            self._hold_children(life)
            self.replayed.add(life.id)
        self._enter(life)
        if step.new.is_final:
            life.ended_us = step.now_us
            self._tell_children(life)

    def _born(self, step: Step) -> Life:
        earlier = self.lives.get(step.task)
        life = self.lives[step.task] = Life(self.offered[step.task], step)
        if step.task in self.fires:
            self._made.setdefault(self.fires[step.task].schedule, []).append(step.task)
        if earlier is not None:
            life.top_token = max(life.top_token, earlier.top_token)
        for parent_id in life.new.depends_on:
            self.children.setdefault(parent_id, []).append(life.id)
            parent = self.life(parent_id)
            if parent is None or not parent.state.is_final:
                life.open_parents.add(parent_id)
            else:
                self._apply(parent, life, at_birth=True)
        return life

    def waits_for(self, life: Life) -> list[str]:
        """The parents that the task has to wait for, as they stand now."""
        rule = life.policy.on_parent_failure
        return [
            parent.id
            for name in life.new.depends_on
            if (parent := self.life(name)) is not None
            and not (parent.state.is_final and effect(parent.state, rule) is Effect.RELEASE)
        ]

    def _hold_children(self, parent: Life) -> None:
        """A parent runs once more: children that are still blocked wait for it again."""
        for child_id in self.children.get(parent.id, ()):
            child = self.lives[child_id]
            if child.state is State.BLOCKED:
                child.open_parents.add(parent.id)

    def _tell_children(self, parent: Life) -> None:
        for child_id in self.children.get(parent.id, ()):
            self._apply(parent, self.lives[child_id], at_birth=False)

    def _apply(self, parent: Life, child: Life, at_birth: bool) -> None:
        """What the parent's end allows. When the store makes use of it is its own affair."""
        verdict = effect(parent.state, child.policy.on_parent_failure)
        if verdict is Effect.RELEASE:
            child.open_parents.discard(parent.id)
        else:
            child.doomed = child.doomed or verdict is Effect.DOOM
            if at_birth:
                child.open_parents.add(parent.id)

    def _leave(self, life: Life) -> None:
        self.running.pop(life.id, None)
        line = self.ready.get(life.lane)
        if line is not None:
            line.pop(life.id, None)

    def _enter(self, life: Life) -> None:
        if life.state is State.READY:
            self.ready.setdefault(life.lane, {})[life.id] = life
        elif life.state is State.RUNNING:
            self.running[life.id] = life

    # --- answers --------------------------------------------------------------------------------

    def _answered(self, event: Answered) -> None:
        assert self.call is not None
        args = self.call.args
        if event.verb == "renew":
            self._renewed(args[0], event)
        elif event.verb == "append":
            for line, answer in zip(args[0], event.answer, strict=True):
                if answer is Answer.OK:
                    self._noted(self.lives[line.task], line)
        elif event.verb == "force":
            for line, answer in zip(args[0], event.answer, strict=True):
                if isinstance(answer, Task) and line.action in _CANCELS:
                    life = self.lives[answer.id]
                    life.cancel_wanted = life.cancel_told = True
        elif event.verb == "cancel_workflow" and isinstance(event.answer, Moved):
            self._cancelled(*args)
        elif event.verb == "amend" and isinstance(event.answer, Task):
            self._amended(event.answer)
        elif event.verb == "delete":
            self._forget(
                [task for task, refused in zip(args[0], event.answer, strict=True) if refused is None],
                "deleted",
            )
        elif event.verb == "pruned":
            self._forget(args[0], "pruned")
        elif event.verb == "fire":
            self._fired(args[0], event.answer)
        elif event.verb == "set_limit":
            name, rule, only_new = args
            if rule is None:
                self.rules.pop(name, None)
            elif name not in self.rules or not only_new:
                self.rules[name] = rule
        elif event.verb == "set_queue":
            (self.paused.discard if args[1] is None else self.paused.add)(args[0])

    def _cancelled(self, workflow: str, callbacks: bool) -> None:
        for task in self.workflows.get(workflow, ()):
            life = self.lives.get(task)
            if life is not None and life.state is State.RUNNING and (callbacks or task not in self.callbacks):
                life.cancel_wanted = life.cancel_told = True

    def _fired(self, lines: Sequence[FireLine], fired: Fired) -> None:
        for line, answer in zip(lines, fired.answers, strict=True):
            if isinstance(answer, int) and line.mark not in self.marks:
                self.marks.add(line.mark)
                for task in (task for made in line.made for task in made.cancels):
                    life = self.life(task)
                    if life is not None and not life.state.is_final:
                        life.cancel_wanted = life.cancel_told = True

    def _noted(self, life: Life, line: Append) -> None:
        """Of the lines of a run the last one counts, in whatever order they come."""
        mark = line.token, line.number
        says_something = line.checkpoint is not None or line.progress is not None
        if says_something and (line.number == 0 or life.noted[0] != line.token or mark >= life.noted):
            life.noted = mark
            if line.checkpoint is not None:
                life.checkpoint = line.checkpoint

    def _renewed(self, renewals: Sequence[Any], event: Answered) -> None:
        for renewal, answers in zip(renewals, event.answer, strict=True):
            for held, answer in zip(renewal.held, answers, strict=True):
                life = self.life(held.task)
                if answer in _HELD and life is not None and life.token == held.token:
                    life.lease_until_us = event.now_us + renewal.lease_us

    def _amended(self, task: Task) -> None:
        life = self.lives[task.id]
        self._leave(life)
        life.lane, life.run_at_us, life.deadline_us = task.lane, task.run_at_us, task.deadline_us
        self._enter(life)

    def _forget(self, tasks: Sequence[str], why: str) -> None:
        for task in tasks:
            self.lives[task].gone = why

    # --- lost writes ----------------------------------------------------------------------------

    def _restore(self, event: Restored) -> None:
        """What the store says now is true; only tokens still have to rise over those that were lost."""
        self.restores.append(event)
        self.paused, self.rules = set(event.paused), dict(event.rules)
        self.ready.clear()
        self.running.clear()
        kept = {task.id: task for task in event.tasks}
        for life in self.lives.values():
            task = kept.get(life.id)
            if task is None:
                life.gone = life.gone or "lost"
                continue
            life.gone, life.cause = "", _ENDED_BY.get(task.error or b"")
            life.state, life.lane, life.seq, life.token = task.state, task.lane, task.seq, task.token
            life.attempt, life.retries = task.attempt, task.retries
            life.losses, life.snoozes = task.losses, task.snoozes
            life.lease_until_us, life.run_at_us = task.lease_until_us, task.run_at_us
            life.deadline_us, life.cancel_wanted = task.deadline_us, task.cancel_requested_at_us is not None
            life.ended_us = task.finished_at_us or 0
            life.result, life.checkpoint = task.result, task.checkpoint
            life.noted = event.noted[life.id]
            life.incarnation, life.claim_seq = event.holders[life.id]
            life.open_parents = set(event.open_parents.get(life.id, ()))
            life.doomed = any(
                (parent := kept.get(name)) is not None
                and parent.state.is_final
                and effect(parent.state, life.policy.on_parent_failure) is Effect.DOOM
                for name in life.open_parents
            )
            self._enter(life)
