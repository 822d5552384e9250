"""One write transaction: its moment, what it mints, and what it must still write before it commits."""

from collections.abc import Callable
from typing import TypeVar

import apsw
import msgspec

from mainspring.core.lifecycle import Cause
from mainspring.core.limits import LimitRule
from mainspring.core.model import State
from mainspring.core.order import LaneHead
from mainspring.ports import Clock
from mainspring.stores.sqlite.connection import connect, let_go, named_errors
from mainspring.stores.sqlite.lanes import Lanes
from mainspring.stores.sqlite.limits import stored_rules
from mainspring.stores.sqlite.schema import prepare
from mainspring.stores.sqlite.wakes import News, Teller

ResultT = TypeVar("ResultT")

CHILDREN_RELEASED_AT_ONCE = 500

READ_META = "SELECT now_us, minted, generation FROM meta"
READ_LAST = "SELECT minted, EXISTS (SELECT 1 FROM submissions) FROM meta"
WRITE_CLOCK = "UPDATE meta SET now_us = ?, minted = ?"
BUMP_GENERATION = "UPDATE meta SET generation = generation + 1"
ADD_COUNT = (
    "INSERT INTO counts (queue, state, n) VALUES (?, ?, ?)"
    " ON CONFLICT (queue, state) DO UPDATE SET n = n + excluded.n"
)
READ_COUNT = "SELECT n FROM counts WHERE queue = ? AND state = ?"
ADD_STEP = "INSERT INTO history (task, at_us, old, cause, new, attempt, token) VALUES (?, ?, ?, ?, ?, ?, ?)"
LANE_HEAD = "SELECT min(seq) FROM tasks INDEXED BY tasks_ready WHERE lane = ? AND state = 3"

_rule = msgspec.json.Decoder(LimitRule)


class Transaction:
    """Everything between BEGIN and COMMIT. `now_us` is the store's time; it never goes back.

    What is minted rises even while the time stands still, and may run ahead of it.
    """

    def __init__(self, writer: "Writer", now_us: int, minted: int) -> None:
        self.db = writer.db
        self.lanes = writer.lanes
        self.paused = writer.paused
        self.rules = writer.rules
        self.caps_backlogs = writer.caps_backlogs
        self.now_us = now_us
        self.before = minted
        self.minted = max(minted, now_us - 1)
        self.counts: dict[tuple[str, int], int] = {}
        self.gained: dict[int, None] = {}
        self.ready: list[LaneHead] | None = None
        self.tells_all = False
        self.freed: set[int] = set()
        self.finished: list[str] = []
        self.children_left = CHILDREN_RELEASED_AT_ONCE
        self.steps: list[tuple[str, int, int | None, int, int, int, int]] | None = (
            [] if writer.keeps_history else None
        )

    def mint(self) -> int:
        """A number that rises over every other that this store ever gave: a token, version or place."""
        self.minted += 1
        return self.minted

    def mint_many(self, count: int) -> range:
        first = self.minted + 1
        self.minted += count
        return range(first, first + count)

    def count(self, queue: str, state: int, change: int) -> None:
        place = (queue, state)
        self.counts[place] = self.counts.get(place, 0) + change

    def counted(self, queue: str, state: int) -> int:
        """How many tasks of the queue are in the state, as of now."""
        stored = self.db.execute(READ_COUNT, (queue, state)).get
        return int(stored or 0) + self.counts.get((queue, state), 0)

    def record(
        self, task: str, old: State | None, cause: Cause, new: State, attempt: int, token: int
    ) -> None:
        """Keep one step of a task's life, if the store keeps them."""
        if self.steps is not None:
            self.steps.append((task, self.now_us, old, cause, new, attempt, max(token, 0)))

    def heads(self) -> list[LaneHead]:
        """The lanes that this transaction gave ready tasks, where any are left."""
        found = []
        for lane_id in self.gained:
            seq = self.db.execute(LANE_HEAD, (lane_id,)).get
            if seq is not None:
                found.append(LaneHead(lane_id, self.lanes.by_id(lane_id), seq))
        self.ready = found
        return found

    def finish(self) -> None:
        changes = [(queue, state, n) for (queue, state), n in self.counts.items() if n]
        if changes:
            self.db.executemany(ADD_COUNT, changes)
        if self.steps:
            self.db.executemany(ADD_STEP, self.steps)
        self.db.execute(WRITE_CLOCK, (self.now_us, self.minted))


