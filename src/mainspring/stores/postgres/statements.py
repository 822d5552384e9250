"""The statements of `sql/*.sql`, each under its `-- name:` line."""

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def _read() -> dict[str, str]:
    found: dict[str, str] = {}
    for file in files(__package__).joinpath("sql").iterdir():
        _, *parts = _NAME.split(file.read_text())
        found.update(zip(parts[::2], parts[1::2], strict=True))
    return found


STATEMENTS = _read()
MIGRATION = files(__package__).joinpath("migrations", "0001_tasks.sql").read_text()
