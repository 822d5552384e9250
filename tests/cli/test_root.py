"""The command line as a whole: exit codes, start-up, refusals before anything runs."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mainspring import __version__
from mainspring.cli.root import COMMANDS
from tests.cli.conftest import Cli

SERVER_LIBRARIES = {"apsw", "uvicorn", "uvloop", "starlette", "mainspring.node", "mainspring.scheduler"}


@pytest.fixture
def nowhere():
    """Commands for a server that is not there: the port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Cli(f"http://127.0.0.1:{taken.getsockname()[1]}")


def test_version(nowhere):
    """S4-10: one command, installed with the package."""
    installed = Path(sys.executable).with_name("mainspring")
    assert subprocess.check_output([installed, "version"], text=True) == f"mainspring {__version__}\n"
    assert nowhere.ok("version") == nowhere.ok("--version") == f"mainspring {__version__}\n"


def test_every_command_has_help(nowhere):
    """S4-24: standalone, server and worker among them."""
    overview = nowhere.ok("--help")
    for section in COMMANDS.values():
        for name, (_, what) in section.items():
            assert f"  {name} " in overview
            assert what in overview
            assert nowhere.ok(name, "--help").startswith(f"Usage: mainspring {name} ")


@pytest.mark.parametrize("arguments", [["version"], ["tasks", "list"], ["submit", "echo"], ["stats"]])
def test_clients_load_no_server(arguments, nowhere):
    """Start-up is short: a client command imports nothing that only servers need."""
    script = (
        "import sys; from mainspring.cli import main\n"
        f"sys.argv = ['mainspring', *{arguments}]\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    command, environment = [sys.executable, "-c", script], {**os.environ, **nowhere.environment}
    loaded = subprocess.run(command, env=environment, capture_output=True, text=True).stderr.split()
    assert "mainspring.cli.root" in loaded
    assert SERVER_LIBRARIES.intersection(loaded) == set()
    if arguments == ["version"]:
        assert {"httpx", "rich"}.intersection(loaded) == set()


def test_no_server_is_exit_code_3(nowhere):
    for text in ("submit echo", "submit echo --wait", "run true", "tasks list", "tasks wait x", "stats"):
        command = text.split()
        assert nowhere.fails(3, *command).startswith(f"no server answers at {nowhere.url}: ")


def test_what_is_no_mainspring_server_is_exit_code_3():
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<h1>hello</h1>")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        serving = Thread(target=other.serve_forever)
        serving.start()
        try:
            cli = Cli(f"http://127.0.0.1:{other.server_port}")
            assert "not a Mainspring server" in cli.fails(3, "tasks", "list")
        finally:
            other.shutdown()
            serving.join()


def test_output_that_finds_no_room_is_one_line(nowhere):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "mainspring", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "mainspring: No space left on device\n")


def test_a_reader_that_has_seen_enough(cli, write):
    """`mainspring tasks list | head -1` ends without a complaint."""
    cli.ok("submit", "--file", write("many.json", [{"delay": 3600}] * 2_000))
    command = f"{sys.executable} -m mainspring tasks list --limit 2000 | head -1"
    piped = subprocess.run(
        ["bash", "-c", command], env={**os.environ, **cli.environment}, capture_output=True, text=True
    )
    assert piped.stdout.startswith("ID ")
    assert "Traceback" not in piped.stderr
    assert "Exception" not in piped.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["frobnicate"], "No such command 'frobnicate'. (see mainspring --help)"),
        (["tasks", "frobnicate"], "No such command 'frobnicate'. (see mainspring tasks --help)"),
        (["tasks", "get"], "Missing argument 'ID'. (see mainspring tasks get --help)"),
        (["tasks", "list", "--api-url", "localhost:8080"], "--api-url: not a server's URL: 'localhost:8080'"),
        (["tasks", "list", "--api-url", "http://"], "--api-url: not a server's URL"),
        (["stats", "--api-url", "redis://:s3cret@h/0"], "--api-url: not a server's URL: 'redis://:***@h/0'"),
        (["tasks", "list", "--token", "gehe\u00efm"], "--token: has characters that no HTTP header may"),
        (["worker", "--api-url", "localhost:8080"], "api_url: not the address of a server"),
        (
            ["worker", "--api-url", "redis://:s3cret@h"],
            "api_url: not the address of a server: 'redis://:***@h'",
        ),
        (["simulate", "--seeds", "0"], "Invalid value for '--seeds'"),
        (["standalone", "--db", "a", "--store", "memory:"], "give --db or --store, not both"),
        (["standalone", "--listen", "8080"], "listen: not an address: '8080'; accepted: HOST:PORT"),
        (["standalone", "--concurrency", "0"], "--concurrency: out of range: 0; accepted: 1 to 10000"),
        (["standalone", "--lease", "soon"], "--lease: not a duration: 'soon'"),
        (["standalone", "--config", "absent.toml"], "config: cannot be read"),
        (["standalone", "--store", "mysql://x"], "--store: no driver"),
        (["standalone", "--store", "memory:", "-A", "no_such_module:app"], "app: there is no module"),
        (["standalone", "--store", "memory:", "-A", "json:dumps"], "app: module 'json' has no application"),
        (["server", "--store", "memory:", "--listen", "0.0.0.0:0"], "--listen: 0.0.0.0 can be reached from"),
        (["server", "--store", "memory:", "--listen", "[::]:0"], "--listen: :: can be reached from outside"),
        (["demo", "--examples", "absent"], "--examples: there is no tasks.py in absent"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments, complaint, nowhere, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert nowhere.fails(2, *arguments).startswith(complaint)


def test_an_application_that_raises_is_told_with_the_place(nowhere, tmp_path, monkeypatch):
    (tmp_path / "half_written.py").write_text("import os\n1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    complaint = nowhere.fails(2, "standalone", "--store", "memory:", "-A", "half_written:app")
    assert complaint.startswith("app: cannot be loaded: ZeroDivisionError: division by zero (")
    assert "half_written.py:2)" in complaint


def test_a_bad_variable_is_named(nowhere):
    cli = Cli(nowhere.url, MAINSPRING_CONCURRENCY="many")
    assert cli.fails(2, "tasks", "list").startswith("MAINSPRING_CONCURRENCY: out of range: 'many'")


def test_a_taken_address_is_told(nowhere, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = nowhere.url.removeprefix("http://")
    assert "cannot listen on" in nowhere.fails(2, "server", "--store", "memory:", "--listen", address)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, (
        "the process can be interrupted still"
    )


def test_a_file_that_is_no_database_is_told(nowhere, tmp_path):
    path = tmp_path / "notes.db"
    path.write_text("dear diary, " * 1000)
    complaint = nowhere.fails(1, "server", "--db", str(path), "--listen", "127.0.0.1:0")
    assert str(path) in complaint
    assert path.read_text().startswith("dear diary")