class Writer:
    """The one connection of this process that writes, with what it knows by heart: lanes, which never
    change, and limits and pauses, which are read again when their generation has risen."""

    def __init__(
        self,
        path: str,
        clock: Clock,
        teller: Teller,
        others_wrote: Callable[[tuple[int, int] | None], None],
        *,
        keeps_history: bool,
        migrates: bool = True,
    ) -> None:
        self._teller = teller
        self._others_wrote = others_wrote
        self._path = path
        self._clock = clock
        self.keeps_history = keeps_history
        self.paused: dict[str, str] = {}
        self.rules: dict[str, LimitRule] = {}
        self.caps_backlogs = False
        self._generation = 0
        with named_errors(path):
            self.db = connect(path)
            try:
                prepare(self.db, path, migrates=migrates)
                self._last_written, _ = self.db.execute(READ_LAST).fetchone()
                self._data_version = self._read_data_version()
            except BaseException:
                self.db.close()
                raise
        self.lanes = Lanes(self.db)

    def close(self) -> None:
        self.db.close()

    def write(self, work: Callable[[Transaction], ResultT]) -> ResultT:
        """Run `work` in one durable transaction; if it raises, nothing of it was stored."""
        with named_errors(self._path):
            db = self.db
            db.execute("BEGIN IMMEDIATE")
            try:
                before = db.total_changes()
                transaction = self._begin()
                result = work(transaction)
                if db.total_changes() != before:
                    transaction.finish()
                    db.execute("COMMIT")
                    self._last_written = transaction.minted
                    self._tell(transaction)
                else:
                    db.execute("ROLLBACK")
            except BaseException as error:
                let_go(error)
                self._roll_back()
                raise
        return result

    def _begin(self) -> Transaction:
        now_us, minted, generation = self.db.execute(READ_META).fetchone()
        if minted != self._last_written:
            self._see_others()
        if generation != self._generation:
            self.paused = dict(self.db.execute("SELECT queue, by FROM paused"))
            self.rules = stored_rules(self.db)
            self.caps_backlogs = any(rule.max_waiting is not None for rule in self.rules.values())
            self._generation = generation
        return Transaction(self, max(now_us, self._clock.now_us()), minted)

    def _roll_back(self) -> None:
        """A full disk makes SQLite roll back by itself. What was cached may be gone from the file."""
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")
        self.lanes.forget()
        self._generation = 0

    def _tell(self, written: Transaction) -> None:
        """Tell other processes what the transaction has brought."""
        if written.tells_all:
            span = (written.before, written.minted)
        elif written.gained or written.finished:
            span = None
        else:
            return  # they will see it
        ready = written.ready if written.gained else ()
        self._teller.tell(News(ready, bool(written.finished), span))

    def look_for_others(self) -> None:
        """Ask SQLite whether another process has written since this was asked last."""
        try:
            if self._read_data_version() != self._data_version:
                with self.db:
                    self._see_others()
        except apsw.Error:
            # Only a hint is lost; the next call tells its caller what is wrong with the file.
            return

    def _see_others(self) -> None:
        """Others have written, as one and the same moment shows it. Plain SQL tells nobody what it does; what
        is submitted by it does not even change the number."""
        minted, has_submissions = self.db.execute(READ_LAST).fetchone()
        is_by_number = minted != self._last_written and not has_submissions
        self._others_wrote((self._last_written, minted) if is_by_number else None)
        self._last_written, self._data_version = minted, self._read_data_version()

    def _read_data_version(self) -> int:
        return int(self.db.execute("PRAGMA data_version").get)
