"""Paths below one directory, and no way out of it.

A path is walked name by name, each directory opened inside of the one before, and no link is ever followed:
there is no moment between a check and a use in which somebody could swap a directory for a link. What `..`,
absolute paths and links would lead to is therefore not looked at and refused, but out of reach.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from mainspring.errors import InvalidInput

PATH_ACCEPTED = "a relative path such as out/report.txt, without .."
PATH_BYTES = 4_096
NAME_BYTES = 255
TEMPORARY = ".mainspring-"
SUPPORTED = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
# A pipe or a device must not hold up whoever opens it, nor become the worker's terminal.
_FILE = _NO_LINK | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


class NotAFile(Exception):
    """What is there is no regular file."""


class RootAway(Exception):
    """The root itself cannot be opened: perhaps its disk is not there for the moment."""


class Inside(NamedTuple):
    """A path below the root, as names that are neither empty nor `.` or `..`; none at all is the root."""

    names: tuple[bytes, ...]

    @property
    def parents(self) -> tuple[bytes, ...]:
        return self.names[:-1]

    @property
    def name(self) -> bytes:
        return self.names[-1]


def parse(text: str, field: str, root_too: bool = False) -> Inside:
    """Raises `InvalidInput` naming `field` for what is no path below a root."""
    raw = text.encode()
    names = tuple(name for name in raw.split(b"/") if name not in (b"", b"."))
    for wrong, problem in (
        (raw.startswith(b"/"), "an absolute path"),
        (b"\0" in raw, "has a NUL character in it"),
        (b".." in names, "leads out of its directory by .."),
        (len(raw) > PATH_BYTES, f"longer than {PATH_BYTES} bytes"),
        (any(len(name) > NAME_BYTES for name in names), f"a name longer than {NAME_BYTES} bytes"),
        (not names and not root_too, "names no file"),
    ):
        if wrong:
            raise InvalidInput(field, f"{problem}: {text[:100]!r}", PATH_ACCEPTED)
    return Inside(names)


class Root:
    """The directory at `path`. Its operations raise `RootAway`, and `OSError` for what lies below: `ENOTDIR`
    or `ELOOP` where a link is in the way."""

    def __init__(self, path: str) -> None:
        self._path = path

    @contextlib.contextmanager
    def directory(self, names: tuple[bytes, ...], make: bool = False) -> Iterator[int]:
        """The directory below the root, open; with `make`, it and those above it are made if need be."""
        try:
            fd = os.open(self._path, _DIRECTORY)
        except OSError as error:
            raise RootAway(error.strerror) from None
        try:
            for name in names:
                inner = _enter(fd, name, make)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def reading(self, path: Inside) -> Iterator[int]:
        """A regular file, open for reading. Raises `NotAFile`."""
        with self.directory(path.parents) as folder, _regular(path.name, os.O_RDONLY, folder) as fd:
            yield fd

    @contextlib.contextmanager
    def appending(self, path: Inside) -> Iterator[int]:
        """A regular file, open for writing at its end; made if it is not there. Durable when the context is
        left. Raises `NotAFile`."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with self.directory(path.parents, make=True) as folder:
            with _regular(path.name, flags, folder) as fd:
                yield fd
                os.fsync(fd)
            sync_directory(folder)

    @contextlib.contextmanager
    def replacing(self, path: Inside, temporary: bytes) -> Iterator[int]:
        """A new file, open for writing, that takes the path's place when the context is left well, whole and
        durable; else nothing has changed. It keeps the permissions of the file that it replaces."""
        with self.directory(path.parents, make=True) as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE
            fd = os.open(temporary, flags, 0o666, dir_fd=folder)
            try:
                with contextlib.suppress(FileNotFoundError):
                    there = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
                    if stat.S_ISREG(there.st_mode):
                        os.fchmod(fd, there.st_mode & 0o777)
                yield fd
                os.fsync(fd)
                os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            finally:
                os.close(fd)
            sync_directory(folder)


def sync_directory(fd: int) -> None:
    """Make the names in a directory durable, on file systems where that takes asking."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _enter(folder: int, name: bytes, make: bool) -> int:
    try:
        return os.open(name, _DIRECTORY | _NO_LINK, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
        sync_directory(folder)
    return os.open(name, _DIRECTORY | _NO_LINK, dir_fd=folder)


@contextlib.contextmanager
def _regular(name: bytes, flags: int, folder: int) -> Iterator[int]:
    try:
        fd = os.open(name, flags | _FILE, 0o666, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a pipe without a reader, or a socket
            raise NotAFile from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NotAFile
        yield fd
    finally:
        os.close(fd)
