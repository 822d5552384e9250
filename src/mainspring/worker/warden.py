"""The warden: one small child that outlives a killed worker just long enough to end what that left behind.

    worker ──life pipe──► warden           only the worker holds its writing end: end of file means it is dead
    worker, runners ──word pipe──► warden  "+owner group", "-owner group", "!owner"

A process group is registered under its owner, the process id of the runner (or worker) that made it. `!owner`
ends all groups of an owner that died alone. When the worker is dead the warden ends every group there is,
until the last writer of the word pipe is gone too.

This file is run by its path, without the package, to start fast and to have no more in it than must be.
"""

import os
import select
import signal
import subprocess
import sys

LINE_BYTES = 64


class Warden:
    """The worker's side. `word_fd` may be handed to runners; a line is written whole (below PIPE_BUF)."""

    def __init__(
        self, word_fd: int, life_fd: int | None = None, child: "subprocess.Popen[bytes] | None" = None
    ) -> None:
        self.word_fd = word_fd
        self._life_fd = life_fd
        self._child = child
        self._owner = os.getpid()

    @classmethod
    def start(cls) -> "Warden":
        """Start the child. Blocks for as long as a spawn takes."""
        life_read, life_write = os.pipe()
        word_read, word_write = os.pipe()
        command = [sys.executable, "-I", "-S", __file__, str(life_read), str(word_read)]
        try:
            child = subprocess.Popen(
                command, pass_fds=(life_read, word_read), stdin=subprocess.DEVNULL, start_new_session=True
            )
        finally:
            os.close(life_read)
            os.close(word_read)
        return cls(word_write, life_write, child)

    def add(self, group: int, owner: int | None = None) -> None:
        """End this process group when its owner (by default this process) or the worker dies."""
        self._say(f"+{owner or self._owner} {group}")

    def remove(self, group: int, owner: int | None = None) -> None:
        """The group has ended: its number may soon be somebody else's."""
        self._say(f"-{owner or self._owner} {group}")

    def end(self, owner: int) -> None:
        """The owner is dead: end its groups."""
        self._say(f"!{owner}")

    def close(self) -> None:
        """End every group that is still registered, and the warden. Blocks for a moment."""
        os.close(self.word_fd)
        if self._life_fd is not None and self._child is not None:
            os.close(self._life_fd)
            self._child.wait()

    def _say(self, line: str) -> None:
        try:
            os.write(self.word_fd, line.encode().ljust(LINE_BYTES - 1) + b"\n")
        except OSError as error:
            import logging

            logging.getLogger("mainspring.worker").error("the warden is gone: %s", error)


def end_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:
        pass  # it has ended, and its number is somebody else's


def _watch(life_fd: int, word_fd: int) -> None:
    groups: dict[int, set[int]] = {}
    fds, buffer, worker_lives = [life_fd, word_fd], b"", True
    while word_fd in fds:
        readable, _, _ = select.select(fds, [], [])
        if life_fd in readable:
            worker_lives = False
            fds.remove(life_fd)
        if word_fd in readable:
            data = os.read(word_fd, 1 << 16)
            if not data:
                fds.remove(word_fd)
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                _hear(line.decode().strip(), groups)
        if not worker_lives or word_fd not in fds:
            for group in set().union(*groups.values()):
                end_group(group)


def _hear(line: str, groups: dict[int, set[int]]) -> None:
    owner, _, group = line[1:].partition(" ")
    if line[0] == "+":
        groups.setdefault(int(owner), set()).add(int(group))
    elif line[0] == "-":
        groups.get(int(owner), set()).discard(int(group))
    else:
        for left in groups.pop(int(owner), set()):
            end_group(left)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _watch(int(sys.argv[1]), int(sys.argv[2]))
