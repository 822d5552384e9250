"""The statements of `sql/*.sql`, each under its `-- name:` line. What follows a `-- part:` line is no
statement but a piece of several, or of other pieces: they hold its name in braces."""

import re
from importlib.resources import files

_HEADED = re.compile(r"^-- (name|part): (\w+)\n", re.MULTILINE)


def _read() -> dict[str, str]:
    found: dict[str, dict[str, str]] = {"name": {}, "part": {}}
    for file in files(__package__).joinpath("sql").iterdir():
        _, *pieces = _HEADED.split(file.read_text("utf-8"))
        for kind, name, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
            assert name not in found[kind], f"two statements are named {name}"
            found[kind][name] = text.strip()
    statements, parts = found["name"], found["part"]
    while left := [name for name, text in statements.items() if any(f"{{{part}}}" in text for part in parts)]:
        for name in left:
            for part, piece in parts.items():
                statements[name] = statements[name].replace(f"{{{part}}}", piece)
    return statements


STATEMENTS = _read()
