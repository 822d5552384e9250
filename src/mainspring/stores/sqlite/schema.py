"""The schema's life: what an opened file must be, and the numbered migrations that make it so."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files

from mainspring.core.migrations import Step, refuse_newer, refuse_older, steps_of, way
from mainspring.errors import StoreCorrupt
from mainspring.stores.sqlite.connection import Database, use_wal

APPLICATION_ID = 0x4D535052  # "MSPR", so that `file` and we can tell our databases from others
PAGES_CHECKED_AT_OPEN = 10_000


@cache
def steps() -> list[Step]:
    """Oldest first."""
    ups = files("mainspring.stores.sqlite") / "migrations"
    read = [
        {entry.name: entry.read_text("utf-8") for entry in folder.iterdir() if entry.name.endswith(".sql")}
        for folder in (ups, ups / "down")
    ]
    return steps_of(*read)


def prepare(db: Database, path: str, *, migrates: bool = True) -> None:
    """Check the file and bring its schema up to date. Any number of processes may do so at once.

    Raises `StoreTooNew`, `StoreTooOld`, `StoreCorrupt`; the file is not touched then.
    """
    newest = steps()[-1].number
    number = number_of(db, path)
    refuse_newer(number, newest, f"{path}: the database")
    if not migrates:
        refuse_older(number, newest, f"{path}: the database")
    if number:
        _check_health(db, path)
    use_wal(db, path)
    if number < newest:
        with exclusive(db):
            # Another process may have been faster.
            go(db, path, None)


def go(db: Database, path: str, to: int | None) -> tuple[list[Step], list[Step]]:
    """Go to a number, within a transaction of the caller's. Returns the steps taken, up and down."""
    number = number_of(db, path)
    refuse_newer(number, steps()[-1].number, f"{path}: the database")
    ups, downs = way(steps(), number, to)
    for step in ups:
        db.execute(step.up)
    for step in downs:
        db.execute(step.down)
    if ups or downs:
        db.execute(f"PRAGMA user_version = {ups[-1].number if ups else downs[-1].number - 1}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    return ups, downs


@contextmanager
def exclusive(db: Database) -> Iterator[None]:
    db.execute("BEGIN EXCLUSIVE")
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def number_of(db: Database, path: str) -> int:
    """The schema's number, 0 for a new file. Raises `StoreCorrupt` for a file of another program."""
    application = db.execute("PRAGMA application_id").get
    version = int(db.execute("PRAGMA user_version").get)
    is_empty = not db.execute("SELECT count(*) FROM sqlite_schema").get
    if application != APPLICATION_ID and not is_empty:
        raise StoreCorrupt(f"{path}: this is a database of another program")
    return 0 if is_empty else version


def _check_health(db: Database, path: str) -> None:
    """A small file is checked whole, a large one at the roots of its tables: an open must stay quick."""
    if int(db.execute("PRAGMA page_count").get) <= PAGES_CHECKED_AT_OPEN:
        found = db.execute("PRAGMA quick_check(1)").get
        if found != "ok":
            raise StoreCorrupt(f"{path}: the database is damaged ({found}); restore it from a backup")
    for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        db.execute(f'SELECT EXISTS (SELECT 1 FROM "{table}")').fetchall()
    if db.execute("SELECT count(*) FROM meta").get != 1:
        raise StoreCorrupt(f"{path}: the database has lost its clock; restore it from a backup")
