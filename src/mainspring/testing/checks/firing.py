"""Schedules: each fire time becomes one task or one record of why not, as the rules in force say, once."""

from typing import Any

from mainspring.core.lifecycle import Cause
from mainspring.core.model import SECOND_US
from mainspring.core.schedules import Standing
from mainspring.election.store import TTL_S
from mainspring.ports import FireLine, FireRecord, FireTask, NewSchedule, Refused, SeenSchedule
from mainspring.testing.checks.calendar import fires, following
from mainspring.testing.checks.check import Check
from mainspring.testing.checks.judging import Book, Judge, Seen
from mainspring.testing.checks.lines import CALM_COUNTS_AFTER_S
from mainspring.testing.record import Answered, Restored, Shown, Step, Told

FIRED_WITHIN_US = int((TTL_S + 2.5) * SECOND_US)
DECIDED_WITHIN_US = 3 * SECOND_US


def is_broken(new: NewSchedule) -> bool:
    """Whether nobody could obey such a row: the simulation writes three kinds."""
    timing = new.rules.timing
    return timing.zone.startswith("Mars") or timing.cron == "61 * * * * *" or new.template.lane.queue == ""


class Decisions(Check):
    """Follows each schedule from decision to decision, and makes each of them anew."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._books: dict[str, Book] = {}
        self._seen: dict[tuple[str, int], list[Seen]] = {}
        self._records: dict[tuple[str, int], tuple[FireRecord, ...]] = {}
        self._told: set[str] = set()
        self._jitter: dict[tuple[str, int, int, int | None], int] = {}
        self._alone: set[str] = set()
        self._lost_s = -1.0

    # --- what is read and written ---------------------------------------------------------------

    def on_answered(self, event: Answered) -> None:
        call = self.model.call
        assert call is not None
        if event.verb == "due_schedules":
            for seen in event.answer.schedules:
                self._look(seen.record.id, seen, event)
        elif event.verb == "schedules":
            for id_, seen in zip(call.args[0], event.answer.schedules, strict=True):
                self._look(id_, seen, event)
        elif event.verb == "fire":
            for line, answer in zip(call.args[0], event.answer.answers, strict=True):
                self._line(line, answer, event)
        elif event.verb == "write_row":
            self._written(call.args[0], call.args[1], event)
        elif event.verb == "delete_schedule" and event.answer is None:
            del self._books[call.args[0]]
            self._told.discard(call.args[0])
            self.see("schedule.deleted")

    def on_restored(self, event: Restored) -> None:
        kept = {table.record.id: table for table in event.schedules}
        for book in self._books.values():
            if book.id not in kept:
                if book.id in self._told and not event.taken_s <= book.born_s <= event.at_s:
                    self.say("nothing-lost", book.id, "the schedule is gone", event.at_s)
                self._told.discard(book.id)
        births = {book.id: book.born_s for book in self._books.values()}
        self._books = {
            id_: Book.of(table, births.get(id_, event.at_s), self._records[id_, table.record.version])
            for id_, table in kept.items()
        }
        self._lost_s = event.at_s

    def on_told(self, event: Told) -> None:
        if event.schedule:
            if (event.schedule, event.version) not in self._records:
                what = f"{event.wish} of {event.schedule} was acknowledged before it was"
                self.say("told-when-stored", event.schedule, what, event.at_s)
            if event.schedule in self._books:
                self._told.add(event.schedule)

    def _written(self, id_: str, new: NewSchedule, event: Answered) -> None:
        """By plain SQL, past every check."""
        book = self._books.setdefault(id_, Book(id_, new, event.at_s))
        book.wanted, book.version, book.mark, book.quarantine = new, event.answer, "", None
        self._records[id_, event.answer] = tuple(book.records)
        self.see("schedule.written_by_sql")

    def _look(self, id_: str, seen: SeenSchedule | None, event: Answered) -> None:
        book = self._books.get(id_)
        if (seen is None) != (book is None):
            self.say("told-when-stored", id_, f"{event.verb} is wrong about its being there", event.at_s)
            return
        unfinished: tuple[str, ...] = ()
        standing = None if book is None else book.standing
        if seen is not None and standing is not None and standing.rules.overlap != "allow":
            unfinished = tuple(self._unfinished(id_))
            if tuple(seen.unfinished) != unfinished:
                what = f"{id_} has {len(unfinished)} unfinished tasks, {len(seen.unfinished)} are told"
                self.say("overlap-holds", id_, what, event.at_s)
        version = 0 if seen is None else seen.record.version
        self._seen.setdefault((id_, version), []).append(Seen(event.at_s, event.answer.now_us, unfinished))

    def _unfinished(self, id_: str) -> list[str]:
        """The tasks of its fires that have not ended, by their fire times."""
        lives = [life for life in self.model.made_by(id_) if not life.state.is_final]
        return [life.id for life in sorted(lives, key=lambda life: self.model.fires[life.id].fire_us)]

    # --- decisions ------------------------------------------------------------------------------

    def _line(self, line: FireLine, answer: int | Refused, event: Answered) -> None:
        book = self._books.get(line.schedule)
        if isinstance(answer, Refused):
            self.see(f"fire.{answer.code}")
            if answer.code == "version_mismatch" and book is not None and book.version == line.version:
                what = f"a decision about {book.id} was refused though nothing had changed"
                self.say("decided-once", line.schedule, what, event.at_s)
            return
        if book is not None and book.mark == line.mark:
            self.see("fire.repeated")
            if book.version != answer:
                self.say("decided-once", line.schedule, f"a repeat changed {book.id}", event.at_s)
            return
        if line.version != (0 if book is None else book.version):
            what = f"{line.schedule} had moved on when a decision about it was written"
            self.say("decided-once", line.schedule, what, event.at_s)
        if book is None:
            assert line.change is not None
            book = self._books[line.schedule] = Book(line.schedule, line.change, event.at_s)
        self._judge(book, line, event)
        self._apply(book, line, answer, event)

    def _apply(self, book: Book, line: FireLine, version: int, event: Answered) -> None:
        if book.quarantine is not None and line.quarantine is None:
            self.see("schedule.mended")
        book.version, book.mark, book.standing = version, line.mark, line.standing
        book.wanted, book.quarantine = line.change or book.wanted, line.quarantine
        found = [
            FireRecord(event.now_us, made.fire_us, made.fire_us, task=self._task_of(book.id, made))
            for made in line.made
        ]
        found += [
            FireRecord(event.now_us, skip.first_us, skip.last_us, skip.count, reason=skip.reason)
            for skip in line.skips
        ]
        book.records += sorted(found, key=lambda record: record.last_us)
        self._records[book.id, version] = tuple(book.records)

    def _task_of(self, id_: str, made: FireTask) -> str:
        """The one that was made now, or the one that a schedule of this id had made before."""
        for life in self.model.made_by(id_):
            if self.model.fires[life.id].fire_us == made.fire_us:
                return life.id
        return made.task.id

    def _judge(self, book: Book, line: FireLine, event: Answered) -> None:
        """A decision is right if it is what follows from the schedule as its maker was told of it, at some
        time at which he was."""
        if line.quarantine is not None:
            self.see("schedule.quarantined")
            is_due = is_broken(book.wanted) or self._never_fires(book)
            if line.made or line.skips or line.standing != book.standing or not is_due:
                what = f"{book.id} is quarantined: {line.quarantine}"
                self.say("fires-by-rule", book.id, what, event.at_s)
            return
        wanted = line.change or book.wanted
        if is_broken(wanted) or line.standing is None:
            self.say("fires-by-rule", book.id, "it cannot be obeyed, and is not quarantined", event.at_s)
            return
        seen = self._seen.get((book.id, line.version), [])
        judge = Judge(book, line, wanted)
        complaints = [judge.complaint(one) for one in reversed(seen)] or ["nobody had looked at it"]
        if all(complaints):
            fires_at = ", ".join(f"{made.fire_us / SECOND_US:.3f}" for made in line.made)
            what = f"{book.id}, at {event.now_us / SECOND_US:.3f}, fires [{fires_at}]: {complaints[0]}"
            self.say("fires-by-rule", book.id, what, event.at_s)
        if not judge.is_by_hand:
            # What a decision was told before the store failed, and lost the ends of runs, may be wrong now.
            told_truly = all(one.at_s > self._lost_s for one in seen)
            self._judge_tasks(book, line, event, told_truly)
        if line.look_us != _next_look(line.standing):
            what = f"{book.id} is looked at next at {line.look_us}, its next fire is another"
            self.say("fires-by-rule", book.id, what, event.at_s)
        self._count(line, by_hand=judge.is_by_hand)

    def _never_fires(self, book: Book) -> bool:
        """Whether new times had none left to come when somebody looked: plain SQL is not told so at once."""
        timing = book.wanted.rules.timing
        if timing.at_us is not None or (book.standing and book.standing.rules.timing == timing):
            return False
        seen = self._seen.get((book.id, book.version), [])
        return any(following(timing, one.now_us) is None for one in seen)

    def _judge_tasks(self, book: Book, line: FireLine, event: Answered, told_truly: bool) -> None:
        # Of a row that nobody had looked at, the rules that it began with are those of its first change.
        beginning = line.change or book.wanted
        rules = book.standing.rules if book.standing is not None else beginning.rules
        template = book.wanted.template
        unfinished = set(self._unfinished(book.id)) - self.model.replayed
        for made in line.made:
            task = made.task
            if (task.lane, task.payload) != (template.lane, template.payload):
                self.say("fires-by-rule", task.id, f"it is no task of {book.id}", event.at_s)
            later_us = (task.run_at_us or 0) - made.fire_us
            next_us = following(rules.timing, made.fire_us)
            before_next = next_us is None or made.fire_us + later_us < next_us
            fire = book.id, made.fire_us, rules.jitter_us, next_us
            is_same = self._jitter.setdefault(fire, later_us) == later_us
            if not (0 <= later_us <= rules.jitter_us and before_next and is_same):
                what = f"it may run {later_us / SECOND_US:g} s after its fire time"
                self.say("jitter-holds", task.id, what, event.at_s)
            if rules.overlap != "allow" and told_truly:
                self._alone.add(task.id)
                is_new = self.model.life(task.id) is not None
                if rules.overlap == "cancel" and is_new and not unfinished - {task.id} <= set(made.cancels):
                    self.say("overlap-holds", task.id, "an earlier one was not asked to stop", event.at_s)
            self._check_prompt(made.fire_us, task.id, event)

    def _check_prompt(self, fire_us: int, task: str, event: Answered) -> None:
        calm_s = self.model.calm_s
        if calm_s is None:
            return
        calm_us = event.now_us - int((event.at_s - calm_s - CALM_COUNTS_AFTER_S) * SECOND_US)
        late_us = event.now_us - max(fire_us, calm_us)
        if late_us > FIRED_WITHIN_US:
            self.say("fires-in-time", task, f"it was made {late_us / SECOND_US:g} s late", event.at_s)

    def _count(self, line: FireLine, *, by_hand: bool) -> None:
        for skip in line.skips:
            self.see(f"skip.{skip.reason}", skip.count)
        for made in line.made:
            self.see("fire.by_hand" if by_hand else "fire.made")
            self.see("fire.waits", bool(made.task.depends_on))
            self.see("fire.cancels", bool(made.cancels))

    # --- tasks ----------------------------------------------------------------------------------

    def on_step(self, event: Step) -> None:
        fire = self.model.fires.get(event.task)
        if fire is None or event.cause not in (Cause.SUBMIT, Cause.CLAIM):
            return
        for other in self.model.made_by(fire.schedule):
            theirs = self.model.fires[other.id]
            if other.id == event.task:
                continue
            if event.cause is Cause.SUBMIT and theirs.fire_us == fire.fire_us:
                what = f"{other.id} is the task of this fire of {fire.schedule} already"
                self.say("one-task-a-fire", event.task, what, event.at_s)
            is_open = not other.state.is_final and other.id not in self.model.replayed
            is_alone = event.cause is Cause.CLAIM and event.task in self._alone
            if is_alone and is_open and theirs.number < fire.number:
                what = f"it starts while {other.id} is {other.state.label}"
                self.say("overlap-holds", event.task, what, event.at_s)

    # --- the end --------------------------------------------------------------------------------

    def on_shown(self, event: Shown) -> None:
        record = event.timetable.record
        book = self._books[record.id]
        if list(event.timetable.fires) != book.records:
            what = f"{len(event.timetable.fires)} records of {book.id}, {len(book.records)} were decided"
            self.say("fires-on-record", book.id, what, event.at_s)
        if (record.version, record.standing) != (book.version, book.standing):
            self.say("fires-on-record", book.id, f"{book.id} stands elsewhere than decided", event.at_s)
        if self.model.calm_s is None or event.at_s < self.model.calm_s + CALM_COUNTS_AFTER_S:
            return
        if record.standing is None or record.quarantine or record.standing.rules.paused:
            return
        until_us = event.now_us - DECIDED_WITHIN_US
        forgotten = fires(record.standing.rules.timing, record.standing.cursor_us, until_us)
        if forgotten:
            what = f"{len(forgotten)} fire times of {book.id} have neither task nor record"
            self.say("fires-on-record", book.id, what, event.at_s)

    def at_end(self) -> None:
        for id_ in sorted(self._told - self._books.keys()):
            self.say("nothing-lost", id_, "the schedule is gone", 0.0)


def _next_look(standing: Standing | None) -> int | None:
    if standing is None or standing.rules.paused:
        return None
    return following(standing.rules.timing, standing.cursor_us)
