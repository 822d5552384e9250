"""What running tasks record on the way, and what a later run asks for, in JSON, both ways.

append   {"lines": [{"task", "token", "progress", "steps", "log", ...}]}   -> {"answers": ["ok", ...]}
recall   {"lines": [{"task", "token"}]}   -> {"answers": [{"steps", "parents"} or {"code", "detail"}]}
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from mainspring.core.model import State
from mainspring.core.progress import (
    LOG_BYTES_LIVE,
    PIECE_OVERHEAD,
    RECALLS_MOST,
    STEP_BYTES,
    STREAMS,
    LogPiece,
    check_step_name,
    size_of,
    weight_of,
)
from mainspring.errors import InvalidInput, TooLarge
from mainspring.ports import Append, Parent, Recall, Recalled, Refused
from mainspring.wire import fields
from mainspring.wire.bounds import BOUNDS, Bounds
from mainspring.wire.strict import Shape, check_size

PIECE_MOST_BYTES = 64 * 1024
LOG_MOST_BYTES = 2 * LOG_BYTES_LIVE  # what a store keeps, and what was on its way there before
OFFSET_MOST = 1 << 50
_STATES = {state.label: state for state in State}

Token = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
LineNumber = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]


class PieceIn(msgspec.Struct, forbid_unknown_fields=True):
    """Some text of a run's log. `offset` is its first byte's place among all that the run has written: what
    was sent before is passed over, a gap shows what was left out. `at_us` is the worker's clock."""

    offset: int
    stream: str
    text: str
    at_us: int = 0


