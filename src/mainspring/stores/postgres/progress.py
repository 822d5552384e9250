"""What running tasks record on the way, and what is read of it: checkpoints, steps, logs, parents."""

from collections.abc import Sequence

import msgspec

from mainspring.core.progress import (
    LOG_BYTES_KEPT,
    LOG_BYTES_LIVE,
    RECALL_BYTES,
    LogBlock,
    LogHead,
    LogPiece,
    admit,
    surplus,
    unread,
    weight_of,
)
from mainspring.ports import Answer, Append, Glance, LogPage, Parent, Recall, Recalled, Refused
from mainspring.stores.postgres.rows import can_be_stored, decode_ids, known_texts, state_of
from mainspring.stores.postgres.transaction import Transaction, columns
from mainspring.verbs import lease_lost, recall_too_large

CUT_AT_ONCE = 20
BLOCKS_READ_AT_ONCE = 8

_encode = msgspec.msgpack.Encoder().encode
_pieces = msgspec.msgpack.Decoder(list[LogPiece])


# --- recording --------------------------------------------------------------------------------------


async def append(tx: Transaction, lines: Sequence[Append]) -> list[Answer]:
    """All of a line, or nothing of it. One with a value that cannot be stored harms no other."""
    good = [place for place, line in enumerate(lines) if not tx.is_careful or _can_be_stored(line)]
    held: set[tuple[str, int]] = set()
    if good:
        wanted = [(lines[place].task, lines[place].token) for place in good]
        rows = await tx.rows("hold", *columns(sorted(set(wanted))))
        held = {(row["task"], row["token"]) for row in rows}
    accepted = [place for place in good if (lines[place].task, lines[place].token) in held]
    marks = [
        (line.task, line.checkpoint, line.progress, line.token, line.number)
        for line in (lines[place] for place in accepted)
        if line.checkpoint is not None or line.progress is not None
    ]
    await tx.do_many("mark", marks)
    steps = [
        (lines[place].task, name, result) for place in accepted for name, result in lines[place].steps.items()
    ]
    await tx.do_many("add_step", steps)
    await _write_logs(tx, [lines[place] for place in accepted if lines[place].log])
    taken = set(accepted)
    return [Answer.OK if place in taken else Answer.LOST for place in range(len(lines))]


def _can_be_stored(line: Append) -> bool:
    return can_be_stored(line.task) and all(map(can_be_stored, line.steps)) and _texts_can_be_stored(line)


def _texts_can_be_stored(line: Append) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for piece in line.log for letter in piece.text)


async def _write_logs(tx: Transaction, lines: Sequence[Append]) -> None:
    if not lines:
        return
    tasks = sorted({line.task for line in lines})
    heads = {task: LogHead() for task in tasks}
    for row in await tx.rows("log_heads", tasks):
        heads[row["task"]] = LogHead(row["token"], row["base"], row["ends"], row["kept"])
    fresh: list[tuple[str, LogBlock]] = []
    for line in lines:
        heads[line.task], blocks = admit(heads[line.task], line.token, line.log)
        fresh += [(line.task, block) for block in blocks]
    if fresh:
        rows = [(task, block.ends, block.weight, _encode(block.pieces)) for task, block in fresh]
        await tx.do("add_blocks", *columns(rows))
    for task, head in heads.items():
        if head.kept > LOG_BYTES_LIVE:
            freed = await _cut(tx, task, head.kept, LOG_BYTES_LIVE)
            heads[task] = head._replace(kept=head.kept - freed)
    await tx.do("put_log_heads", *columns([(task, *head) for task, head in heads.items()]))


async def _cut(tx: Transaction, task: str, kept: int, cap: int) -> int:
    """Drop the oldest of a log that is over its cap; the weight of what was dropped."""
    oldest = [(row["ends"], row["weight"]) for row in await tx.rows("oldest_blocks", task)]
    up_to, freed = surplus(oldest, kept, cap)
    await tx.do("drop_blocks", task, up_to)
    return freed


async def cut_ended(tx: Transaction) -> None:
    """Of tasks that have ended, the log's tail is enough. A few a pass: each may free hundreds of pages."""
    for row in await tx.rows("long_and_ended", LOG_BYTES_KEPT, CUT_AT_ONCE):
        freed = await _cut(tx, row["task"], row["kept"], LOG_BYTES_KEPT)
        await tx.do("set_kept", row["task"], row["kept"] - freed)


# --- reading ----------------------------------------------------------------------------------------


async def recall(tx: Transaction, lines: Sequence[Recall]) -> list[Recalled | Refused]:
    return [await _recall(tx, line) for line in lines]


async def _recall(tx: Transaction, line: Recall) -> Recalled | Refused:
    held = await tx.row("held", line.task, line.token) if can_be_stored(line.task) else None
    if held is None:
        return lease_lost(line.task)
    found = Recalled()
    if line.steps:
        found.steps = {row["name"]: row["result"] for row in await tx.rows("steps", line.task)}
    if line.parents and held["depends_on"] is not None:
        parents = decode_ids(held["depends_on"])
        size = await tx.value("size_of_parents", parents)
        if size > RECALL_BYTES:
            return recall_too_large(size)
        found.parents = await _parents(tx, parents)
    return found


async def _parents(tx: Transaction, parents: Sequence[str]) -> list[Parent]:
    found = {
        row["id"]: Parent(row["id"], row["name"], state_of(row["state"]), row["result"], row["error"])
        for row in await tx.rows("parents", parents)
    }
    return [found[task] for task in parents if task in found]


async def logs(tx: Transaction, task: str, after: int, most: int) -> LogPage | None:
    ends = await tx.value("log_ends", task) if can_be_stored(task) else None
    if ends is None:
        return None
    page, weight = LogPage([], ends), 0
    while weight < most:
        rows = await tx.rows("blocks", task, after, BLOCKS_READ_AT_ONCE)
        for row in rows:
            pieces = unread(_pieces.decode(row["pieces"]), after)
            page.pieces += pieces
            weight += weight_of(pieces)
            after = row["ends"]
            if weight >= most:
                break
        if len(rows) < BLOCKS_READ_AT_ONCE:
            break
    return page


async def glance(tx: Transaction, tasks: Sequence[str]) -> list[Glance | None]:
    rows = await tx.rows("glance", known_texts(tasks)) if tasks else []
    found = {
        row["id"]: Glance(state_of(row["state"]), row["version"], row["progress"], row["log_ends"])
        for row in rows
    }
    return [found.get(task) for task in tasks]
