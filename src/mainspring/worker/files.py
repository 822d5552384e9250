"""The `file` kind: one operation on files below the root directory that the worker was given.

    {"operation": "write", "path": "out/report.txt", "content": "done\\n"}
    {"operation": "copy", "path": "out/report.txt", "to": "archive/2031-05-01.txt"}

Operations: read, write, append, copy, move, delete, checksum, list. Paths are relative to the root, and
cannot leave it (see `confined`). `write` and `copy` put a whole new file in place or change nothing; missing
directories above a target are made. All but `append` may be repeated without harm, as happens after a
worker's death.
"""

import contextlib
import errno
import hashlib
import heapq
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from mainspring.errors import InvalidInput
from mainspring.sdk.context import Context
from mainspring.wire import fields
from mainspring.wire.strict import Shape
from mainspring.worker.confined import (
    SUPPORTED,
    TEMPORARY,
    Inside,
    NotAFile,
    Root,
    RootAway,
    parse,
    sync_directory,
)
from mainspring.worker.outcomes import DetailedError
from mainspring.worker.payloads import Encoding, bad_payload, pack, unpack

READ_KEPT_BYTES = 64 * 1024
READ_MOST_BYTES = 640 * 1024  # in base64 still below what is kept of a result
FILE_MOST_BYTES = 1 << 30
LISTED_MOST = 1_000
LISTED_BYTES = 640 * 1024
CHUNK_BYTES = 1 << 20
ALGORITHMS = ("sha256", "sha512", "sha1", "md5", "blake2b")
_FINAL = {
    errno.EEXIST, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENOTEMPTY,
    errno.EXDEV,
}  # fmt: skip
_SAYS = {
    errno.ELOOP: "is a link, which is not followed",
    errno.ENOTDIR: "leads through something that is no directory; links are not followed",
    errno.EISDIR: "is a directory",
    errno.ENOTEMPTY: "is a directory with something in it",
    errno.EXDEV: "is on another file system: copy and delete instead",
    errno.EINVAL: "would become a part of itself",
}


class FileFailed(DetailedError):
    """The system refused, or could not: no space, no permission, not this kind of file."""


class NoSuchFile(DetailedError):
    """There is nothing at the path."""

    retryable = False


class FileTooLarge(DetailedError):
    """Over what a task may write."""

    retryable = False


class Stopped(DetailedError):
    """Asked to end before it was done."""


class PathIn(msgspec.Struct, forbid_unknown_fields=True):
    operation: str
    path: str


class ReadIn(PathIn, forbid_unknown_fields=True):
    max_bytes: int = READ_KEPT_BYTES


class ContentIn(PathIn, forbid_unknown_fields=True):
    content: str
    encoding: Encoding = "text"


class ToIn(PathIn, forbid_unknown_fields=True):
    to: str


class ChecksumIn(PathIn, forbid_unknown_fields=True):
    algorithm: str = ALGORITHMS[0]


class ListIn(msgspec.Struct, forbid_unknown_fields=True):
    operation: str
    path: str = "."


class _OperationIn(msgspec.Struct):
    operation: str