class AppendLine(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a run records. A step that is recorded already keeps its first result. Of lines with a `number`
    (rising with each of a run) one that comes after a higher one changes neither checkpoint nor progress."""

    task: str
    token: Token
    checkpoint: msgspec.Raw | UnsetType = UNSET
    progress: msgspec.Raw | UnsetType = UNSET
    steps: dict[str, msgspec.Raw] = {}
    log: list[PieceIn] = []
    number: LineNumber = 0


class AppendIn(msgspec.Struct, forbid_unknown_fields=True):
    lines: list[AppendLine]


class RecallLine(msgspec.Struct, forbid_unknown_fields=True):
    """What a run wants to know: steps of earlier runs, how the tasks it depends on have ended, or both."""

    task: str
    token: Token
    steps: bool = True
    parents: bool = True


class RecallIn(msgspec.Struct, forbid_unknown_fields=True):
    lines: list[RecallLine]


class ParentOut(msgspec.Struct, omit_defaults=True):
    id: str
    state: str
    name: str | None = None
    result: msgspec.Raw | UnsetType = UNSET
    error: msgspec.Raw | UnsetType = UNSET


class RecalledOut(msgspec.Struct, omit_defaults=True):
    """`code` and `detail` say why there is nothing: `lease_lost` or `too_large`."""

    steps: dict[str, msgspec.Raw] = {}
    parents: list[ParentOut] = []
    code: str = ""
    detail: str = ""


class RecallOut(msgspec.Struct):
    answers: list[RecalledOut]


APPEND = Shape(AppendIn, envelope=4)
RECALL = Shape(RecallIn)

encode = msgspec.json.Encoder().encode
_recall_out = msgspec.json.Decoder(RecallOut)


# --- append -----------------------------------------------------------------------------------------


def read_append(body: bytes, bounds: Bounds = BOUNDS) -> list[Append]:
    """Raises `InvalidInput` with a path such as `lines[3].log[0].stream`."""
    given = APPEND.read(body).lines
    _check_count(given, bounds.lines)
    return [_append(line, f"lines[{place}]", bounds) for place, line in enumerate(given)]


def _append(line: AppendLine, path: str, bounds: Bounds) -> Append:
    append = Append(line.task, line.token, _bytes(line.checkpoint), _bytes(line.progress), number=line.number)
    for name, value in (("checkpoint", append.checkpoint), ("progress", append.progress)):
        if value is not None:
            check_size(value, bounds.payload_bytes, f"{path}.{name}")
    if line.steps:
        append.steps = _steps(line.steps, f"{path}.steps")
    if line.log:
        append.log = _pieces(line.log, f"{path}.log")
    return append


def _steps(given: Mapping[str, msgspec.Raw], path: str) -> dict[str, bytes]:
    steps = {}
    for name, result in given.items():
        try:
            check_step_name(name)
        except InvalidInput as error:
            raise error.under(path) from None
        steps[name] = bytes(result)
        check_size(steps[name], STEP_BYTES, f"{path}.{name}")
    return steps


def _pieces(given: Sequence[PieceIn], path: str) -> list[LogPiece]:
    pieces = []
    for place, piece in enumerate(given):
        at = f"{path}[{place}]"
        fields.whole(piece.offset, f"{at}.offset", 0, OFFSET_MOST)
        fields.whole(piece.at_us, f"{at}.at_us", 0, OFFSET_MOST << 3)
        if piece.stream not in STREAMS:
            raise InvalidInput(f"{at}.stream", f"not a stream: {piece.stream[:40]!r}", ", ".join(STREAMS))
        if size_of(piece.text) > PIECE_MOST_BYTES:
            problem = f"has {size_of(piece.text)} bytes"
            raise TooLarge(f"{at}.text", problem, f"at most {PIECE_MOST_BYTES} bytes")
        pieces.append(LogPiece(piece.offset, piece.stream, piece.at_us, piece.text))
    weight = weight_of(pieces)
    if weight > LOG_MOST_BYTES:
        raise TooLarge(
            path, f"has {weight} bytes, {PIECE_OVERHEAD} a piece", f"at most {LOG_MOST_BYTES} bytes"
        )
    return pieces


def write_append(lines: Iterable[Append]) -> bytes:
    return encode(AppendIn([_append_line(line) for line in lines]))


def _append_line(line: Append) -> AppendLine:
    return AppendLine(
        line.task,
        line.token,
        _raw(line.checkpoint),
        _raw(line.progress),
        {name: msgspec.Raw(result) for name, result in line.steps.items()},
        [PieceIn(piece.offset, piece.stream, piece.text, piece.at_us) for piece in line.log],
        line.number,
    )


# --- recall -----------------------------------------------------------------------------------------


def read_recall(body: bytes) -> list[Recall]:
    """Raises `InvalidInput`."""
    given = RECALL.read(body).lines
    _check_count(given, RECALLS_MOST)
    return [Recall(line.task, line.token, line.steps, line.parents) for line in given]


def write_recall(lines: Iterable[Recall]) -> bytes:
    return encode(RecallIn([RecallLine(*line) for line in lines]))


def write_recalled(answers: Iterable[Recalled | Refused]) -> bytes:
    return encode(RecallOut([_recalled_out(answer) for answer in answers]))


def _recalled_out(answer: Recalled | Refused) -> RecalledOut:
    if isinstance(answer, Refused):
        return RecalledOut(code=answer.code, detail=answer.detail)
    return RecalledOut(
        {name: msgspec.Raw(result) for name, result in answer.steps.items()},
        [
            ParentOut(parent.id, parent.state.label, parent.name, _raw(parent.result), _raw(parent.error))
            for parent in answer.parents
        ],
    )


def read_recalled(body: bytes) -> list[Recalled | Refused]:
    """Raises `msgspec.MsgspecError` or `KeyError` if these are no answers."""
    return [_recalled(out) for out in _recall_out.decode(body).answers]


def _recalled(out: RecalledOut) -> Recalled | Refused:
    if out.code:
        return Refused(out.code, out.detail)
    return Recalled(
        {name: bytes(result) for name, result in out.steps.items()},
        [Parent(p.id, p.name, _STATES[p.state], _bytes(p.result), _bytes(p.error)) for p in out.parents],
    )


def _check_count(lines: Sequence[object], most: int) -> None:
    if len(lines) > most:
        raise TooLarge("lines", f"has {len(lines)} lines", f"at most {most}")


def _bytes(raw: msgspec.Raw | UnsetType) -> bytes | None:
    return None if raw is UNSET else bytes(raw)


def _raw(text: bytes | None) -> msgspec.Raw | UnsetType:
    return UNSET if text is None else msgspec.Raw(text)
