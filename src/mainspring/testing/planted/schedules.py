"""Schedules are decided about, or written, wrongly."""

from typing import Any

import msgspec

from mainspring.core.schedules import begin, decide
from mainspring.scheduler import firing
from mainspring.stores.memory import schedules
from mainspring.testing.planted.planting import Bug, bug, instead


def _without_version(fire: Any) -> Any:
    def wrong(call: Any, line: Any) -> Any:
        row = call.tables.schedules.get(line.schedule)
        if row is not None and line.version:
            line = msgspec.structs.replace(line, version=row.record.version)
        return fire(call, line)

    return wrong


def _without_cursor(write: Any) -> Any:
    def wrong(call: Any, row: Any, line: Any, tasks: Any) -> Any:
        if row is not None and row.record.standing is not None:
            line = msgspec.structs.replace(line, standing=row.record.standing)
        return write(call, row, line, tasks)

    return wrong


def _without_records(overlap: Any) -> Any:
    return lambda *args: (overlap(*args)[0], [])


def _new_rules_only(standing: Any, schedule: str, rules: Any, now_us: int) -> Any:
    decision = decide(begin(rules, now_us), schedule, now_us)
    return msgspec.structs.replace(decision, fires=(), skips=())


def _never_again(line_of: Any) -> Any:
    def wrong(*args: Any) -> Any:
        line = line_of(*args)
        return msgspec.structs.replace(line, look_us=None) if line.made else line

    return wrong


SCHEDULE_BUGS: tuple[Bug, ...] = (
    bug("decisions of an earlier version are written", schedules, "_fire", _without_version),
    bug("decisions of a deposed leader are written", schedules, "leads", instead(lambda call, term: True)),
    bug("the cursor of a schedule stays where it was", schedules, "_write", _without_cursor),
    bug("an edit forgets what the old rules had to decide", firing, "edit", instead(_new_rules_only)),
    bug("overlapping fires are left out without a record", firing, "overlap", _without_records),
    bug("a schedule that has fired is never looked at again", firing, "line_of", _never_again),
)
