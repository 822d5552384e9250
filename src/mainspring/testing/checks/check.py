"""What a check is: it looks at every event, with the model as it was just before, and says what is wrong."""

from collections import Counter
from typing import NamedTuple

from mainspring.testing.checks.model import Model
from mainspring.testing.record import (
    Answered,
    Asked,
    Called,
    Fault,
    Heard,
    Led,
    Logged,
    Phase,
    Ran,
    Recounted,
    Restored,
    Saved,
    Shown,
    Step,
    Stepped,
    Told,
)


class Violation(NamedTuple):
    """A broken promise: its name (as in `docs/simulation.md`), the task or schedule, what happened, when."""

    promise: str
    task: str
    what: str
    at_s: float


class Check:
    """Base of the checks: each overrides what it wants to see."""

    def __init__(self, model: Model, found: list[Violation]) -> None:
        self.model = model
        self.seen: Counter[str] = Counter()
        self._found = found

    def say(self, promise: str, task: str, what: str, at_s: float) -> None:
        self._found.append(Violation(promise, task, what, at_s))

    def see(self, sight: str, times: int = 1) -> None:
        """Something worth counting was met: one of `sights.SIGHTS`."""
        self.seen[sight] += times

    def on_called(self, event: Called) -> None: ...

    def on_step(self, event: Step) -> None: ...

    def on_answered(self, event: Answered) -> None: ...

    def on_restored(self, event: Restored) -> None: ...

    def on_shown(self, event: Shown) -> None: ...

    def on_led(self, event: Led) -> None: ...

    def on_recounted(self, event: Recounted) -> None: ...

    def on_ran(self, event: Ran) -> None: ...

    def on_stepped(self, event: Stepped) -> None: ...

    def on_saved(self, event: Saved) -> None: ...

    def on_logged(self, event: Logged) -> None: ...

    def on_asked(self, event: Asked) -> None: ...

    def on_heard(self, event: Heard) -> None: ...

    def on_told(self, event: Told) -> None: ...

    def on_fault(self, event: Fault) -> None: ...

    def on_phase(self, event: Phase) -> None: ...

    def at_end(self) -> None: ...
