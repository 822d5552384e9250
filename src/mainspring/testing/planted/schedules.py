"""Schedules are decided about, or written, wrongly."""

from typing import Any

import msgspec

from mainspring.core import schedules as core
from mainspring.core.schedules import begin, decide
from mainspring.core.timing import next_us
from mainspring.scheduler import firing
from mainspring.services import Firer
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


def _cursor_first(fire: Any) -> Any:
    """In two transactions; a crash between them loses the tasks."""

    async def wrong(firer: Firer, decided: Any, now_us: int, term: int | None) -> bool:
        bare = [(seen, msgspec.structs.replace(line, made=())) for seen, line in decided]
        settled: bool = await fire(firer, bare, now_us, term)
        return await fire(firer, decided, now_us, term) and settled

    return wrong


def _made_again(fire: Any) -> Any:
    def wrong(call: Any, line: Any) -> Any:
        known = call.tables.fired.pop(line.schedule, {})
        answer = fire(call, line)
        call.tables.fired[line.schedule] = {**known, **call.tables.fired.get(line.schedule, {})}
        return answer

    return wrong


def _mark_not_known(fire: Any) -> Any:
    def wrong(call: Any, line: Any) -> Any:
        row = call.tables.schedules.get(line.schedule)
        if row is not None and row.mark == line.mark:
            line = msgspec.structs.replace(line, version=row.record.version, mark=line.mark + "-again")
        return fire(call, line)

    return wrong


def _with_rules(**changes: Any) -> Any:
    """Decides as if the rules were others."""

    def make(decide: Any) -> Any:
        def wrong(standing: Any, schedule: str, now_us: int) -> Any:
            rules = msgspec.structs.replace(standing.rules, **changes)
            decision = decide(msgspec.structs.replace(standing, rules=rules), schedule, now_us)
            after = msgspec.structs.replace(decision.standing, rules=standing.rules)
            return msgspec.structs.replace(decision, standing=after)

        return wrong

    return make


def _forget_skip(decide: Any) -> Any:
    def wrong(standing: Any, schedule: str, now_us: int) -> Any:
        decision = decide(msgspec.structs.replace(standing, skip_through_us=0), schedule, now_us)
        after = msgspec.structs.replace(decision.standing, skip_through_us=standing.skip_through_us)
        return msgspec.structs.replace(decision, standing=after)

    return wrong


def _on_time(survivors: Any) -> Any:
    def wrong(skips: Any, rules: Any, after_us: int, now_us: int) -> Any:
        patient = msgspec.structs.replace(rules, misfire_grace_us=now_us)
        return survivors(skips, patient, after_us, now_us)

    return wrong


def _keep_first_missed(survivors: Any) -> Any:
    """Of the missed fires the first is made up for, not the last."""

    def wrong(skips: Any, rules: Any, after_us: int, now_us: int) -> Any:
        kept = survivors(skips, rules, after_us, now_us)
        for number, skip in enumerate(skips):
            if skip.reason == "coalesced" and kept and kept[0] > skip.last_us:
                first_us = next_us(rules.timing, skip.first_us)
                last_us = max(kept[0], skip.first_us)
                skips[number] = msgspec.structs.replace(skip, first_us=first_us, last_us=last_us)
                return [skip.first_us, *kept[1:]]
        return kept

    return wrong


def _at_the_time_of_the_decision(task_for: Any) -> Any:
    def wrong(template: Any, start: Any) -> Any:
        late = msgspec.structs.replace(start.fire, run_us=start.fire.run_us + 1_500_000)
        return task_for(template, msgspec.structs.replace(start, fire=late))

    return wrong


def _with_time_of_looking(line_of: Any) -> Any:
    def wrong(seen: Any, decision: Any, new_id: Any, change: Any = None) -> Any:
        line = line_of(seen, decision, new_id, change)
        moved = [made._replace(fire_us=made.fire_us + 1) for made in line.made]
        return msgspec.structs.replace(line, made=moved)

    return wrong


def _ask_nobody(fire: Any) -> Any:
    def wrong(call: Any, line: Any) -> Any:
        spared = [made._replace(cancels=()) for made in line.made]
        return fire(call, msgspec.structs.replace(line, made=spared))

    return wrong


def _keep_tasks_only(write: Any) -> Any:
    def wrong(call: Any, row: Any, line: Any, tasks: Any) -> Any:
        return write(call, row, msgspec.structs.replace(line, skips=()), tasks)

    return wrong


def _wait_for_nobody(task_for: Any) -> Any:
    return lambda template, start: task_for(template, msgspec.structs.replace(start, waits_for=()))


def _as_if_nothing_ran(seen: Any) -> Any:
    def wrong(tables: Any, row: Any) -> Any:
        return msgspec.structs.replace(seen(tables, row), unfinished=())

    return wrong


def _obey_anything(quarantined: Any) -> Any:
    def wrong(seen: Any, now_us: int, problem: str, new_id: Any) -> Any:
        line = quarantined(seen, now_us, problem, new_id)
        return msgspec.structs.replace(line, quarantine=None, look_us=None)

    return wrong


SCHEDULE_BUGS: tuple[Bug, ...] = (
    bug("decisions of an earlier version are written", schedules, "_fire", _without_version),
    bug("decisions of a deposed leader are written", schedules, "leads", instead(lambda call, term: True)),
    bug("the cursor of a schedule stays where it was", schedules, "_write", _without_cursor),
    bug("an edit forgets what the old rules had to decide", firing, "edit", instead(_new_rules_only)),
    bug("overlapping fires are left out without a record", firing, "overlap", _without_records),
    bug("the cursor moves before the tasks are written", Firer, "_fire", _cursor_first),
    bug("a fire is given a second task", schedules, "_fire", _made_again),
    bug("a repeated decision is written again", schedules, "_fire", _mark_not_known),
    bug("skips are decided and not recorded", schedules, "_write", _keep_tasks_only),
    bug("what was missed counts as on time", core, "_survivors", _on_time),
    bug("of missed fires the first is made up for", core, "_survivors", _keep_first_missed),
    bug("a pause is made up for", core, "decide", _with_rules(paused=False)),
    bug("a skip by hand is forgotten", core, "decide", _forget_skip),
    bug("a fire carries another time than its own", firing, "line_of", _with_time_of_looking),
    bug("jitter goes beyond its bound", firing, "task_for", _at_the_time_of_the_decision),
    bug("overlap forgets what ran before", schedules, "_seen", _as_if_nothing_ran),
    bug("overlap cancel stops nobody", schedules, "_fire", _ask_nobody),
    bug("overlap queue waits for nobody", firing, "task_for", _wait_for_nobody),
    bug("what cannot be obeyed goes without quarantine", firing, "quarantined", _obey_anything),
    bug("a schedule that has fired is never looked at again", firing, "line_of", _never_again),
)
