"""Lanes by number. A lane's number never changes, so a process may know the lanes by heart."""

from collections.abc import Callable

from mainspring.core.model import Lane
from mainspring.errors import StoreCorrupt
from mainspring.stores.sqlite.connection import Database

KNOWN_AT_ONCE = 100_000

READ_LANE = "SELECT queue, kind, tenant, priority, key FROM lanes WHERE id = ?"
FIND_LANE = "SELECT id FROM lanes WHERE (queue, kind, tenant, priority, key) = (?, ?, ?, ?, ?)"
ADD_LANE = "INSERT INTO lanes (id, queue, kind, tenant, priority, key) VALUES (?, ?, ?, ?, ?, ?)"


class Lanes:
    """The lanes of one connection. Concurrency keys make lanes without end: only so many are kept here."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._by_id: dict[int, Lane] = {}
        self._ids: dict[Lane, int] = {}

    def by_id(self, lane_id: int) -> Lane:
        """Raises `StoreCorrupt` if there is no such lane."""
        lane = self.get(lane_id)
        if lane is None:
            raise StoreCorrupt(f"the lane {lane_id} of some tasks is lost: run mainspring doctor")
        return lane

    def get(self, lane_id: int) -> Lane | None:
        lane = self._by_id.get(lane_id)
        if lane is None:
            row = self._db.execute(READ_LANE, (lane_id,)).fetchone()
            if row is not None:
                lane = Lane(*row)
                self._know(lane_id, lane)
        return lane

    def id_of(self, lane: Lane, mint: Callable[[], int]) -> int:
        """The lane's number; a new lane is stored. Its number is minted, so that one which went back to
        the past with a restored file never comes to mean another lane: a node may still claim by it."""
        lane_id = self._ids.get(lane)
        if lane_id is None:
            lane_id = self._db.execute(FIND_LANE, lane).get
            if lane_id is None:
                lane_id = mint()
                self._db.execute(ADD_LANE, (lane_id, *lane))
            self._know(lane_id, lane)
        return lane_id

    def forget(self) -> None:
        self._by_id.clear()
        self._ids.clear()

    def _know(self, lane_id: int, lane: Lane) -> None:
        if len(self._by_id) >= KNOWN_AT_ONCE:
            self.forget()
        self._by_id[lane_id] = lane
        self._ids[lane] = lane_id