class Files:
    """Runs `file` tasks below `root`, on the threads that call it. Raises `InvalidInput` where that cannot
    be done."""

    def __init__(self, root: str) -> None:
        if not SUPPORTED:
            raise InvalidInput("file_root", "this system cannot open files inside of directories", "none")
        if not Path(root).is_dir():
            raise InvalidInput("file_root", f"not a directory: {root!r}", "a directory")
        self._root = Root(root)
        operations: dict[str, tuple[Shape[Any], Callable[[Any, Context], dict[str, Any]]]] = {
            "read": (Shape(ReadIn), self._read),
            "write": (Shape(ContentIn), self._write),
            "append": (Shape(ContentIn), self._append),
            "copy": (Shape(ToIn), self._copy),
            "move": (Shape(ToIn), self._move),
            "delete": (Shape(PathIn), self._delete),
            "checksum": (Shape(ChecksumIn), self._checksum),
            "list": (Shape(ListIn), self._list),
        }
        self.operations = operations
        self._operation = Shape(_OperationIn, accepted={"operation": ", ".join(operations)})

    def run(self, ctx: Context) -> dict[str, Any]:
        """The handler of the kind `file`."""
        try:
            name = self._operation.read(ctx.raw_payload).operation
            if name not in self.operations:
                accepted = ", ".join(self.operations)
                raise InvalidInput("operation", f"not known: {name[:40]!r}", accepted)
            shape, operation = self.operations[name]
            return operation(shape.read(ctx.raw_payload), ctx)
        except InvalidInput as error:
            raise bad_payload(error) from None

    # --- operations -----------------------------------------------------------------------------

    def _read(self, given: ReadIn, ctx: Context) -> dict[str, Any]:
        path = parse(given.path, "path")
        if not 0 <= given.max_bytes <= READ_MOST_BYTES:
            raise InvalidInput("max_bytes", f"out of range: {given.max_bytes}", f"0 to {READ_MOST_BYTES}")
        with _about("path", given.path), self._root.reading(path) as fd:
            data = bytearray()
            while len(data) <= given.max_bytes and (part := os.read(fd, CHUNK_BYTES)):
                data += part
            size = os.fstat(fd).st_size
        truncated = len(data) > given.max_bytes
        content, encoding = pack(bytes(data[: given.max_bytes]), cut=truncated)
        return {
            "path": given.path,
            "size": size,
            "content": content,
            "encoding": encoding,
            "truncated": truncated,
        }

    def _write(self, given: ContentIn, ctx: Context) -> dict[str, Any]:
        path, data = parse(given.path, "path"), unpack(given.content, given.encoding, "content")
        with _about("path", given.path), self._root.replacing(path, _temporary(ctx)) as fd:
            _write_all(fd, data)
        return {"path": given.path, "size": len(data)}

    def _append(self, given: ContentIn, ctx: Context) -> dict[str, Any]:
        path, data = parse(given.path, "path"), unpack(given.content, given.encoding, "content")
        with _about("path", given.path), self._root.appending(path) as fd:
            if os.fstat(fd).st_size + len(data) > FILE_MOST_BYTES:
                raise FileTooLarge(f"path: {given.path!r} would have more than {FILE_MOST_BYTES} bytes")
            _append_all(fd, data, given.path)
            size = os.fstat(fd).st_size
        return {"path": given.path, "size": size, "appended": len(data)}

    def _copy(self, given: ToIn, ctx: Context) -> dict[str, Any]:
        path, to = parse(given.path, "path"), parse(given.to, "to")
        with contextlib.ExitStack() as opened:
            with _about("path", given.path):
                source = opened.enter_context(self._root.reading(path))
            with _about("to", given.to), self._root.replacing(to, _temporary(ctx)) as target:
                size = 0
                for part in _parts(source, ctx):
                    size += len(part)
                    if size > FILE_MOST_BYTES:
                        raise FileTooLarge(f"path: {given.path!r} has more than {FILE_MOST_BYTES} bytes")
                    _write_all(target, part)
                os.fchmod(target, os.fstat(source).st_mode & 0o777)
        return {"path": given.path, "to": given.to, "size": size}

    def _move(self, given: ToIn, ctx: Context) -> dict[str, Any]:
        path, to = parse(given.path, "path"), parse(given.to, "to")
        with contextlib.ExitStack() as opened:
            with _about("to", given.to):
                new = opened.enter_context(self._root.directory(to.parents, make=True))
            try:
                with _about("path", given.path):
                    old = opened.enter_context(self._root.directory(path.parents))
                    os.rename(path.name, to.name, src_dir_fd=old, dst_dir_fd=new)
            except NoSuchFile:
                # A run before this one may have moved it and died before it could say so. In a first run a
                # file that is missing is missing, whatever is at the target.
                if ctx.attempt > 1 and _exists(to, new):
                    return {"path": given.path, "to": given.to, "moved": False}
                raise
            sync_directory(new)
            sync_directory(old)
        return {"path": given.path, "to": given.to, "moved": True}

    def _delete(self, given: PathIn, ctx: Context) -> dict[str, Any]:
        path = parse(given.path, "path")
        try:
            with _about("path", given.path), self._root.directory(path.parents) as folder:
                try:
                    os.unlink(path.name, dir_fd=folder)
                except (IsADirectoryError, PermissionError) as error:
                    try:
                        os.rmdir(path.name, dir_fd=folder)
                    except NotADirectoryError:
                        raise error from None
                sync_directory(folder)
        except NoSuchFile:
            return {"path": given.path, "existed": False}
        return {"path": given.path, "existed": True}

    def _checksum(self, given: ChecksumIn, ctx: Context) -> dict[str, Any]:
        path = parse(given.path, "path")
        if given.algorithm not in ALGORITHMS:
            raise InvalidInput("algorithm", f"not known: {given.algorithm[:40]!r}", ", ".join(ALGORITHMS))
        digest, size = hashlib.new(given.algorithm, usedforsecurity=False), 0
        with _about("path", given.path), self._root.reading(path) as fd:
            for part in _parts(fd, ctx):
                digest.update(part)
                size += len(part)
        return {
            "path": given.path,
            "size": size,
            "algorithm": given.algorithm,
            "checksum": digest.hexdigest(),
        }

    def _list(self, given: ListIn, ctx: Context) -> dict[str, Any]:
        path = parse(given.path, "path", root_too=True)
        with _about("path", given.path), self._root.directory(path.names) as folder:
            with os.scandir(folder) as found:
                entries = (entry for entry in found if not entry.name.startswith(TEMPORARY))
                chosen = heapq.nsmallest(LISTED_MOST + 1, entries, key=lambda entry: entry.name)
            listed: list[dict[str, Any]] = []
            room = LISTED_BYTES
            for entry in chosen[:LISTED_MOST]:
                with contextlib.suppress(FileNotFoundError):  # gone in the meantime
                    line = _line(entry)
                    room -= len(msgspec.json.encode(line))
                    if room < 0:
                        break
                    listed.append(line)
        return {
            "path": given.path,
            "entries": listed,
            "truncated": room < 0 or len(chosen) > LISTED_MOST,
        }


