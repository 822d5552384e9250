"""What workers record and ask for, as JSON: it comes back as it went, and what is wrong is named."""

import json

import pytest

from mainspring.core.model import State
from mainspring.core.progress import LOG_BYTES_LIVE, STEP_BYTES, LogPiece
from mainspring.errors import InvalidInput, TooLarge
from mainspring.ports import Append, Parent, Recall, Recalled, Refused
from mainspring.wire import progress
from mainspring.wire.bounds import Bounds

TASK = "01980000-0000-7000-8000-000000000000"


def test_appends_come_back():
    lines = [
        Append(TASK, 1, b"[1]", None),
        Append(TASK, 1, None, b'{"fraction":0.5}', number=3),
        Append(TASK, (1 << 63) - 1, steps={"a b": b"null", "c": b'{"n":123456789012345678901}'}),
        Append(TASK, 1, log=[LogPiece(0, "stdout", 17, "ä\u2028\x00\n"), LogPiece(9, "warning", 0, "x")]),
    ]
    assert progress.read_append(progress.write_append(lines)) == lines


def test_recalls_and_their_answers_come_back():
    lines = [Recall(TASK, 1), Recall(TASK, 2, steps=False), Recall(TASK, 3, parents=False)]
    assert progress.read_recall(progress.write_recall(lines)) == lines
    answers = [
        Recalled(),
        Recalled({"b": b"1", "a": b'"x"'}, []),
        Refused("lease_lost", "gone"),
        Recalled(
            {}, [Parent(TASK, "p", State.SUCCEEDED, b"[1]"), Parent(TASK, None, State.FAILED, None, b"{}")]
        ),
    ]
    found = progress.read_recalled(progress.write_recalled(answers))
    assert found == answers
    assert list(found[1].steps) == ["b", "a"]


LONG = "x" * (64 * 1024)
PIECE = {"offset": 0, "stream": "stdout", "text": "x"}


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ({"log": [{**PIECE, "stream": "stdin"}]}, "lines[0].log[0].stream"),
        ({"log": [PIECE, {**PIECE, "offset": -1}]}, "lines[0].log[1].offset"),
        ({"log": [{**PIECE, "offset": 1 << 60}]}, "lines[0].log[0].offset"),
        ({"log": [{**PIECE, "at_us": -1}]}, "lines[0].log[0].at_us"),
        ({"log": [{**PIECE, "line": 1}]}, "lines[0].log[0].line"),
        ({"log": [{"offset": 0, "stream": "stdout"}]}, "lines[0].log[0].text"),
        ({"steps": {"": 1}}, "lines[0].steps.name"),
        ({"steps": {"a\nb": 1}}, "lines[0].steps.name"),
        ({"steps": {"x" * 201: 1}}, "lines[0].steps.name"),
        ({"token": -1}, "lines[0].token"),
    ],
)
def test_bad_lines(line, field):
    body = json.dumps({"lines": [{"task": TASK, "token": 1, **line}]}).encode()
    with pytest.raises(InvalidInput) as caught:
        progress.read_append(body)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (Append(TASK, 1, checkpoint=b'"' + b"x" * 100 + b'"'), "lines[0].checkpoint"),
        (Append(TASK, 1, progress=b'"' + b"x" * 100 + b'"'), "lines[0].progress"),
        (Append(TASK, 1, steps={"a": b'"' + b"x" * STEP_BYTES + b'"'}), "lines[0].steps.a"),
        (Append(TASK, 1, log=[LogPiece(0, "info", 0, LONG + "x")]), "lines[0].log[0].text"),
        (
            Append(TASK, 1, log=[LogPiece(0, "info", 0, LONG)] * (2 * LOG_BYTES_LIVE // len(LONG))),
            "lines[0].log",
        ),
        (Append(TASK, 1, log=[LogPiece(0, "info", 0, "")] * 70_000), "lines[0].log"),
    ],
)
def test_large_values_are_refused(line, field):
    with pytest.raises(TooLarge) as caught:
        progress.read_append(progress.write_append([line]), Bounds(payload_bytes=100))
    assert caught.value.field == field


def test_too_many_lines_are_refused():
    with pytest.raises(TooLarge, match="3 lines"):
        progress.read_append(progress.write_append([Append(TASK, 1)] * 3), Bounds(lines=2))
    with pytest.raises(TooLarge, match="17 lines"):
        progress.read_recall(progress.write_recall([Recall(TASK, 1)] * 17))


def test_what_is_no_answer_is_no_answer():
    with pytest.raises(KeyError):
        progress.read_recalled(b'{"answers":[{"parents":[{"id":"x","state":"gone"}]}]}')
