"""The schema's life: what an opened file must be, and the numbered migrations that make it so."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from mainspring.errors import StoreCorrupt, StoreTooNew
from mainspring.stores.sqlite.connection import Database, use_wal

APPLICATION_ID = 0x4D535052  # "MSPR", so that `file` and we can tell our databases from others
PAGES_CHECKED_AT_OPEN = 10_000


def migrations() -> list[tuple[int, str]]:
    """The numbered steps, oldest first: number and SQL."""
    folder = files("mainspring.stores.sqlite") / "migrations"
    steps = [(int(entry.name[:4]), entry) for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return [(number, entry.read_text("utf-8")) for number, entry in sorted(steps, key=lambda step: step[0])]


def prepare(db: Database, path: str) -> None:
    """Check the file and bring its schema up to date. Any number of processes may do so at once.

    Raises `StoreTooNew`, `StoreCorrupt`; the file is not touched then.
    """
    steps = migrations()
    newest = steps[-1][0]
    version = _version(db, path, newest)
    if version:
        _check_health(db, path)
    use_wal(db, path)
    if version < newest:
        with exclusive(db):
            # Another process may have been faster.
            version = _version(db, path, newest)
            for number, sql in steps:
                if number > version:
                    db.execute(sql)
                    db.execute(f"PRAGMA user_version = {number}")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


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


def _version(db: Database, path: str, newest: int) -> int:
    """The schema's number, 0 for a new file."""
    application = db.execute("PRAGMA application_id").get
    version = int(db.execute("PRAGMA user_version").get)
    is_empty = not db.execute("SELECT count(*) FROM sqlite_schema").get
    if application != APPLICATION_ID and not is_empty:
        raise StoreCorrupt(f"{path}: this is a database of another program")
    if version > newest:
        raise StoreTooNew(
            f"{path}: the database was written by a newer Mainspring (schema {version}, this program"
            f" knows {newest}); nothing was changed, use that version or another file"
        )
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
