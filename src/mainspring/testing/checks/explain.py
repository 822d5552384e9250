"""The story of a violation: what happened to its task, line by line."""

from mainspring.ports import ScheduleRecord
from mainspring.testing.checks.check import Violation
from mainspring.testing.record import Answered, Asked, Called, Event, Fault, Ran, Record, Step, Told

LINES_MOST = 60


def explain(record: Record, violation: Violation) -> str:
    """The violation, and all that the record says of its task; without one, what happened just before."""
    head = f"{violation.promise}: {violation.what} (at {violation.at_s:.3f} s)"
    if violation.task:
        head += f"\n  task {violation.task}"
        story: list[Event] = [event for event in record.events if _concerns(event, violation.task)]
        began_s = min((event.at_s for event in story if isinstance(event, Step | Called)), default=0.0)
        story = [event for event in story if began_s <= event.at_s]
    else:
        story = [
            event for event in record.events if event.at_s <= violation.at_s and isinstance(event, Fault)
        ]
    shown = story if len(story) <= LINES_MOST else story[-LINES_MOST:]
    left_out = [f"  ... {len(story) - len(shown)} earlier lines"] if len(shown) < len(story) else []
    return "\n".join([head, *left_out, *(f"  {_line(event, violation.task)}" for event in shown)])


def _concerns(event: Event, task: str) -> bool:
    if isinstance(event, Step | Ran):
        return event.task == task
    if isinstance(event, Told):
        return task in (event.schedule, *event.tasks)
    if isinstance(event, Fault):
        return event.point.startswith(("worker", "server", "store.lost", "store.clock"))
    if isinstance(event, Asked):
        return event.verb == "settle" and any(report.task == task for report in event.message)
    if isinstance(event, Answered):
        return event.verb in ("due_schedules", "schedules") and task in _seen(event)
    if not isinstance(event, Called):
        return False
    if event.verb == "fire":
        return any(line.schedule == task for line in event.args[0])
    return event.args[:1] == (task,) or (event.verb == "exchange" and task in _settled(event))


def _seen(event: Answered) -> dict[str, ScheduleRecord]:
    return {seen.record.id: seen.record for seen in event.answer.schedules if seen is not None}


def _settled(event: Called) -> list[str]:
    return [line.task for line in event.args[0].settles]


def _line(event: Event, task: str) -> str:
    at = f"{event.at_s:10.4f}"
    if isinstance(event, Step):
        old = "-" if event.old is None else event.old.label
        return (
            f"{at}  {old} --{event.cause.name}--> {event.new.label}  token {event.token}"
            f" attempt {event.attempt} retries {event.retries} losses {event.losses}"
            f" by {event.incarnation[-8:] or '-'}"
        )
    if isinstance(event, Ran):
        return f"{at}    {event.worker} ({event.incarnation[-8:]}) {event.what}, token {event.token}"
    if isinstance(event, Told):
        state = "" if event.state is None else f", {event.state.label}"
        return f"{at}    client told: {event.wish}{state}"
    if isinstance(event, Fault):
        return f"{at}        * {event.point} {event.detail}"
    if isinstance(event, Asked):
        reports = [report for report in event.message if report.task == task]
        said = ", ".join(f"{report.outcome.name.lower()} token {report.token}" for report in reports)
        return f"{at}    {event.worker} reports {said}"
    if isinstance(event, Answered):
        seen = _seen(event)[task]
        return f"{at}    seen at {event.answer.now_us}: version {seen.version}, {seen.standing}"
    if isinstance(event, Called) and event.verb == "fire":
        decisions = [line for line in event.args[0] if line.schedule == task]
        return f"{at}    decided at {event.now_us} under {event.args[1]}: {decisions}"
    if isinstance(event, Called) and event.verb != "exchange":
        return f"{at}    {event.verb} {event.args}"
    if isinstance(event, Called):
        lines = [line for line in event.args[0].settles if line.task == task]
        causes = ", ".join(f"{line.change.cause.name} token {line.token}" for line in lines)
        return f"{at}    the store is told {causes}"
    return f"{at}    {type(event).__name__}"
