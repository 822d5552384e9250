"""What runs leave behind is mixed up; limits and replays are."""

from typing import Any

import msgspec

from mainspring.core.lifecycle import Cause
from mainspring.core.model import State
from mainspring.ports import Answer, Append, Recall, Recalled, Refused
from mainspring.stores.memory import claiming, editing, progress, settling
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.tables import Row, Tables
from mainspring.testing.planted.planting import Bug, Patch, bug, instead
from mainspring.worker.outbox import Outbox
from mainspring.worker.recording import Recordings, Waiting


def _append_by_any_token(call: Call, line: Append) -> Answer:
    row = call.tables.rows.get(line.task)
    if row is None or row.state is not State.RUNNING:
        return Answer.LOST
    progress.record(call, row, line)
    return Answer.OK


def _keep_first_checkpoint(record: Any) -> Any:
    def wrong(call: Call, row: Row, line: Append) -> None:
        if row.checkpoint is not None:
            line = msgspec.structs.replace(line, checkpoint=None)
        record(call, row, line)

    return wrong


def _without_checkpoint(grant: Any) -> Any:
    def wrong(call: Call, ask: Any, row: Row) -> Any:
        return msgspec.structs.replace(grant(call, ask, row), checkpoint=None)

    return wrong


def _add_all_but_checkpoint(add: Any) -> Any:
    def wrong(waiting: Waiting, line: Append, noted: Any) -> None:
        if waiting.line.checkpoint is not None:
            line = msgspec.structs.replace(line, checkpoint=None)
        add(waiting, line, noted)

    return wrong


async def _outcomes_first(outbox: Outbox) -> None:
    runs = outbox._burst()
    if runs:
        await outbox._settle(runs)
    await outbox._recordings.hand_over()


def _offered_never(standing: Any) -> Any:
    def wrong(recordings: Recordings, burst: list[Waiting]) -> list[Waiting]:
        for waiting in burst:
            waiting.offered = True
        found: list[Waiting] = standing(recordings, burst)
        return found

    return wrong


def _parents_without_results(recalled: Any) -> Any:
    def wrong(tables: Tables, row: Row, line: Recall) -> Recalled | Refused:
        found: Recalled | Refused = recalled(tables, row, line)
        if isinstance(found, Recalled):
            found.parents = [msgspec.structs.replace(parent, result=None) for parent in found.parents]
        return found

    return wrong


def _latest_first(admit: Any) -> Any:
    return lambda head, token, pieces: admit(head, token, pieces[:1])


def _lost_slot(move: Any) -> Any:
    def wrong(call: Call, row: Row, cause: Cause, new: State) -> None:
        if cause is Cause.LOSE:
            for name in (f"queue:{row.lane.queue}", f"tenant:{row.lane.tenant}"):
                call.tables.usage[name].running += 1
        move(call, row, cause, new)

    return wrong


def _first_rule_only(room: Any) -> Any:
    """A limit that is changed while tasks run under it goes on as it was first."""

    def wrong(call: Call, lane: Any) -> int:
        tables = call.tables
        first = tables.__dict__.setdefault("first_rules", {})
        now = tables.rules
        for name, rule in now.items():
            first.setdefault(name, rule)
        tables.rules = {name: first[name] for name in now}
        try:
            found: int = room(call, lane)
        finally:
            tables.rules = now
        return found

    return wrong


def _replay_at_once(replay: Any) -> Any:
    return lambda call, row, delay_us: replay(call, row, 0)


def _replay_unwatched(replay: Any) -> Any:
    """The task is scheduled, and nobody looks for it when it is due."""

    def wrong(call: Call, row: Row, delay_us: int) -> bool:
        known = list(call.tables.scheduled)
        done: bool = replay(call, row, delay_us)
        call.tables.scheduled[:] = known
        return done

    return wrong


PROGRESS_BUGS: tuple[Bug, ...] = (
    bug("a checkpoint of a fenced run is stored", settling, "append", instead(_append_by_any_token)),
    bug("only the first checkpoint is kept", progress, "record", _keep_first_checkpoint),
    bug("a later run is handed no checkpoint", claiming, "_grant", _without_checkpoint),
    bug("of two checkpoints at once the first is sent", Waiting, "add", _add_all_but_checkpoint),
    bug("outcomes go ahead of checkpoints", Outbox, "hand_over", instead(_outcomes_first)),
    Bug(
        "what was recorded late is given up unsent",
        (
            Patch(Recordings, "_standing", _offered_never),
            Patch(Outbox, "_is_whole", instead(lambda outbox, run, given_up: True)),
        ),
    ),
    bug("parents are told without what they gave", progress, "recalled", _parents_without_results),
    bug("of several lines of a log one is kept", progress, "admit", _latest_first),
    bug("a lost lease keeps its slot", Call, "move", _lost_slot),
    bug("a changed limit goes on as it was", Call, "room", _first_rule_only),
    bug("a delayed replay comes back at once", editing, "_replay", _replay_at_once),
    bug("a delayed replay is forgotten", editing, "_replay", _replay_unwatched),
)
