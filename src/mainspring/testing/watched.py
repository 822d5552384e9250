"""The memory store, writing down every call and every step."""

from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from mainspring.core.dag import Effect, effect
from mainspring.core.fingerprint import fingerprint
from mainspring.core.lifecycle import Cause
from mainspring.core.limits import LimitRule, names
from mainspring.core.model import OnParentFailure, State, Task, decode_policy
from mainspring.core.progress import end_of, weight_of
from mainspring.ports import (
    Answer,
    Append,
    Clock,
    Edit,
    Exchange,
    Exchanged,
    Force,
    Moved,
    Overdue,
    Pruned,
    Recall,
    Recalled,
    Refused,
    Renewal,
    Retention,
    Term,
)
from mainspring.stores.memory.auditing import audit
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.reading import view
from mainspring.stores.memory.tables import Row, Tables
from mainspring.testing.loop import VirtualLoop
from mainspring.testing.record import Answered, Called, Logged, Record, Recounted, Restored, Step
from mainspring.testing.timetables import WatchedSchedules, timetable
from mainspring.verbs import Retried, WorkflowRecord
from mainspring.verbs.audit import Audit, Finding

_WRITTEN = (Answer.OK, Answer.CANCEL)


class WatchedCall(Call):
    """One call of a verb, with a witness at the door through which every step goes."""

    at_s: float
    number: int
    record: Record
    _why: tuple[State | None, Cause]

    def move(self, row: Row, cause: Cause, new: State) -> None:
        self._why = (row.state if row.id in self.tables.rows else None, cause)
        super().move(row, cause, new)

    def _enter(self, row: Row, keeps_place: bool) -> None:
        super()._enter(row, keeps_place)
        old, cause = self._why
        self.record.edges[old, cause, row.state] += 1
        self.record.add(
            Step(
                self.at_s, self.number, self.now_us, row.id, old, cause, row.state, row.token, row.attempt,
                row.retries, row.losses, row.snoozes, row.incarnation, row.claim_seq, row.lane, row.seq,
                row.lease_until_us, row.run_at_us, row.deadline_us, row.result,
            )
        )  # fmt: skip


