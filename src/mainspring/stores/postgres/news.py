"""What a node tells the others, as the text of a notification: `e 17:1700000,18:1700003`.

First what else there is: `e` tasks have ended, `*` more than is told; then lanes with ready tasks, each with
the oldest place in its line.
"""

from collections.abc import Iterable

from mainspring.core.order import LaneHead

# A notification holds less than 8,000 bytes.
LANES_TOLD = 180


class News:
    """What has happened since the last telling."""

    def __init__(self) -> None:
        self.places: dict[int, int] = {}
        self.has_ended = False
        self.is_vague = False

    def __bool__(self) -> bool:
        return bool(self.places) or self.has_ended or self.is_vague

    @property
    def is_urgent(self) -> bool:
        """Whether somebody may wait for it to go on: workers for tasks."""
        return bool(self.places) or self.is_vague

    def add(self, heads: Iterable[LaneHead] | None, *, has_ended: bool) -> None:
        """`None`: lanes have gained tasks, and nobody knows which."""
        self.has_ended = self.has_ended or has_ended
        if heads is None:
            self.is_vague = True
            return
        for head in heads:
            self.places[head.lane_id] = min(head.seq, self.places.get(head.lane_id, head.seq))
        if len(self.places) > LANES_TOLD:
            self.places, self.is_vague = {}, True

    def text(self) -> str:
        told = ("e" if self.has_ended else "") + ("*" if self.is_vague else "")
        return f"{told} " + ",".join(f"{lane_id}:{seq}" for lane_id, seq in self.places.items())

    @classmethod
    def read(cls, text: str) -> "News":
        """What another node told; vague if it makes no sense, as from a later version."""
        news = cls()
        told, _, places = text.partition(" ")
        news.has_ended, news.is_vague = "e" in told, not set(told) <= {"e"}
        try:
            for place in filter(None, places.split(",")):
                lane_id, seq = place.split(":")
                news.places[int(lane_id)] = int(seq)
        except ValueError:
            news.is_vague = True
        return news