def _line(entry: "os.DirEntry[str]") -> dict[str, Any]:
    about = entry.stat(follow_symlinks=False)
    kind = "other"
    for name, test in (("file", stat.S_ISREG), ("directory", stat.S_ISDIR), ("link", stat.S_ISLNK)):
        if test(about.st_mode):
            kind = name
    # Names that are no UTF-8 can be shown, but not be asked for.
    name = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
    modified = fields.moment(max(0, about.st_mtime_ns // 1000))
    return {"name": name, "type": kind, "size": about.st_size, "modified_at": modified}


def _exists(path: Inside, folder: int) -> bool:
    try:
        os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _temporary(ctx: Context) -> bytes:
    """A name that no other run uses, not even an earlier one of the same task that still winds down."""
    task = hashlib.sha256(ctx.task.encode()).hexdigest()[:16]
    return f"{TEMPORARY}{task}-{ctx.fence}".encode()


def _parts(fd: int, ctx: Context) -> Iterator[bytes]:
    while part := os.read(fd, CHUNK_BYTES):
        if ctx.cancelled:
            raise Stopped(f"stopped in the middle: {ctx.cancelled.reason}")
        yield part


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _append_all(fd: int, data: bytes, path: str) -> None:
    """Half of it must not be followed by the whole: a failure after the first bytes is final."""
    done = 0
    try:
        while done < len(data):
            done += os.write(fd, data[done:])
    except OSError as error:
        if not done:
            raise
        failure = FileFailed(f"path: of {path!r} only {done} of {len(data)} bytes: {error.strerror}")
        failure.retryable = False
        raise failure from None


@contextlib.contextmanager
def _about(field: str, path: str) -> Iterator[None]:
    """Says of what the system complains in the words of the task: never with the root's own path."""
    shown = f"{field}: {path[:200]!r}"
    try:
        yield
    except NotAFile:
        failure = FileFailed(f"{shown} is no regular file")
        failure.retryable = False
        raise failure from None
    except RootAway as error:
        raise FileFailed(f"the worker's file root cannot be opened: {error}") from None
    except FileNotFoundError:
        raise NoSuchFile(f"{shown} is not there") from None
    except OSError as error:
        failure = FileFailed(f"{shown} {_SAYS.get(error.errno or 0, error.strerror)}")
        failure.retryable = error.errno not in _FINAL
        raise failure from None
