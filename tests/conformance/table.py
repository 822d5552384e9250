"""The table store x suite that stands at the end of a run: what each store was shown to do."""

from collections import Counter
from collections.abc import Iterable, Sequence

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class Table:
    """Counts of results by (file of the suite, store)."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, node_id: str, stores: Iterable[str], result: str) -> None:
        """Tests that are not about one of the stores are left out."""
        path, _, test = node_id.partition("::")
        parameters = test.partition("[")[2].rstrip("]").split("-")
        for store in stores:
            if store in parameters:
                self._counts[path.rpartition("/")[2].removesuffix(".py"), store, result] += 1

    def lines(self, stores: Sequence[str]) -> list[str]:
        """Empty if nothing ran."""
        files = sorted({file for file, _, _ in self._counts})
        if not files:
            return []
        width = max(map(len, files))
        rows = [(file, [self._cell(file, store) for store in stores]) for file in files]
        rows.append(("in all", [self._sum(store) for store in stores]))
        columns = [max(len(store), *(len(cells[n]) for _, cells in rows)) for n, store in enumerate(stores)]
        return [
            "  ".join([name.ljust(width), *(cell.rjust(columns[n]) for n, cell in enumerate(cells))])
            for name, cells in [("", list(stores)), *rows]
        ]

    def _cell(self, file: str, store: str) -> str:
        passed, failed, skipped = (self._counts[file, store, result] for result in (PASSED, FAILED, SKIPPED))
        words = [str(passed)] if passed or not (failed or skipped) else []
        words += [f"{count} {word}" for count, word in ((failed, "FAILED"), (skipped, "skipped")) if count]
        return ", ".join(words) if passed or failed or skipped else "-"

    def _sum(self, store: str) -> str:
        return str(
            sum(
                count
                for (_, name, result), count in self._counts.items()
                if name == store and result == PASSED
            )
        )
