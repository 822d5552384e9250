"""Wakes between the processes that share a file: datagrams on sockets in a folder beside it.

    commit ──► Teller.tell ──datagram──► every Ear in FILE-wakes/

An ear is the socket of one who listens. No teller waits for an ear: what it has no room for is lost. Where
sockets cannot be had, since the system, the file system or the rights do not allow them, nobody is told
anything, and the look at the file finds what was written.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Container, Iterator, Sequence

import msgspec

from mainspring.core.order import LaneHead
from mainspring.ports import Clock

LANES_TOLD = 180
MESSAGES_AT_ONCE = 100
MESSAGE_BYTES = 256 * 1024
JOIN_TRIES = 10
# No path of a socket may have more than 107 bytes. Through an open folder it is short, wherever that is.
OPEN_FOLDERS = "/proc/self/fd"


class News(msgspec.Struct, array_like=True):
    """What a commit has brought: lanes that have ready tasks (`None`: some, and it is not said which), and
    whether tasks have ended. If this is all that anybody may want to know of it, `span` is the last number
    that the file had minted before the commit, and after it."""

    heads: Sequence[LaneHead] | None
    has_ended: bool
    span: tuple[int, int] | None = None


_read_news = msgspec.json.Decoder(News).decode


class Ear:
    """A socket on which a listener is told. Raises `OSError` where there can be none."""

    def __init__(self, path: str, clock: Clock) -> None:
        path = os.path.realpath(path)
        self._folder_path = _folder_of(path)
        with contextlib.ExitStack() as opening:
            self.socket = opening.enter_context(_new_socket())
            for tries_left in reversed(range(JOIN_TRIES)):
                self.name = f"{os.getpid()}-{clock.new_id()}"
                try:
                    self._folder, before_ns = _make_folder(path, self._folder_path)
                    try:
                        self.socket.bind(_address(self._folder_path, self._folder, self.name))
                        break
                    except BaseException:
                        os.close(self._folder)
                        raise
                except OSError:
                    # Whoever left last has removed the folder meanwhile, or the name is taken.
                    if not tries_left:
                        raise
            opening.callback(self._leave)
            _share_ear(os.stat(path), self._folder, self.name)
            self._be_seen(before_ns, clock.random.randrange(1_000))
            opening.pop_all()

    def news(self) -> Iterator[News]:
        """What was told since this was asked last, or the first of it: then the socket stays readable."""
        for _ in range(MESSAGES_AT_ONCE):
            try:
                message = self.socket.recv(MESSAGE_BYTES)
            except OSError:
                return
            try:
                yield _read_news(message)
            except msgspec.MsgspecError:
                # As from a later version.
                yield News(None, True)

    def close(self) -> None:
        self._leave()
        self.socket.close()

    def _be_seen(self, before_ns: int, random_ns: int) -> None:
        """Tellers list the folder anew when its time has changed, and the time of a file system may stand
        still for some milliseconds."""
        with contextlib.suppress(OSError):
            now_ns = max(before_ns, os.stat(self._folder).st_mtime_ns) + 1 + random_ns
            os.utime(self._folder, ns=(now_ns, now_ns))

    def _leave(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.name, dir_fd=self._folder)
        os.close(self._folder)
        with contextlib.suppress(OSError):
            os.rmdir(self._folder_path)  # the last one who leaves


class Teller:
    """Tells every ear of a file what a commit has brought, but for those named in `own`. Used by one thread;
    raises nothing."""

    def __init__(self, path: str, own: Container[str]) -> None:
        self._folder_path = _folder_of(os.path.realpath(path))
        self._own = own
        self._folder = -1
        self._seen: tuple[int, int, int] | None = None
        self._ears: list[str] = []
        self._socket: socket.socket | None = None

    def tell(self, news: News) -> None:
        ears = [name for name in self._present() if name not in self._own]
        if ears:
            if news.heads is not None and len(news.heads) > LANES_TOLD:
                news.heads = None
            message = msgspec.json.encode(news)
            self._ears = [name for name in ears if self._reaches(name, message)]

    def close(self) -> None:
        self._forget()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _present(self) -> list[str]:
        """The ears, as of the last change of their folder."""
        try:
            found = os.stat(self._folder_path)
            seen = found.st_dev, found.st_ino, found.st_mtime_ns
            if seen != self._seen:
                self._forget()
                self._folder = _open_folder(self._folder_path)
                with os.scandir(self._folder) as entries:
                    names = [entry.name for entry in entries]
                self._ears = [name for name in names if _is_socket(self._folder, name)]
                self._seen = seen
        except OSError:
            self._forget()
        return self._ears

    def _forget(self) -> None:
        self._seen, self._ears = None, []
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _reaches(self, name: str, message: bytes) -> bool:
        """Whether the ear is to be told the next time too."""
        try:
            if self._socket is None:
                self._socket = _new_socket()
            self._socket.sendto(message, _address(self._folder_path, self._folder, name))
        except BlockingIOError:
            return True  # has not heard the last ones yet
        except ConnectionRefusedError:
            # Its process has died. Names are not used twice, so nobody else's is removed.
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._folder)
            return False
        except OSError as error:
            # Or it has left, or belongs to somebody whom this process may not tell anything.
            return error.errno == errno.EMSGSIZE  # the look finds what is too long to be told
        return True


def _new_socket() -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("this system has no unix sockets")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def _folder_of(path: str) -> str:
    return f"{path}-wakes"


def _address(folder_path: str, folder: int, name: str) -> str:
    place = f"{OPEN_FOLDERS}/{folder}"
    return f"{place if os.path.isdir(OPEN_FOLDERS) else folder_path}/{name}"


def _open_folder(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _is_socket(folder: int, name: str) -> bool:
    return stat.S_ISSOCK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


# --- rights: whoever may write the file may tell, and be told -----------------------------------------


def _make_folder(path: str, folder_path: str) -> tuple[int, int]:
    """Open the folder, and make it if it is not there. Also when it was changed last."""
    is_new = False
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder_path, 0o700)
        is_new = True
    folder = _open_folder(folder_path)
    try:
        if is_new:
            _share_folder(os.stat(path), folder)
        return folder, os.stat(folder).st_mtime_ns
    except BaseException:
        os.close(folder)
        raise


def _share_folder(file: os.stat_result, folder: int) -> None:
    with contextlib.suppress(PermissionError):
        os.fchown(folder, _owner(file), file.st_gid)
    writers = file.st_mode & file.st_mode >> 1 & 0o222
    if os.stat(folder).st_gid != file.st_gid:
        writers &= 0o202  # another group must not come in
    os.fchmod(folder, writers << 1 | writers | writers >> 1)


def _share_ear(file: os.stat_result, folder: int, name: str) -> None:
    """Who may come into the folder is its own affair; here the owner counts, who alone may write."""
    with contextlib.suppress(PermissionError):
        os.chown(name, _owner(file), file.st_gid, dir_fd=folder, follow_symlinks=False)


def _owner(file: os.stat_result) -> int:
    """As SQLite does with its own files: what root makes belongs to whom the database belongs to."""
    return file.st_uid if os.geteuid() == 0 else -1
