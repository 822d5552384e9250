"""Room in the write-ahead log, made before it is needed.

A commit that lengthens the log waits until the file system has recorded the new length, too, behind everybody
else who writes to the disk: measured on a busy one, one in a hundred takes 30 ms, and 3 ms where the file has
been written before. So processes that stay fill the log with zeros in idle moments, up to the length at which
it is copied into the database and begins again from its start.

SQLite takes what stands behind the last commit for the rest of an earlier round, and stops reading there.
"""

import contextlib
import os

from mainspring.stores.sqlite.connection import WAL_PAGES_BEFORE_CHECKPOINT

PAGE_IN_LOG_BYTES = 4096 + 24
BYTES_IN_ALL = WAL_PAGES_BEFORE_CHECKPOINT * PAGE_IN_LOG_BYTES
ZEROS = bytes(64 * 1024)
BYTES_AT_ONCE = 16 * len(ZEROS)
BYTES_LEFT_ON_DISK = 1024 * 1024 * 1024
CAN_FILL = all(hasattr(os, name) for name in ("pwrite", "fdatasync", "fstatvfs"))


class LogRoom:
    """The log of an open database. No call raises: where no room can be made, commits take longer."""

    def __init__(self, path: str) -> None:
        self._log = -1
        if CAN_FILL:
            with contextlib.suppress(OSError):
                self._log = os.open(f"{os.path.realpath(path)}-wal", os.O_RDWR | os.O_NOFOLLOW)

    @property
    def is_enough(self) -> bool:
        return self._log < 0 or os.fstat(self._log).st_size >= BYTES_IN_ALL

    def extend(self) -> None:
        """Only with SQLite's lock for writing: else another process's commit might be overwritten."""
        try:
            disk = os.fstatvfs(self._log)
            if disk.f_bavail * disk.f_frsize < BYTES_LEFT_ON_DISK:
                self.close()
                return
            length = os.fstat(self._log).st_size
            for place in range(length, length + BYTES_AT_ONCE, len(ZEROS)):
                os.pwrite(self._log, ZEROS, place)
        except OSError:
            self.close()

    def save(self) -> None:
        """Bring new room to the disk, so that no commit has to."""
        if self._log >= 0:
            with contextlib.suppress(OSError):
                os.fdatasync(self._log)

    def close(self) -> None:
        if self._log >= 0:
            os.close(self._log)
            self._log = -1
