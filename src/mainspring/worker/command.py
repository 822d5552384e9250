"""The `command` kind: a shell command or a program with its arguments, in a process group of its own.

    {"command": "sort data | uniq -c", "env": {"LC_ALL": "C"}, "cwd": "/data", "stdin": "text"}
    {"command": ["convert", "in.png", "out.webp"]}
    {"command": "jq .fetch.result", "stdin_from": "parents"}

Text goes to `/bin/sh -c`, a list is run as it is. The result is `{exit_code, stdout, stderr, truncated}`;
an exit code other than 0 is a failure that carries the same. Of each stream the head and the tail are kept
there; all of it goes to the task's log as it comes, as far as that can hold it.
When the command has ended, so has all that it started: what still runs in its group is killed. Cancelled or
out of time, it gets SIGTERM, and SIGKILL two seconds later; at its soft timeout SIGTERM alone.
"""

import codecs
import contextlib
import errno
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainspring.errors import InvalidInput
from mainspring.ports import Clock
from mainspring.sdk.context import Context
from mainspring.wire.strict import Shape
from mainspring.worker.outcomes import DetailedError
from mainspring.worker.payloads import bad_payload
from mainspring.worker.warden import Warden, end_group

KEPT_BYTES = 64 * 1024
TERM_GRACE_S = 2.0
LINGER_S = 0.5  # for output of children that outlive the command's own process by a moment
POLL_S = 0.05
READ_BYTES = 1 << 16
COMMAND_ACCEPTED = "text for the shell, or a list: a program and its arguments"


class CommandPayload(msgspec.Struct, forbid_unknown_fields=True):
    command: str | list[str]
    env: dict[str, str] = {}
    cwd: str | None = None
    stdin: str = ""
    stdin_from: Literal["parents"] | None = None


class ParentIn(msgspec.Struct, omit_defaults=True):
    """A task that this one depends on, as the command reads it: one JSON object holds them by name, or id."""

    id: str
    state: str
    result: msgspec.Raw | UnsetType = UNSET
    error: msgspec.Raw | UnsetType = UNSET


_SHAPE = Shape(CommandPayload, accepted={"command": COMMAND_ACCEPTED})


class CommandFailed(DetailedError):
    """The command ended with an exit code other than 0."""

    def __init__(self, result: dict[str, Any], told: str | None, command: str | list[str]) -> None:
        code, stderr = result["exit_code"], result["stderr"].strip().splitlines()
        how = f"exit code {code}" if code >= 0 else f"ended by {_signal_name(-code)}"
        if told == "soft_timeout":
            how = f"over its soft timeout: {how}"
        super().__init__(f"{how}: {stderr[-1][:500]}" if stderr else how)
        self.details = result
        words = command.split() if isinstance(command, str) else command
        self.place = f"{os.path.basename(words[0]) if words else ''}: {how}"


class Commands:
    """Runs commands on the threads that call it. Every group is registered with the warden, which is started
    with the first command if none is given."""

    def __init__(self, clock: Clock, warden: Warden | None = None) -> None:
        self._clock = clock
        self._warden = warden
        self._lock = threading.Lock()

    def run(self, ctx: Context) -> dict[str, Any]:
        """The handler of the kind `command`."""
        try:
            payload = _checked(_SHAPE.read(ctx.raw_payload))
        except InvalidInput as error:
            raise bad_payload(error) from None
        if payload.stdin_from is not None:
            payload.stdin = _parents(ctx)
        child = _start(payload, ctx, self._ward(), self._clock)
        result = child.result()
        if result["exit_code"] != 0 or child.interrupted:
            raise CommandFailed(result, ctx.cancelled.reason, payload.command)
        return result

    def _ward(self) -> Warden:
        with self._lock:
            if self._warden is None:
                self._warden = Warden.start()
            return self._warden


