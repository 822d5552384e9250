"""The schema of a store that has one: looked at and changed by hand."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from mainspring.core.migrations import Step


class Schema(ABC):
    """Apart from the store itself, which refuses to open what it does not know. Calls raise `StoreError`."""

    steps: Sequence[Step]

    @abstractmethod
    async def number(self) -> int:
        """The schema's number as it is; 0 for a database without one."""

    @abstractmethod
    async def migrate(self, to: int | None) -> tuple[list[Step], list[Step]]:
        """Go to a number, the newest if none is named: all of the steps, or none. Returns those that were
        taken, up and down. Any number of nodes may do so at once.

        Raises `InvalidInput` for a number that is none, and `StoreTooNew`.
        """

    @abstractmethod
    async def losses(self, to: int) -> list[str]:
        """What going down to a number would destroy, of what is there."""

    @abstractmethod
    def sql(self, start: int, to: int | None) -> str:
        """What `migrate` does, for somebody else to run. Raises as it does."""