class WatchedStore(WatchedSchedules):
    """A memory store whose every writing verb leaves a `Called`, its `Step`s and an `Answered`."""

    def __init__(self, clock: Clock, loop: VirtualLoop, record: Record) -> None:
        super().__init__(clock, loop, record)
        self._number = 0
        self.times_lost = 0

    def _call(self) -> WatchedCall:
        plain = super()._call()
        call = WatchedCall(plain.tables, self._clock)
        call.at_s, call.number, call.record = self._loop.now_s, self._number, self._record
        return call

    def lose_writes(self, snapshot: Tables, taken_s: float) -> None:
        """Go back to the snapshot, as after a crash of a store that flushes late."""
        self.restore(snapshot)
        self.times_lost += 1
        tables = self._tables
        waits: dict[str, list[str]] = {}
        for parent, children in tables.dependents.items():
            for child, is_open in children.items():
                if is_open and tables.rows[child].state is State.BLOCKED:
                    waits.setdefault(child, []).append(parent)
        self._record.add(
            Restored(
                self._loop.now_s,
                taken_s,
                tuple(view(row) for row in tables.rows.values()),
                {row.id: (row.incarnation, row.claim_seq) for row in tables.rows.values()},
                {row.id: row.noted for row in tables.rows.values()},
                {child: tuple(parents) for child, parents in waits.items()},
                tuple(tables.paused),
                dict(tables.rules),
                tuple(timetable(tables, schedule) for schedule in tables.schedules),
                self._term_left(),
                self._clock.now_us(),
            )
        )

    def _term_left(self) -> Term | None:
        term = self._tables.term
        if term is None:
            return None
        return Term(term.holder, term.number, term.expires_us - self._clock.now_us())

    def recount(self) -> None:
        """Compare the books with the rows, and look the store's own laws up."""
        found = audit(self._call(), self._clock.highest(), None, len(self._tables.rows)).findings
        breaches = [f"{finding.law}: {finding.subject}: {finding.detail}" for finding in found]
        self._record.add(Recounted(self._loop.now_s, (*differences(self._tables), *breaches)))

    def unfinished(self) -> list[str]:
        """Tasks that are not final, but for those that a failed parent holds for good."""
        rows = self._tables.rows
        return [row.id for row in rows.values() if not (row.state.is_final or self._is_held(row))]

    async def show_workflows(self) -> None:
        """Put on record how the workflows stand."""
        for workflow in list(self._tables.workflows):
            await self.get_workflow(workflow)

    def show_logs(self) -> None:
        """Put on record what logs hold."""
        for task, blocks in self._tables.log_blocks.items():
            lines = tuple(piece.text for block in blocks for piece in block.pieces)
            self._record.add(Logged(self._loop.now_s, task, lines))

    def worker_of(self, task: str) -> str | None:
        """Who runs the task now."""
        row = self._tables.rows[task]
        return row.worker if row.state is State.RUNNING else None

    def _is_held(self, row: Row) -> bool:
        """Blocked, and every parent that it still waits for has failed or is held itself."""
        rows = self._tables.rows
        if row.state is not State.BLOCKED:
            return False
        waits = [parent for parent in row.depends_on if self._tables.dependents[parent].get(row.id)]
        rule = decode_policy(row.policy).on_parent_failure
        return any(self._is_held(rows[parent]) or _holds(rows[parent], rule) for parent in waits)

    # --- the writing verbs ----------------------------------------------------------------------

    async def _noted(
        self, verb: str, args: tuple[Any, ...], work: Coroutine[Any, Any, Any], lines: Sequence[Any] = ()
    ) -> Any:
        before = {line.task: _fingerprint(self._tables.rows.get(line.task)) for line in lines}
        self._number += 1
        now_us = self._clock.now_us()
        self._record.add(Called(self._loop.now_s, self._number, now_us, verb, args))
        answer = await work
        meddled = self._meddled(verb, before, lines, answer) if lines else ()
        astray = self._astray(args[0]) if verb == "renew" else ()
        self._record.add(Answered(self._loop.now_s, self._number, now_us, verb, answer, meddled, astray))
        return answer

    def _meddled(
        self, verb: str, before: dict[str, object], lines: Sequence[Any], answer: Any
    ) -> tuple[str, ...]:
        if verb == "exchange":
            answers = answer.settles
        else:
            answers = [one for several in answer for one in several] if verb == "renew" else answer
        written = {line.task for line, one in zip(lines, answers, strict=True) if one in _WRITTEN}
        rows = self._tables.rows
        return tuple(
            task
            for task, earlier in before.items()
            if earlier is not None and task not in written and _fingerprint(rows.get(task)) != earlier
        )

    def _astray(self, renewals: Sequence[Renewal]) -> tuple[str, ...]:
        rows = self._tables.rows
        return tuple(
            task
            for renewal in renewals
            for task in self._tables.held.get(renewal.incarnation, ())
            if rows[task].claim_seq <= renewal.claim_seq
            and (task, rows[task].token) not in {held[:2] for held in renewal.held}
        )

    async def exchange(self, batch: Exchange) -> Exchanged:
        found: Exchanged = await self._noted("exchange", (batch,), super().exchange(batch), batch.settles)
        return found

    async def renew(self, renewals: Sequence[Renewal]) -> Sequence[Sequence[Answer]]:
        lines = [held for renewal in renewals for held in renewal.held]
        answers: Sequence[Sequence[Answer]] = await self._noted(
            "renew", (renewals,), super().renew(renewals), lines
        )
        return answers

    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]:
        answers: Sequence[Answer] = await self._noted("append", (lines,), super().append(lines), lines)
        return answers

    async def amend(self, task: str, version: int, edit: Edit) -> Task | Refused:
        answer: Task | Refused = await self._noted(
            "amend", (task, version, edit), super().amend(task, version, edit)
        )
        return answer

    async def force(self, lines: Sequence[Force]) -> Sequence[Task | Refused]:
        answers: Sequence[Task | Refused] = await self._noted("force", (lines,), super().force(lines))
        return answers

    async def delete(self, tasks: Sequence[str]) -> Sequence[Refused | None]:
        answers: Sequence[Refused | None] = await self._noted("delete", (tasks,), super().delete(tasks))
        return answers

    async def cancel_workflow(self, workflow: str, callbacks: bool) -> Moved | Refused:
        answer: Moved | Refused = await self._noted(
            "cancel_workflow", (workflow, callbacks), super().cancel_workflow(workflow, callbacks)
        )
        return answer

    async def retry_workflow(self, workflow: str) -> Retried | Refused:
        answer: Retried | Refused = await self._noted(
            "retry_workflow", (workflow,), super().retry_workflow(workflow)
        )
        return answer

    async def get_workflow(self, workflow: str) -> WorkflowRecord | None:
        record: WorkflowRecord | None = await self._noted(
            "get_workflow", (workflow,), super().get_workflow(workflow)
        )
        return record

    async def promote(self, limit: int) -> Moved:
        moved: Moved = await self._noted("promote", (limit,), super().promote(limit))
        return moved

    async def overdue(self, limit: int, grace_us: int) -> Overdue:
        found: Overdue = await self._noted("overdue", (limit, grace_us), super().overdue(limit, grace_us))
        return found

    async def resolve(self, limit: int) -> Moved:
        moved: Moved = await self._noted("resolve", (limit,), super().resolve(limit))
        return moved

    async def prune(self, limit: int, retention: Retention, cursor: str | None) -> Pruned:
        kept = set(self._tables.rows)
        pruned: Pruned = await self._noted(
            "prune", (limit, retention, cursor), super().prune(limit, retention, cursor)
        )
        gone = sorted(kept.difference(self._tables.rows))
        await self._noted("pruned", (tuple(gone),), _nothing())
        return pruned

    # --- progress, leadership, laws ---------------------------------------------------------------

    async def recall(self, lines: Sequence[Recall]) -> Sequence[Recalled | Refused]:
        answers: Sequence[Recalled | Refused] = await self._noted("recall", (lines,), super().recall(lines))
        # As if from a socket: a run adds to what it was told.
        return [
            Recalled(dict(answer.steps), answer.parents) if isinstance(answer, Recalled) else answer
            for answer in answers
        ]

    async def resign(self, candidate: str, number: int) -> None:
        await self._noted("resign", (candidate, number), super().resign(candidate, number))

    async def audit(self, cursor: str | None, limit: int) -> Audit:
        audit: Audit = await self._noted("audit", (cursor, limit), super().audit(cursor, limit))
        return audit

    async def inspect(self) -> Sequence[Finding]:
        found: Sequence[Finding] = await self._noted("inspect", (), super().inspect())
        return found

    # --- controls -------------------------------------------------------------------------------

    async def set_queue(self, queue: str, paused_by: str | None) -> None:
        await self._noted("set_queue", (queue, paused_by), super().set_queue(queue, paused_by))

    async def set_limit(self, name: str, rule: LimitRule | None, only_new: bool = False) -> bool:
        was_there: bool = await self._noted(
            "set_limit", (name, rule, only_new), super().set_limit(name, rule, only_new)
        )
        return was_there

    async def take_term(self, candidate: str, ttl_us: int) -> Term:
        term: Term = await self._noted("take_term", (candidate, ttl_us), super().take_term(candidate, ttl_us))
        return term


