"""The `file` kind: what each operation does, that it can be repeated, that no path leads out of the root."""

import base64
import contextlib
import errno
import hashlib
import os
import shutil
import socket
import stat
import threading
from types import SimpleNamespace

import msgspec
import pytest

from mainspring.errors import InvalidInput
from mainspring.sdk.context import Cancellation
from mainspring.sdk.handlers import BadPayload
from mainspring.worker import confined, files
from mainspring.worker.files import FileFailed, Files, FileTooLarge, NoSuchFile, Stopped

BINARY = bytes(range(256))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    return tmp_path / "root"


@pytest.fixture
def outside(root):
    return root.parent / "outside"


@pytest.fixture
def run(root):
    """Run one `file` task."""
    runner = Files(str(root))

    def run(operation=None, path=None, *, attempt=1, cancelled=None, **fields):
        named = {"operation": operation, "path": path}
        payload = {name: value for name, value in named.items() if value is not None} | fields
        ctx = SimpleNamespace(
            raw_payload=msgspec.json.encode(payload),
            task="01a1fe09-27c2-7000-85f0-280dd56e7f97",
            fence=1_000 + attempt,
            attempt=attempt,
            cancelled=cancelled or Cancellation(),
        )
        return runner.run(ctx)

    return run


def left_in(folder) -> list[str]:
    return sorted(os.listdir(folder))


# --- operations -------------------------------------------------------------------------------------


def test_write_and_read(run, root):
    """S4-02: file jobs with `operation`, `path` and `content`."""
    assert run("write", "a/b/c.txt", content="größer\n") == {"path": "a/b/c.txt", "size": 9}
    assert (root / "a/b/c.txt").read_bytes() == "größer\n".encode()
    assert run("read", "./a//b/c.txt") == {
        "path": "./a//b/c.txt",
        "size": 9,
        "content": "größer\n",
        "encoding": "text",
        "truncated": False,
    }


def test_bytes_that_are_no_text_travel_in_base64(run, root):
    packed = base64.b64encode(BINARY).decode()
    run("write", "b", content=packed, encoding="base64")
    assert (root / "b").read_bytes() == BINARY
    found = run("read", "b")
    assert (found["content"], found["encoding"]) == (packed, "base64")


@pytest.mark.parametrize(
    ("most", "content", "truncated"), [(0, "", True), (2, "a", True), (3, "aé", True), (4, "aéb", False)]
)
def test_of_a_long_file_the_start_is_read(run, root, most, content, truncated):
    (root / "f").write_text("aéb")
    found = run("read", "f", max_bytes=most)
    assert (found["content"], found["truncated"], found["size"]) == (content, truncated, 4)


def test_the_largest_read_is_still_a_result(run, root):
    (root / "f").write_bytes(b"\xff" * (files.READ_MOST_BYTES + 1))
    found = run("read", "f", max_bytes=files.READ_MOST_BYTES)
    assert found["truncated"]
    assert len(msgspec.json.encode(found)) < 1024 * 1024


def test_append(run, root):
    first = run("append", "log/today", content="one\n")
    second = run("append", "log/today", content=base64.b64encode(b"two\n").decode(), encoding="base64")
    assert (first["size"], second["size"], second["appended"]) == (4, 8, 4)
    assert (root / "log/today").read_text() == "one\ntwo\n"


def test_copy_keeps_content_and_permissions(run, root):
    (root / "tool").write_bytes(BINARY * 9000)
    (root / "tool").chmod(0o4750)
    assert run("copy", "tool", to="bin/tool") == {"path": "tool", "to": "bin/tool", "size": 256 * 9000}
    assert (root / "bin/tool").read_bytes() == BINARY * 9000
    assert stat.S_IMODE((root / "bin/tool").stat().st_mode) == 0o750


def test_copy_onto_itself_changes_nothing(run, root):
    (root / "f").write_text("same")
    assert run("copy", "f", to="./f")["size"] == 4
    assert (root / "f").read_text() == "same"


def test_what_replaces_a_file_keeps_its_permissions(run, root):
    (root / "f").write_text("old")
    (root / "f").chmod(0o640)
    run("write", "f", content="new")
    assert ((root / "f").read_text(), stat.S_IMODE((root / "f").stat().st_mode)) == ("new", 0o640)


