"""A real `mainspring standalone` for the commands to talk to, and a way to call them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mainspring.cli.root import root
from tests.e2e.processes import running

JOBS = """
import asyncio
from pathlib import Path

from mainspring import Context, Mainspring

app = Mainspring()

@app.task
def double(number: int) -> int:
    return 2 * number

@app.task(max_retries=0)
def broken(reason: str) -> None:
    raise ValueError(reason)

@app.task
def talk(ctx: Context) -> None:
    ctx.log.info("hello from run %d", ctx.attempt)
    ctx.log.warning("look out")

@app.task
async def advance(ctx: Context, gate: str) -> None:
    ctx.progress(0.5, "half way")
    while not Path(gate).exists():
        await asyncio.sleep(0.01)
"""


class Cli:
    """`cli("tasks", "list")` in this process, against the server."""

    def __init__(self, url: str, **environment: str) -> None:
        self.url = url
        self.environment = {"MAINSPRING_API_URL": url, **environment}

    def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(root, arguments, input=stdin, env=self.environment)

    def ok(self, *arguments: str, stdin: str | None = None) -> str:
        """Its standard output; it must succeed and complain of nothing."""
        result = self(*arguments, stdin=stdin)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return result.stdout

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        return json.loads(self.ok(*arguments, "-o", "json", stdin=stdin))

    def fails(self, code: int, *arguments: str, stdin: str | None = None) -> str:
        """Its complaint, which must be one line."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == code, result.output
        (line,) = result.stderr.splitlines()
        assert line.startswith("mainspring: ")
        return line.removeprefix("mainspring: ")


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    home = tmp_path_factory.mktemp("standalone")
    (home / "jobs.py").write_text(JOBS)
    arguments = ("--listen", "127.0.0.1:0", "-A", "jobs:app", "--allow-commands", "--grace", "1s")
    with running(home, "standalone", "standalone", *arguments) as process:
        yield Cli(process.url())


@pytest.fixture
def queue(cli: Cli, request: pytest.FixtureRequest) -> str:
    """A queue that only this test uses."""
    return str(request.node.name)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, object], str]:
    """Write a file, as text or as JSON; its path."""

    def write(name: str, content: object) -> str:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write
