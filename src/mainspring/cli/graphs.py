"""A workflow for people: as tables, and live while it runs."""

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mainspring.cli import show
from mainspring.clock import SystemClock
from mainspring.core.model import State
from mainspring.wire.workflow_views import GraphView, MemberView, WorkflowView

BAR_WIDTH = 40
NAMES_SHOWN = 8  # of a critical path: as many from either end as fit
TASKS_SHOWN = 60
LEVELS_SHOWN = 24
STATES = [state.label for state in State]


def tables(workflow: GraphView) -> None:
    """All of it that fits: of thousands of tasks only those that failed."""
    click_lines(_head(workflow))
    show.table(("LEVEL", "TASKS", "PROGRESS", "NOW"), list(_levels(workflow.tasks)))
    shown = [task for task in workflow.tasks if len(workflow.tasks) <= TASKS_SHOWN or task.state == "failed"]
    if shown:
        show.console().print()
        show.table(
            ("NAME", "STATE", "RUN", "TAKES", "SLACK", "DEPENDS ON", "ID"),
            [_row(task) for task in shown[:TASKS_SHOWN]],
        )
    if len(workflow.tasks) > TASKS_SHOWN:
        show.console().print(f"{show.count(len(workflow.tasks))}; -o json shows all")


def click_lines(lines: Iterable[str]) -> None:
    out = show.console()
    for line in lines:
        out.print(line)


def _head(workflow: GraphView) -> Iterable[str]:
    counts = ", ".join(f"{count} {show.coloured(state)}" for state, count in workflow.counts.items())
    name = show.text(workflow.name) if workflow.name else "workflow"
    yield f"{name} {workflow.id} {show.coloured(workflow.state)}: {counts}"
    times = [f"took {_span(workflow)}"] if workflow.finished_at else []
    if workflow.started_at and not workflow.finished_at:
        times = [
            f"running for {_span(workflow)}",
            f"{show.duration(workflow.critical_path.left)} left at least",
        ]
    path = workflow.critical_path
    times.append(f"critical path {show.duration(path.duration)}")
    yield ", ".join(times)
    if path.tasks:
        yield f"critical: {' > '.join(_ends(path.tasks))}"
    if workflow.callbacks:
        callbacks = ((name, one.state or "forgotten") for name, one in workflow.callbacks.items())
        yield "callbacks: " + ", ".join(f"{name} {show.coloured(state)}" for name, state in callbacks)


def _span(workflow: GraphView) -> str:
    if workflow.started_at is None:
        return ""
    if workflow.finished_at is None:
        return show.duration(SystemClock().now_us() / 1e6 - workflow.started_at.timestamp())
    return show.duration((workflow.finished_at - workflow.started_at).total_seconds())


def _ends(names: Sequence[str]) -> list[str]:
    """The names, those in the middle of a long chain left out."""
    shown = [show.text(name, 30) for name in names]
    if len(shown) > NAMES_SHOWN:
        half = NAMES_SHOWN // 2
        shown[half:-half] = [f"({len(shown) - 2 * half} more)"]
    return shown


def _levels(tasks: Sequence[MemberView]) -> Iterable[tuple[str, int, str, str]]:
    levels: dict[int, list[MemberView]] = {}
    for task in tasks:
        levels.setdefault(task.level, []).append(task)
    for level, found in sorted(levels.items())[:LEVELS_SHOWN]:
        ended = sum(task.finished_at is not None for task in found)
        yield str(level), len(found), f"{ended}/{len(found)}", _now(found)
    if len(levels) > LEVELS_SHOWN:
        rest = [task for level, found in levels.items() if level >= LEVELS_SHOWN for task in found]
        yield f"+{len(levels) - LEVELS_SHOWN}", len(rest), "", _now(rest)


def _now(tasks: Sequence[MemberView]) -> str:
    """How the tasks of a level stand; those that run by name, if they are few."""
    counts = Counter(task.state for task in tasks)
    parts = [f"{counts[state]} {show.coloured(state)}" for state in STATES if counts[state]]
    running = [show.text(task.name, 20) for task in tasks if task.state == "running"]
    if 0 < len(running) <= 3:
        parts.append(f"({', '.join(running)})")
    return " ".join(parts)


def _row(task: MemberView) -> tuple[str, ...]:
    takes = show.duration(task.duration)
    return (
        ("* " if task.is_critical else "") + show.text(task.name, 40),
        show.coloured(task.state),
        str(task.attempt),
        f"~{takes}" if task.is_estimated else takes,
        show.duration(task.slack) if task.slack else "",
        show.text(", ".join(task.depends_on), 50),
        task.id,
    )


def workflow_table(workflows: Sequence[WorkflowView]) -> None:
    rows = [
        (
            one.id,
            show.coloured(one.state),
            f"{one.progress:.0%}",
            sum(one.counts.values()),
            one.counts.get("failed", 0) or "",
            show.ago(one.created_at),
            show.text(one.name),
        )
        for one in workflows
    ]
    show.table(("ID", "STATE", "DONE", "TASKS", "FAILED", "AGE", "NAME"), rows)


class Watch:
    """Shows a workflow while it changes: a live picture on a terminal, else a line for every change."""

    def __init__(self) -> None:
        self._console = show.console(stderr=True, width=None)
        self._live: Live | None = None
        self._said = ""

    def __enter__(self) -> "Watch":
        if self._console.is_terminal:
            self._live = Live(console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def draw(self, workflow: GraphView) -> None:
        if self._live is not None:
            self._live.update(_picture(workflow), refresh=True)
            return
        counts = ", ".join(f"{count} {state}" for state, count in workflow.counts.items())
        line = f"{workflow.state} {workflow.progress:.0%}: {counts}"
        if line != self._said:
            self._console.print(line)
            self._said = line


def _picture(workflow: GraphView) -> Group:
    table = Table("LEVEL", "TASKS", "", "", "NOW", box=None, pad_edge=False, header_style="bold")
    for level, count, ended, now in _levels(workflow.tasks):
        done = int(ended.partition("/")[0] or 0)
        table.add_row(level, str(count), ProgressBar(count, done, width=BAR_WIDTH // 2), ended, now)
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(1.0, workflow.progress, width=BAR_WIDTH), f"{workflow.progress:.0%}")
    return Group(*(Text.from_markup(line) for line in _head(workflow)), bar, table)