def test_move_files_and_directories(run, root):
    (root / "in").mkdir()
    (root / "in/f").write_text("x")
    assert run("move", "in", to="done/today/in") == {"path": "in", "to": "done/today/in", "moved": True}
    run("move", "done/today/in/f", to="f")
    assert (root / "f").read_text() == "x"
    assert not (root / "in").exists()


def test_delete(run, root):
    (root / "f").write_text("x")
    (root / "empty").mkdir()
    assert run("delete", "f")["existed"]
    assert run("delete", "empty")["existed"]
    assert left_in(root) == []


@pytest.mark.parametrize("algorithm", files.ALGORITHMS)
def test_checksum(run, root, algorithm):
    (root / "f").write_bytes(BINARY)
    found = run("checksum", "f", algorithm=algorithm)
    assert (found["checksum"], found["size"]) == (hashlib.new(algorithm, BINARY).hexdigest(), 256)


def test_list(run, root):
    (root / "b").write_text("12345")
    (root / "a").mkdir()
    (root / "c").symlink_to("/etc/passwd")
    (root / ".mainspring-left-over").write_text("")
    os.mkfifo(root / "d")
    with open(os.path.join(os.fsencode(root), b"e\xff"), "wb"):
        pass
    found = run("list")
    assert [(entry["name"], entry["type"]) for entry in found["entries"]] == [
        ("a", "directory"),
        ("b", "file"),
        ("c", "link"),
        ("d", "other"),
        ("e\\xff", "file"),
    ]
    assert found["entries"][1]["size"] == 5
    assert found["truncated"] is False
    assert run("list", "a")["entries"] == []


def test_of_a_large_directory_the_first_are_listed(run, root, monkeypatch):
    for name in range(30):
        (root / f"{name:02}").touch()
    monkeypatch.setattr(files, "LISTED_MOST", 10)
    found = run("list")
    assert [entry["name"] for entry in found["entries"]] == [f"{name:02}" for name in range(10)]
    assert found["truncated"]
    monkeypatch.setattr(files, "LISTED_BYTES", 500)
    found = run("list")
    assert 1 <= len(found["entries"]) < 10
    assert found["truncated"]


# --- repeated, and interrupted ----------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["write", "copy", "delete", "checksum", "read", "list"])
def test_a_repeated_run_ends_as_the_first(run, root, operation):
    """Its worker died before it could report: the task runs again, on what the first run left."""
    (root / "f").write_text("x")
    given = {"write": {"content": "y"}, "copy": {"to": "g"}}.get(operation, {})
    path = "." if operation == "list" else "f"
    run(operation, path, **given)
    state = {name: (root / name).read_text() for name in left_in(root)}
    run(operation, path, attempt=2, **given)
    assert {name: (root / name).read_text() for name in left_in(root)} == state


def test_delete_of_what_is_not_there_is_done(run):
    assert run("delete", "f") == {"path": "f", "existed": False}
    assert run("delete", "no/such/folder/f")["existed"] is False


def test_a_repeated_move_finds_it_done(run, root):
    (root / "f").write_text("x")
    run("move", "f", to="g")
    assert run("move", "f", to="g", attempt=2) == {"path": "f", "to": "g", "moved": False}


def test_a_first_move_of_what_is_not_there_fails_whatever_the_target_holds(run, root):
    (root / "g").write_text("yesterday's")
    with pytest.raises(NoSuchFile, match=r"path: 'f' is not there"):
        run("move", "f", to="g")
    with pytest.raises(NoSuchFile):
        run("move", "f", to="h", attempt=2)


