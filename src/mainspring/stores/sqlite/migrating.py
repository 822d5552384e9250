"""The schema by hand: where it stands, up, down, and as SQL for somebody else to run."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mainspring.core.migrations import Step, way
from mainspring.ports.schema import Schema
from mainspring.stores.sqlite.connection import Database, connect, named_errors, use_wal
from mainspring.stores.sqlite.schema import APPLICATION_ID, exclusive, go, number_of, steps

ResultT = TypeVar("ResultT")


class SqliteSchema(Schema):
    """Each call opens the file and closes it, on a thread of its own."""

    def __init__(self, path: str) -> None:
        self.steps = steps()
        self._path = path

    async def number(self) -> int:
        def look() -> int:
            # Opening a file makes it.
            if not Path(self._path).exists():
                return 0
            return self._work(lambda db: number_of(db, self._path))

        return await asyncio.to_thread(look)

    async def migrate(self, to: int | None) -> tuple[list[Step], list[Step]]:
        def work(db: Database) -> tuple[list[Step], list[Step]]:
            number_of(db, self._path)  # whose file it is, before anything is written
            use_wal(db, self._path)
            with exclusive(db):
                return go(db, self._path, to)

        return await self._call(work)

    async def losses(self, to: int) -> list[str]:
        def work(db: Database) -> list[str]:
            _, downs = way(self.steps, number_of(db, self._path), to)
            asked = [loss for step in downs for loss in step.losses]
            return [loss.what for loss in asked if db.execute(loss.question).get]

        return await self._call(work)

    def sql(self, start: int, to: int | None) -> str:
        ups, downs = way(self.steps, start, to)
        lines = ["BEGIN EXCLUSIVE;"]
        for step in ups:
            lines += [f"-- {step.number} {step.name}", step.up, f"PRAGMA user_version = {step.number};"]
        for step in downs:
            lines += [f"-- back from {step.number} {step.name}", step.down]
            lines.append(f"PRAGMA user_version = {step.number - 1};")
        lines += [f"PRAGMA application_id = {APPLICATION_ID};", "COMMIT;"]
        return "\n".join(lines) if ups or downs else ""

    async def _call(self, work: Callable[[Database], ResultT]) -> ResultT:
        return await asyncio.to_thread(self._work, work)

    def _work(self, work: Callable[[Database], ResultT]) -> ResultT:
        with named_errors(self._path):
            db = connect(self._path)
            try:
                return work(db)
            finally:
                db.close()
