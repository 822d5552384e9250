"""Connections to the file: how they are set up, how they wait, and what their errors mean to a caller."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from traceback import clear_frames
from types import TracebackType
from typing import Any, Protocol, cast

import apsw
import msgspec

from mainspring.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable

# Older libraries carry a bug of the write-ahead log that several processes on one file can meet.
OLDEST_SQLITE = (3, 51, 3)
# The usual commit of another process is over in a fraction of a millisecond: two workers on one file got 16 %
# more done when the first steps were not whole ones.
SHORT_STEP_S, SHORT_STEPS = 0.0002, 20
BUSY_STEP_MS = 1
BUSY_STEPS = 30_000
CACHE_KIB = 32 * 1024
# A checkpoint stands in the way of the commit that causes it, and writes each page once however often it was
# changed since the last: eight times SQLite's default brought 20-30 % more tasks from scattered lanes.
WAL_PAGES_BEFORE_CHECKPOINT = 8_000
WAL_BYTES_KEPT = 64 * 1024 * 1024
STATEMENTS_KEPT = 300

_never = threading.Event()

# What a value that cannot be stored makes Python or SQLite raise; a door should have refused it before.
DATA_ERRORS = (UnicodeError, OverflowError, TypeError, ValueError, apsw.ConstraintError, apsw.TooBigError)


class Cursor(Protocol):
    """The rows of a statement. `get` is the first row's value, or its values; `None` without a row."""

    get: Any

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def close(self) -> None: ...

    def __iter__(self) -> Iterator[Any]: ...


class Database(Protocol):
    """apsw's connection, as much of it as is used here. What a column holds is the schema's word (its
    tables are STRICT), so statements bring `Any`. As a context it is a savepoint."""

    in_transaction: bool

    def execute(self, sql: str, bindings: Sequence[object] = ()) -> Cursor: ...

    def executemany(self, sql: str, bindings: Iterable[Sequence[object]]) -> object: ...

    def total_changes(self) -> int: ...

    def set_busy_handler(self, handler: Callable[[int], bool]) -> None: ...

    def config(self, option: int, *arguments: int) -> int: ...

    def close(self) -> None: ...

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None: ...


def connect(path: str, *, read_only: bool = False) -> Database:
    """A connection that waits for other processes in small steps, up to half a minute."""
    _check_library()
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    db = cast(Database, apsw.Connection(path, flags=flags, statementcachesize=STATEMENTS_KEPT))
    db.set_busy_handler(wait_a_step)
    # Else SQLite plans a statement anew whenever a bound value changes that it looked at for a partial index:
    # measured, three quarters of the cost of looking at a lane. The plans are pinned and need no such look.
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
    db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_BEFORE_CHECKPOINT}")
    if read_only:
        db.execute("PRAGMA query_only = ON")
    return db


def _check_library() -> None:
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < OLDEST_SQLITE or "ENABLE_CARRAY" not in apsw.compile_options:
        raise StoreUnavailable(
            f"apsw {apsw.apsw_version()} was built with SQLite {apsw.sqlite_lib_version()}; needed is SQLite"
            f" {'.'.join(map(str, OLDEST_SQLITE))} or later with carray, as in the wheels of apsw"
        )


def wait_a_step(steps_waited: int) -> bool:
    """SQLite's own waits grow to 100 ms, longer than a whole batch of another process takes."""
    if steps_waited >= BUSY_STEPS:
        return False
    if steps_waited < SHORT_STEPS:
        _never.wait(SHORT_STEP_S)  # SQLite's sleep knows whole milliseconds alone
    else:
        apsw.sleep(BUSY_STEP_MS)
    return True


def use_wal(db: Database, path: str) -> None:
    """Switch the file to its write-ahead log. SQLite does not call the busy handler for this one."""
    for step in range(BUSY_STEPS):
        try:
            mode = db.execute("PRAGMA journal_mode = WAL").get
        except apsw.BusyError:
            if not wait_a_step(step):
                raise
            continue
        if mode != "wal":
            raise StoreUnavailable(f"{path}: this file system cannot hold a write-ahead log ({mode})")
        return
    raise StoreUnavailable(f"{path}: another process keeps the file locked")


@contextmanager
def named_errors(path: str) -> Iterator[None]:
    """Turn SQLite's errors into the store's, each with a sentence that names the file."""
    try:
        yield
    except apsw.Error as error:
        raise store_error(error, path) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreCorrupt(f"{path}: a stored value is damaged ({error}): run mainspring doctor") from error


def let_go(error: BaseException) -> None:
    """Close the statements that an error has broken off. Its frames hold them, and they hold the snapshot
    they read: while anybody kept the error, no later call would see what has been written since."""
    clear_frames(error.__traceback__)


def store_error(error: apsw.Error, path: str) -> StoreError:
    if isinstance(error, apsw.FullError):
        return StoreFull(f"{path}: no space left on the disk; nothing of this call was stored")
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return StoreCorrupt(f"{path}: not a healthy Mainspring database ({error})")
    if isinstance(error, apsw.BusyError | apsw.LockedError | apsw.ProtocolError):
        return StoreUnavailable(f"{path}: another process has kept the file locked for half a minute")
    if isinstance(error, apsw.CantOpenError) and not Path(path).absolute().parent.is_dir():
        return StoreUnavailable(f"{path}: its folder does not exist")
    if isinstance(error, apsw.CantOpenError | apsw.PermissionsError | apsw.ReadOnlyError):
        return StoreUnavailable(f"{path}: the file cannot be opened for writing ({error})")
    if isinstance(error, apsw.IOError | apsw.NoMemError | apsw.InterruptError | apsw.ConnectionClosedError):
        return StoreUnavailable(f"{path}: the file cannot be read or written ({error})")
    return StoreError(f"{path}: {type(error).__name__}: {error}")