@pytest.mark.parametrize("operation", ["write", "copy"])
def test_a_write_that_fails_changes_nothing(run, root, monkeypatch, operation):
    """No space in the middle: the old file stands, and no half of a new one lies around."""
    (root / "source").write_bytes(b"new" * 1_000_000)
    (root / "f").write_text("old")
    written = files._write_all

    def failing(fd, data):
        written(fd, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_write_all", failing)
    path, fields = ("f", {"content": "new" * 100}) if operation == "write" else ("source", {"to": "f"})
    with pytest.raises(FileFailed, match="No space left") as error:
        run(operation, path, **fields)
    assert error.value.retryable
    assert left_in(root) == ["f", "source"]
    assert (root / "f").read_text() == "old"


def test_a_reader_sees_the_old_file_or_the_new_and_never_a_part(run, root):
    contents = {"a" * 300_000, "b" * 300_000}
    run("write", "f", content="a" * 300_000)
    seen, over = set(), threading.Event()

    def read():
        while not over.is_set():
            seen.add((root / "f").read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(30):
            for content in contents:
                run("write", "f", content=content)
    finally:
        over.set()
        reader.join()
    assert seen <= contents


def test_half_an_append_is_final(run, root, monkeypatch):
    """Tried again, it would stand there one and a half times."""
    write, calls = os.write, []

    def failing(fd, data):
        calls.append(fd)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[:2])

    monkeypatch.setattr(os, "write", failing)
    with pytest.raises(FileFailed, match="only 2 of 6 bytes") as error:
        run("append", "f", content="abcdef")
    assert not error.value.retryable


def test_a_long_copy_can_be_stopped_and_leaves_nothing(run, root):
    (root / "f").write_bytes(b"x" * (files.CHUNK_BYTES + 1))
    cancelled = Cancellation()
    cancelled.set("cancel")
    with pytest.raises(Stopped):
        run("copy", "f", to="g", cancelled=cancelled)
    assert left_in(root) == ["f"]


def test_too_large(run, root, monkeypatch):
    monkeypatch.setattr(files, "FILE_MOST_BYTES", 1000)
    (root / "f").write_bytes(b"x" * 1001)
    for operation, given in (("append", {"content": "y"}), ("copy", {"to": "g"})):
        with pytest.raises(FileTooLarge) as error:
            run(operation, "f", **given)
        assert not error.value.retryable
    assert left_in(root) == ["f"]
    assert (root / "f").stat().st_size == 1001


# --- confined ---------------------------------------------------------------------------------------

OPERATIONS = {
    "read": {},
    "write": {"content": "bad"},
    "append": {"content": "bad"},
    "copy": {"to": "x"},
    "move": {"to": "x"},
    "delete": {},
    "checksum": {},
    "list": {},
}
ESCAPES = ["../outside/secret", "a/../../outside/secret", "/etc/passwd", "//etc/passwd", "a\0b", "..", "x/.."]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("path", ESCAPES)
def test_a_path_that_leads_out_is_refused(run, root, outside, operation, path):
    (root / "a").mkdir()
    (root / "b").write_text("x")
    with pytest.raises(BadPayload, match=r"^payload\.path: "):
        run(operation, path, **OPERATIONS[operation])
    if operation in ("copy", "move"):
        with pytest.raises(BadPayload, match=r"^payload\.to: "):
            run(operation, "b", to=path)
    assert (left_in(root), left_in(outside)) == (["a", "b"], ["secret"])
    assert (outside / "secret").read_text() == "secret"


@pytest.mark.parametrize("operation", sorted(OPERATIONS.keys() - {"list"}))
@pytest.mark.parametrize("target", ["absolute", "relative"])
def test_no_link_in_the_way_is_followed(run, root, outside, operation, target):
    (root / "out").symlink_to(outside if target == "absolute" else "../outside")
    (root / "f").write_text("inside")
    with pytest.raises(FileFailed, match="links are not followed") as error:
        run(operation, "out/secret", **OPERATIONS[operation])
    assert not error.value.retryable
    if operation in ("copy", "move"):
        with pytest.raises(FileFailed, match=r"^to: 'out/new'"):
            run(operation, "f", to="out/new")
    assert left_in(outside) == ["secret"]
    assert (outside / "secret").read_text() == "secret"


def test_no_link_at_the_end_is_followed(run, root, outside):
    for operation in ("read", "append", "copy", "checksum", "list"):
        link = root / "link"
        link.symlink_to(outside if operation == "list" else outside / "secret")
        with pytest.raises(FileFailed, match="link") as error:
            run(operation, "link", **OPERATIONS[operation])
        assert not error.value.retryable
        link.unlink()
    assert (outside / "secret").read_text() == "secret"


@pytest.mark.parametrize("operation", ["write", "copy", "move", "delete"])
def test_a_link_itself_can_be_replaced_and_removed(run, root, outside, operation):
    (root / "link").symlink_to(outside / "secret")
    (root / "f").write_text("inside")
    if operation in ("write", "delete"):
        run(operation, "link", **OPERATIONS[operation])
    else:
        run(operation, "f", to="link")
    assert not (root / "link").is_symlink()
    assert (outside / "secret").read_text() == "secret"


@pytest.mark.parametrize("operation", ["read", "append", "copy", "checksum"])
@pytest.mark.parametrize("special", ["fifo", "socket", "directory", "device"])
def test_what_is_no_regular_file_is_refused_at_once(run, root, operation, special, monkeypatch):
    """A pipe without another end would hold up its thread for ever."""
    path = root / "it"
    if special == "fifo":
        os.mkfifo(path)
    elif special == "directory":
        path.mkdir()
    elif special == "device":
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("devices can be made by root alone")
    else:
        monkeypatch.chdir(root)  # a socket's path must be short
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("it")
    with pytest.raises(FileFailed, match=r"no regular file|is a directory") as error:
        run(operation, "it", **OPERATIONS[operation])
    assert not error.value.retryable
    assert left_in(root) == ["it"]


CALLS = ("open", "stat", "mkdir", "replace", "rename", "unlink", "rmdir", "scandir")


class Attacker:
    """Another process with a hand in the root. It strikes just before the `turn`-th system call about a name:
    each moment there is between a check and a use, one by one, instead of a race that is won now and then."""

    def __init__(self, monkeypatch, turn, strike):
        self.calls, self._turn, self._strike = 0, turn, strike
        for name in CALLS:
            monkeypatch.setattr(os, name, self._tapped(getattr(os, name)))

    def _tapped(self, call):
        def tapped(*args, **kwargs):
            self.calls += 1
            if self.calls == self._turn:
                self._strike()
            return call(*args, **kwargs)

        return tapped


def swap_directory(root, outside):
    """`d` was a directory, and is a link out of the root now."""
    (root / "d").rename(root / "was")
    (root / "d").symlink_to(outside)


def swap_file(root, outside):
    with contextlib.suppress(FileNotFoundError):
        (root / "d/f").unlink()
    with contextlib.suppress(FileExistsError):
        (root / "d/f").symlink_to(outside / "f")


def plant_link(root, outside):
    """There was no `d`, and is a link out of the root now, unless the task was faster."""
    with contextlib.suppress(FileExistsError):
        (root / "d").symlink_to(outside)


@pytest.mark.parametrize("strike", [swap_directory, swap_file, plant_link])
@pytest.mark.parametrize(
    ("operation", "path", "fields"),
    [
        ("read", "d/f", {}),
        ("write", "d/f", {"content": "inside"}),
        ("append", "d/f", {"content": "inside"}),
        ("copy", "d/f", {"to": "copied"}),
        ("copy", "other", {"to": "d/f"}),
        ("move", "d/f", {"to": "moved"}),
        ("move", "other", {"to": "d/f"}),
        ("delete", "d/f", {}),
        ("checksum", "d/f", {}),
        ("list", "d", {}),
    ],
)
def test_a_link_swapped_in_at_any_moment_leads_nowhere(run, root, outside, strike, operation, path, fields):
    """The races that checking a path before using it would lose."""
    (outside / "f").write_text("secret")
    turn = 0
    while True:
        shutil.rmtree(root)
        root.mkdir()
        (root / "other").write_text("inside")
        if strike is not plant_link:
            (root / "d").mkdir()
            (root / "d/f").write_text("inside")
        found, turn = {}, turn + 1
        with pytest.MonkeyPatch.context() as patched:
            attacker = Attacker(patched, turn, lambda: strike(root, outside))
            with contextlib.suppress(FileFailed, NoSuchFile):
                found = run(operation, path, **fields)
        assert (left_in(outside), (outside / "f").read_text()) == (["f", "secret"], "secret")
        assert "secret" not in str(found)
        assert found.get("checksum") != hashlib.sha256(b"secret").hexdigest()
        copied = root / "copied"
        assert not copied.exists() or copied.read_text() == "inside"
        if attacker.calls < turn:
            break
    assert turn > 2


# --- bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({}, "payload.operation: missing; accepted: read, write"),
        ({"operation": "rm", "path": "x"}, "payload.operation: not known: 'rm'; accepted: read, write"),
        ({"operation": 1, "path": "x"}, "payload.operation: expected str"),
        ({"operation": "read"}, "payload.path: missing"),
        ({"operation": "read", "path": 5}, "payload.path: expected str"),
        ({"operation": "read", "path": ""}, "payload.path: names no file"),
        ({"operation": "read", "path": "."}, "payload.path: names no file"),
        ({"operation": "delete", "path": "./"}, "payload.path: names no file"),
        ({"operation": "read", "path": "x" * 5000}, "payload.path: longer than 4096 bytes"),
        ({"operation": "read", "path": "x" * 256}, "payload.path: a name longer than 255 bytes"),
        ({"operation": "read", "path": "x", "max_bytes": -1}, "payload.max_bytes: out of range"),
        ({"operation": "read", "path": "x", "max_bytes": 1 << 30}, "payload.max_bytes: out of range"),
        ({"operation": "read", "path": "x", "content": "y"}, "payload.content: unknown field"),
        ({"operation": "write", "path": "x"}, "payload.content: missing"),
        ({"operation": "write", "path": "x", "content": 5}, "payload.content: expected str"),
        ({"operation": "write", "path": "x", "contents": ""}, "payload.contents: unknown field; did you"),
        ({"operation": "write", "path": "x", "content": "?", "encoding": "base64"}, "payload.content: not b"),
        ({"operation": "write", "path": "x", "content": "", "encoding": "zip"}, "payload.encoding: "),
        ({"operation": "copy", "path": "x"}, "payload.to: missing"),
        ({"operation": "checksum", "path": "x", "algorithm": "crc"}, "payload.algorithm: not known"),
    ],
)  # fmt: skip
def test_bad_payloads_name_the_field(run, root, payload, says):
    with pytest.raises(BadPayload) as error:
        run(**payload)
    assert str(error.value).startswith(says)
    assert left_in(root) == []


