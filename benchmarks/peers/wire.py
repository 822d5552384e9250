"""As much of the Redis protocol as a probe needs, so that what a peer's keys hold is asked alike for all."""

import socket
from typing import Any


class Redis:
    """One connection to the unix socket in `url`; `database` is its number."""

    def __init__(self, url: str, database: int = 0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path_of(url))
        self._file = self._socket.makefile("rb")
        if database:
            self("SELECT", str(database))

    def __call__(self, *words: str) -> Any:
        parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
        self._socket.sendall("".join(parts).encode())
        return self._answer()

    def info(self, section: str) -> dict[str, str]:
        lines = self("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def _answer(self) -> Any:
        line = self._file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return rest.decode()


def path_of(url: str) -> str:
    """The socket's path in `unix:///path`."""
    return url.removeprefix("unix://").partition("?")[0]