async def _nothing() -> None:
    return None


def _holds(parent: Row, rule: OnParentFailure) -> bool:
    return parent.state.is_final and effect(parent.state, rule) is Effect.HOLD


def _fingerprint(row: Row | None) -> object:
    """All that only the holder's own lines may change."""
    if row is None:
        return None
    return (
        row.result, row.error, row.attempts, row.checkpoint, row.progress, row.retries, row.losses,
        row.snoozes, row.settled_token, row.settled_digest,
    )  # fmt: skip


def differences(tables: Tables) -> list[str]:
    """The indexes and counters that do not agree with the rows."""
    rows = tables.rows.values()
    running = [row for row in rows if row.state is State.RUNNING]
    in_use = Counter(name for row in running for name in names(row.lane))
    ready = Counter(row.lane_id for row in rows if row.state is State.READY)
    held = sorted((row.incarnation, row.id) for row in running)
    members = sorted((row.workflow, row.id) for row in rows if row.workflow is not None)
    books: list[tuple[str, object, object]] = [
        ("counts", dict(tables.counts), dict(Counter((row.lane.queue, row.state) for row in rows))),
        ("running", sorted(tables.running), sorted(row.id for row in running)),
        ("ready counts", {k: n for k, n in tables.ready_counts.items() if n}, dict(ready)),
        ("held", sorted(_pairs(tables.held)), held),
        ("workflows", sorted(_pairs(tables.tasks_of)), members),
        ("usage", {name: use.running for name, use in tables.usage.items() if use.running}, dict(in_use)),
        ("groups of dead letters", _groups(row.fingerprint for row in rows), _groups(map(_killed_by, rows))),
    ]
    return [
        *(
            f"{what}: booked {booked}, counted {counted}"
            for what, booked, counted in books
            if booked != counted
        ),
        *(f"the log of {task}: {what}" for task in tables.log_heads for what in _log_faults(tables, task)),
    ]


def _groups(marks: Iterable[int | None]) -> dict[int, int]:
    return dict(Counter(mark for mark in marks if mark is not None))


def _killed_by(row: Row) -> int | None:
    return fingerprint(row.lane.kind, row.error) if row.state is State.FAILED else None


def _pairs(grouped: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, str]]:
    return ((name, task) for name, tasks in grouped.items() for task in tasks)


def _log_faults(tables: Tables, task: str) -> Iterator[str]:
    """Pieces stand in a row, each once (in a simulation each line is one of its kind), and are counted."""
    head, pieces = tables.log_heads[task], [p for block in tables.log_blocks[task] for p in block.pieces]
    if any(two.offset < end_of(one) for one, two in pairwise(pieces)):
        yield "pieces overlap"
    if len({piece.text for piece in pieces}) != len(pieces):
        yield "a piece is there twice"
    booked, counted = (head.ends, head.kept), (end_of(pieces[-1]), weight_of(pieces))
    if booked != counted:
        yield f"booked {booked}, counted {counted}"
