"""What happened in one seed, in order. The checks read nothing else, so what they find can be shown.

Times `at_s` are the loop's, which no host sees; `now_us` is the store's clock at that moment.
"""

from collections import Counter
from hashlib import sha256
from typing import Any, NamedTuple

from mainspring.core.lifecycle import Cause
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane, State, Task
from mainspring.core.progress import Noted
from mainspring.ports import FireRecord, ScheduleRecord, Term


class Called(NamedTuple):
    """A verb begins in the store. Its steps follow, then its `Answered`: nothing comes in between."""

    at_s: float
    call: int
    now_us: int
    verb: str
    args: tuple[Any, ...]


class Step(NamedTuple):
    """A task changed its state: the row as the step left it."""

    at_s: float
    call: int
    now_us: int
    task: str
    old: State | None
    cause: Cause
    new: State
    token: int
    attempt: int
    retries: int
    losses: int
    snoozes: int
    incarnation: str
    claim_seq: int
    lane: Lane
    seq: int | None
    lease_until_us: int | None
    run_at_us: int | None
    deadline_us: int | None
    result: bytes | None


class Answered(NamedTuple):
    """The verb's answer. `meddled` are tasks that a refused line changed all the same; `astray` are leases
    that a renewal left with a worker which does not name them."""

    at_s: float
    call: int
    now_us: int
    verb: str
    answer: Any
    meddled: tuple[str, ...]
    astray: tuple[str, ...]


class Timetable(NamedTuple):
    """A schedule as it is stored: its record, the mark of its last decision, what is on record of its fires,
    and the tasks that it has by their fire times."""

    record: ScheduleRecord
    mark: str
    fires: tuple[FireRecord, ...]
    tasks: dict[int, str]


class Restored(NamedTuple):
    """The store lost what was written since `taken_s`; these are its tasks now, the lines that their
    checkpoints are of, the parents that each still waits for, the controls, the schedules and the term; that
    one's time is what is left of it."""

    at_s: float
    taken_s: float
    tasks: tuple[Task, ...]
    holders: dict[str, tuple[str, int]]
    noted: dict[str, Noted]
    open_parents: dict[str, tuple[str, ...]]
    paused: tuple[str, ...]
    rules: dict[str, LimitRule]
    schedules: tuple[Timetable, ...]
    term: Term | None
    now_us: int


class Shown(NamedTuple):
    """A schedule at the end of a seed, or just before it is deleted. `look_us` is when the firer is to look
    at it next."""

    at_s: float
    now_us: int
    timetable: Timetable
    look_us: int | None


class Led(NamedTuple):
    """A node asked itself whether it leads, and believes so, by this term."""

    at_s: float
    node: str
    term: int


class Recounted(NamedTuple):
    """The store's books against its rows: each difference as a sentence."""

    at_s: float
    differences: tuple[str, ...]


class Ran(NamedTuple):
    """A handler's own word. `what` is `start`, or how it ended: `ok`, `raised`, `snoozed`, `quit`,
    `interrupted`. `value` is the result it returned, as JSON."""

    at_s: float
    worker: str
    incarnation: str
    task: str
    token: int
    attempt: int
    what: str
    value: bytes | None = None


class Stepped(NamedTuple):
    """A handler's word on one of its steps: it runs now (no `value`), or has returned `value`, as JSON."""

    at_s: float
    task: str
    token: int
    name: str
    value: bytes | None


class Saved(NamedTuple):
    """A handler gives `value`, as JSON, to be kept for a later run."""

    at_s: float
    task: str
    token: int
    value: bytes


class Logged(NamedTuple):
    """What the log of a task holds at the end of a seed."""

    at_s: float
    task: str
    lines: tuple[str, ...]


class Asked(NamedTuple):
    """A worker calls its source."""

    at_s: float
    number: int
    worker: str
    incarnation: str
    verb: str
    message: Any


class Heard(NamedTuple):
    """The worker gets the answer, or an error's text."""

    at_s: float
    number: int
    verb: str
    answer: Any
    error: str | None


class Told(NamedTuple):
    """A client was told something by a server, and may rely on it from now on: about tasks, or about a
    schedule and its version."""

    at_s: float
    wish: str
    tasks: tuple[str, ...]
    state: State | None = None
    schedule: str = ""
    version: int = 0


class Fault(NamedTuple):
    at_s: float
    point: str
    detail: str


class Phase(NamedTuple):
    """The course of the seed: `storm`, `calm`, `closing`, `end`; `detail` tells what was left undone. And
    that of a host, which `detail` names: it `woke`, or is `gone`."""

    at_s: float
    name: str
    detail: str = ""


Event = (
    Called | Step | Answered | Restored | Shown | Led | Recounted | Ran | Stepped
    | Saved | Logged | Asked | Heard | Told | Fault | Phase
)  # fmt: skip


class Record:
    """All events of a seed."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.faults: Counter[str] = Counter()
        self.edges: Counter[tuple[State | None, Cause, State]] = Counter()

    def add(self, event: Event) -> None:
        self.events.append(event)

    def fault(self, at_s: float, point: str, detail: str = "") -> None:
        self.faults[point] += 1
        self.events.append(Fault(at_s, point, detail))

    def lines(self) -> list[str]:
        return [repr(event) for event in self.events]

    def digest(self) -> str:
        """Equal for two runs only if everything happened in the same way, at the same instants."""
        return sha256("\n".join(self.lines()).encode()).hexdigest()