class _Child:
    """One command from its start to its end. `interrupted` says that it was told to end before it had: that
    a well-behaved program then ends with 0 does not mean that its work is done."""

    def __init__(self, payload: CommandPayload, ctx: Context, warden: Warden, clock: Clock) -> None:
        self.interrupted = False
        self._warden = warden
        self._cancelled = ctx.cancelled
        self._now_s = clock.monotonic
        self._input = memoryview(payload.stdin.encode())
        self._kept = {name: _Kept(partial(ctx.write, stream=name)) for name in ("stdout", "stderr")}
        self._exited = False
        self._streams = 0
        self._kill_at_s = self._linger_until_s = inf
        command = payload.command
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", command] if isinstance(command, str) else command,
            stdin=subprocess.PIPE if self._input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=payload.cwd,
            env=_environment(payload, ctx),
            start_new_session=True,
        )
        warden.add(self._process.pid)

    def result(self) -> dict[str, Any]:
        """Attend to the child until it has ended; of its group nothing is left then."""
        group = self._process.pid
        with self._process, selectors.DefaultSelector() as selector, _Wake() as wake:
            try:
                self._register(selector, wake)
                self._cancelled.on_set(wake)
                while not self._over():
                    for key, _ in selector.select(self._wait_s()):
                        key.data(selector, key.fileobj)
            finally:
                # Not reaped yet, the process keeps its number, and so does the group.
                end_group(group)
                self._warden.remove(group)
                code = self._process.wait()
        return {
            "exit_code": code,
            **{name: kept.text() for name, kept in self._kept.items()},
            "truncated": any(kept.left_out for kept in self._kept.values()),
        }

    def _register(self, selector: selectors.BaseSelector, wake: "_Wake") -> None:
        process = self._process
        for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
            assert stream is not None
            selector.register(stream, selectors.EVENT_READ, partial(self._read, self._kept[name]))
            self._streams += 1
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, self._write)
        selector.register(wake.fd, selectors.EVENT_READ, self._terminate)
        if sys.platform == "linux":
            wake.pidfd = os.pidfd_open(process.pid)
            selector.register(wake.pidfd, selectors.EVENT_READ, self._exit)

    def _over(self) -> bool:
        now_s = self._now_s()
        if now_s >= self._kill_at_s:
            end_group(self._process.pid)
            self._kill_at_s = now_s + TERM_GRACE_S
        if sys.platform != "linux" and not self._exited and self._process.poll() is not None:
            self._exited, self._linger_until_s = True, now_s + LINGER_S
        return self._exited and (not self._streams or now_s >= self._linger_until_s)

    def _wait_s(self) -> float | None:
        due_s = min(self._kill_at_s, self._linger_until_s)
        wait_s = None if due_s == inf else max(0.0, due_s - self._now_s())
        if sys.platform != "linux":
            return POLL_S if wait_s is None else min(POLL_S, wait_s)
        return wait_s

    # --- what the selector calls ----------------------------------------------------------------

    def _read(self, kept: "_Kept", selector: selectors.BaseSelector, stream: Any) -> None:
        data = os.read(stream.fileno(), READ_BYTES)
        if data:
            kept.add(data)
        else:
            kept.end()
            selector.unregister(stream)
            self._streams -= 1

    def _write(self, selector: selectors.BaseSelector, stream: Any) -> None:
        try:
            self._input = self._input[os.write(stream.fileno(), self._input) :]
        except BrokenPipeError:
            self._input = self._input[:0]  # the command does not want to read on
        if not self._input:
            selector.unregister(stream)
            stream.close()

    def _terminate(self, selector: selectors.BaseSelector, wake_fd: Any) -> None:
        os.read(wake_fd, READ_BYTES)
        if self._exited:
            return
        if self._cancelled.reason != "soft_timeout":
            self.interrupted = True
            self._kill_at_s = min(self._kill_at_s, self._now_s() + TERM_GRACE_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGTERM)

    def _exit(self, selector: selectors.BaseSelector, pidfd: Any) -> None:
        selector.unregister(pidfd)
        self._exited, self._linger_until_s = True, self._now_s() + LINGER_S


class _Wake:
    """A pipe that wakes the thread when the run is cancelled. Called from the event loop, perhaps after the
    command has ended: then it must not write into a number that is another file's by now."""

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe()
        self.pidfd: int | None = None
        self._lock = threading.Lock()
        self._open = True

    def __enter__(self) -> "_Wake":
        return self

    def __call__(self, reason: str) -> None:
        with self._lock:
            if self._open:
                os.write(self._write_fd, b"!")

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._open = False
            for fd in (self.fd, self._write_fd, self.pidfd):
                if fd is not None:
                    os.close(fd)


class _Kept:
    """The head and the tail of a stream, all of which is told as it comes."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._head, self._tail = bytearray(), bytearray()
        self._tell = tell
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.left_out = 0

    def end(self) -> None:
        self._tell(self._decoder.decode(b"", final=True))

    def add(self, data: bytes) -> None:
        self._tell(self._decoder.decode(data))
        half = KEPT_BYTES // 2
        room = half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room else data
        over = len(self._tail) - half
        if over > 0:
            del self._tail[:over]
            self.left_out += over

    def text(self) -> str:
        head, tail = (part.decode("utf-8", "replace") for part in (self._head, self._tail))
        return f"{head}\n[{self.left_out} bytes left out]\n{tail}" if self.left_out else head + tail


def _checked(payload: CommandPayload) -> CommandPayload:
    """Raises `InvalidInput` for what no system can be asked to run."""
    command = payload.command
    words = [command] if isinstance(command, str) else command
    if not words or not words[0].strip():
        raise InvalidInput("command", "it is empty", COMMAND_ACCEPTED)
    for name, value in payload.env.items():
        if not name or "=" in name or "\0" in name + value:
            raise InvalidInput("env", f"not a variable: {name[:40]!r}", "names without = and NUL")
    for field, text in (("command", "".join(words)), ("cwd", payload.cwd or "")):
        if "\0" in text:
            raise InvalidInput(field, "has a NUL character in it", "text without it")
    if payload.stdin and payload.stdin_from is not None:
        raise InvalidInput("stdin_from", "given beside stdin", "one of the two")
    return payload


def _parents(ctx: Context) -> str:
    shown = {
        key: ParentIn(parent.id, parent.state, _raw(parent.raw_result), _raw(parent.raw_error))
        for key, parent in ctx.parents.items()
    }
    return msgspec.json.encode(shown).decode()


def _raw(text: bytes | None) -> msgspec.Raw | UnsetType:
    return UNSET if text is None else msgspec.Raw(text)


def _start(payload: CommandPayload, ctx: Context, warden: Warden, clock: Clock) -> _Child:
    try:
        return _Child(payload, ctx, warden, clock)
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
    raise bad_payload(
        InvalidInput("command", "longer than this system can start, with its environment", COMMAND_ACCEPTED)
    )


def _environment(payload: CommandPayload, ctx: Context) -> dict[str, str]:
    """The worker's own, without what opens the server to whoever reads a command's output."""
    own = {name: value for name, value in os.environ.items() if name != "MAINSPRING_TOKEN"}
    task = {
        "MAINSPRING_TASK": ctx.task,
        "MAINSPRING_ATTEMPT": str(ctx.attempt),
        "MAINSPRING_FENCE": str(ctx.fence),
        **({} if ctx.fire_at is None else {"MAINSPRING_FIRE_AT": ctx.fire_at.isoformat()}),
    }
    return {**own, **task, **payload.env}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