@pytest.mark.parametrize(
    ("operation", "fields", "says", "retryable"),
    [
        ("read", {"path": "none"}, "path: 'none' is not there", False),
        ("read", {"path": "f/x"}, "path: 'f/x' leads through something that is no directory", False),
        ("copy", {"path": "f", "to": "d"}, "to: 'd' is a directory", False),
        ("copy", {"path": "f", "to": "f/x"}, "to: 'f/x' leads through something", False),
        ("move", {"path": "d", "to": "d/e"}, "path: 'd' would become a part of itself", False),
        ("write", {"path": "d", "content": ""}, "path: 'd' is a directory", False),
        ("delete", {"path": "d"}, "path: 'd' is a directory with something in it", False),
        ("list", {"path": "f"}, "path: 'f' leads through something that is no directory", False),
    ],
)
def test_what_the_system_refuses_is_said_of_the_field(run, root, operation, fields, says, retryable):
    (root / "f").write_text("x")
    (root / "d").mkdir()
    (root / "d/inner").touch()
    with pytest.raises((FileFailed, NoSuchFile)) as error:
        run(operation, **fields)
    assert str(error.value).startswith(says)
    assert str(root) not in str(error.value)
    assert error.value.retryable is retryable
    assert left_in(root) == ["d", "f"]


def test_a_root_that_is_gone_may_come_back(run, root):
    """A share that is not mounted for a while: worth another try."""
    root.rmdir()
    with pytest.raises(FileFailed, match="root") as error:
        run("write", "f", content="")
    assert error.value.retryable


def test_a_root_must_be_a_directory(tmp_path):
    (tmp_path / "f").touch()
    for path in (tmp_path / "f", tmp_path / "none"):
        with pytest.raises(InvalidInput, match="file_root: not a directory"):
            Files(str(path))


def test_no_file_stays_open(run, root):
    (root / "f").write_text("x")
    (root / "d").mkdir()
    before = set(os.listdir("/proc/self/fd"))
    for path in ("f", "d", "none", "f/x", "d/none/f"):
        for operation, fields in OPERATIONS.items():
            with contextlib.suppress(FileFailed, NoSuchFile):
                run(operation, path, **fields)
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_temporary_name_is_one_runs_own():
    """An earlier run of the same task that still winds down must not write into this one's file."""
    names = {
        files._temporary(SimpleNamespace(task=task, fence=fence)) for task in ("a", "b") for fence in (1, 2)
    }
    assert len(names) == 4
    assert all(name.startswith(confined.TEMPORARY.encode()) and len(name) < 64 for name in names)
