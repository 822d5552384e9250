"""Files that a forked process must not open.

SQLite keeps one record for each open file and process, of the locks that are held. A child made by `fork`
inherits the record but not the locks: it would believe that it holds what only its parent holds, write
without a lock, or wait for ever for one that nobody can release.
"""

import os
from collections import Counter

from mainspring.errors import StoreUnavailable

_opened: Counter[tuple[int, str]] = Counter()


def opened(path: str) -> None:
    """This process opens the file. Raises `StoreUnavailable` if the process it was forked from had it open
    then."""
    file, me = os.path.realpath(path), os.getpid()
    if any(name == file and process != me for process, name in _opened):
        raise StoreUnavailable(
            f"{path}: was open when this process was forked, and SQLite cannot share a file with its child;"
            " close it before the fork, or start processes by spawn"
        )
    _opened[me, file] += 1


def closed(path: str) -> None:
    key = os.getpid(), os.path.realpath(path)
    _opened[key] -= 1
    if _opened[key] <= 0:
        del _opened[key]
