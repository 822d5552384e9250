"""Files of tasks travel byte for byte, and complaints name the place in the file."""

from pathlib import Path

import pytest

from mainspring.cli.batchfile import BatchFile
from mainspring.errors import InvalidInput, TooLarge
from mainspring.wire.batches import BATCH


def batch(tmp_path: Path, content: bytes) -> BatchFile:
    path = tmp_path / "tasks"
    path.write_bytes(content)
    return BatchFile(path)


def test_an_array_travels_as_it_is(tmp_path):
    """S1-32: a batch file is a list of tasks; numbers keep their digits."""
    array = b'[{"kind": "echo", "payload": {"n": 9007199254740993, "x": 1.0e5}}]'
    body = batch(tmp_path, b"\n  " + array + b"\n").body
    assert body == b'{"tasks":' + array + b"}"
    assert bytes(BATCH.read(body).tasks[0].payload) == b'{"n": 9007199254740993, "x": 1.0e5}'


def test_lines_become_an_array(tmp_path):
    body = batch(tmp_path, b'{"command": "true"}\r\n\n  {"command": "false"}\n').body
    assert [task.command for task in BATCH.read(body).tasks] == ["true", "false"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b" \n", "tasks: is empty; accepted: a JSON array of tasks, or one JSON object a line"),
        (b'[{"kind": }]', "tasks: not JSON"),
        (b'{"kind": "a"}\n{"kind": "a", "kind": "b"}', "tasks, line 2: kind: the key appears twice"),
        (b'{"kind": "a"}\n\n17', "tasks, line 3: not an object"),
        (b'{\n"kind": "a"}', "tasks, line 1: not JSON"),
        (b'[{"payload": NaN}]', "tasks: NaN is not JSON"),
        (b'[{"payload": "\xff"}]', "tasks: not UTF-8"),
        (b"[" * 100_000, "tasks: nested deeper than"),
    ],
)
def test_what_is_no_batch_is_refused(tmp_path, monkeypatch, content, complaint):
    monkeypatch.chdir(tmp_path)
    Path("tasks").write_bytes(content)
    with pytest.raises(InvalidInput) as refused:
        BatchFile(Path("tasks"))
    assert str(refused.value).startswith(complaint)


def test_a_missing_file_is_bad_input(tmp_path):
    with pytest.raises(InvalidInput, match="--file: cannot be read"):
        BatchFile(tmp_path / "absent")


def test_a_server_complaint_names_the_line(tmp_path):
    lines = batch(tmp_path, b'\n{"kind": "a"}\n\n{"kind": "b"}\n')
    error = lines.located(InvalidInput("tasks[1].priority", "not a priority: 11", "1 to 10"))
    assert str(error) == f"{lines.name}, line 4: priority: not a priority: 11; accepted: 1 to 10"
    array = batch(tmp_path, b'[{"kind": "a"}, {"kind": "b"}]')
    assert array.located(InvalidInput("tasks[1].ref", "used twice")).field == f"{array.name}, task 2"
    large = array.located(TooLarge("tasks", "has 20000 tasks", "at most 10000"))
    assert isinstance(large, TooLarge)
    assert str(large) == f"{array.name}: has 20000 tasks; accepted: at most 10000"
