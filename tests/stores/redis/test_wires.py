"""What comes over a wire comes in any pieces."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError
from redis.exceptions import TimeoutError as TimedOut

from mainspring.stores.redis.calling import Call, Wires, _Caller
from mainspring.stores.redis.hearing import Ear

ANSWER = b"*2\r\n$5\r\na\r\nbc\r\n$0\r\n\r\n"
NEWS = (
    b"*3\r\n$9\r\nsubscribe\r\n$5\r\nhints\r\n:1\r\n"
    b"*3\r\n$7\r\nmessage\r\n$5\r\nhints\r\n$4\r\na\r\nb\r\n*3\r\n$7\r\nmessage\r\n$5\r\nhints\r\n$1\r\nc\r\n"
)


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.protocol: asyncio.BaseProtocol = asyncio.Protocol()

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        pass


class Connection:
    """As far as a wire looks into one."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.is_disconnected = False
        self._writer = self

    async def disconnect(self, nowait: bool) -> None:
        self.is_disconnected = True


def split(text: bytes) -> Iterator[list[bytes]]:
    """Whole, in two pieces of all sizes, and byte by byte."""
    yield [text]
    yield from ([text[:place], text[place:]] for place in range(1, len(text)))
    yield [text[place : place + 1] for place in range(len(text))]


async def asked(feed: Callable[[_Caller], None]) -> tuple[bytes, bytes]:
    wire = _Caller(Connection())  # type: ignore[arg-type]
    asking = asyncio.ensure_future(wire.ask(b"?"))
    await asyncio.sleep(0)
    feed(wire)
    return await asking


async def test_an_answer_in_pieces():
    for pieces in split(ANSWER):
        assert await asked(lambda wire, some=pieces: [wire.data_received(each) for each in some]) == (
            b"a\r\nbc",
            b"",
        )


@pytest.mark.parametrize(
    ("told", "kind"),
    [(b"NOSCRIPT none", NoScriptError), (b"NOPERM no", NoPermissionError), (b"ERR odd", ResponseError)],
)
async def test_an_error_in_pieces(told, kind):
    for pieces in split(b"-" + told + b"\r\n"):
        with pytest.raises(kind, match=told.decode().removeprefix("ERR ")):
            await asked(lambda wire, some=pieces: [wire.data_received(each) for each in some])


@pytest.mark.parametrize("before", [b"", ANSWER[:9]])
async def test_a_connection_that_ends_before_its_answer_is_whole(before):
    def end(wire: _Caller) -> None:
        if before:
            wire.data_received(before)
        wire.connection_lost(None)

    with pytest.raises(Unreachable, match="closed"):
        await asked(end)


async def test_two_answers_one_after_the_other():
    connection = Connection()
    wire = _Caller(connection)  # type: ignore[arg-type]
    for _ in range(2):
        asking = asyncio.ensure_future(wire.ask(b"?"))
        await asyncio.sleep(0)
        for piece in (ANSWER[:7], ANSWER[7:]):
            wire.data_received(piece)
        assert await asking == (b"a\r\nbc", b"")
    assert connection.transport.written == b"??"


class Turned:
    """A loop's clock and its timer, turned by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now_s

    def call_at(self, at_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        self.due.append((at_s, call))
        return asyncio.get_running_loop().call_later(3600, lambda: None)

    def call_later(self, delay_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return self.call_at(self.now_s + delay_s, call)

    def turn(self) -> None:
        """To what is due next, which is all there is."""
        ((self.now_s, call),) = self.due
        self.due.clear()
        call()


class Loose(Wires):
    """Wires that lead nowhere."""

    def __init__(self, clock: Turned) -> None:
        super().__init__(None, 30.0)  # type: ignore[arg-type]
        self._loop = clock  # type: ignore[assignment]
        self.connections: list[Connection] = []
        self.callers: list[_Caller] = []

    async def _free(self) -> _Caller:
        self.connections.append(Connection())
        self.callers.append(_Caller(self.connections[-1]))  # type: ignore[arg-type]
        return self.callers[-1]


async def test_a_call_that_is_not_answered_in_time_is_given_up():
    """With its wire: a late answer must not be taken for that of the next call. Calls whose time is not over
    wait on, and one timer is for all of them."""
    clock = Turned()
    wires = Loose(clock)
    calls = []
    for clock.now_s in (0.0, 1.0, 10.0):
        calls.append(asyncio.ensure_future(wires.ask(b"?")))
        await asyncio.sleep(0)
    wires.callers[1].data_received(ANSWER)
    assert await calls[1] == (b"a\r\nbc", b"")
    assert [at_s for at_s, _ in clock.due] == [30.0]
    clock.turn()
    with pytest.raises(TimedOut, match="within 30 s"):
        await calls[0]
    assert [at_s for at_s, _ in clock.due] == [40.0]
    assert not calls[2].done()
    wires.callers[2].data_received(ANSWER)
    await calls[2]
    clock.turn()
    assert clock.due == [], "nothing is in the air"
    assert [each.is_disconnected for each in wires.connections] == [True, False, False]
    again = asyncio.ensure_future(wires.ask(b"!"))
    await asyncio.sleep(0)
    assert wires.connections[2].transport.written == b"?!", "a wire that was answered is used again"
    assert [at_s for at_s, _ in clock.due] == [70.0]
    clock.turn()
    with pytest.raises(TimedOut):
        await again


async def test_news_in_pieces():
    """A subscription is told as an empty text, and then each message once, in its order."""
    for pieces in split(NEWS):
        heard: list[bytes] = []
        ear = Ear(Connection())  # type: ignore[arg-type]
        listening = asyncio.ensure_future(ear.listen(b"hints", heard.append))
        await asyncio.sleep(0)
        for piece in pieces:
            ear.data_received(piece)
        ear.connection_lost(OSError("gone"))
        with pytest.raises(Unreachable, match="gone"):
            await listening
        assert heard == [b"", b"a\r\nb", b"c"]


async def test_a_channel_that_may_not_be_heard():
    ear = Ear(Connection())  # type: ignore[arg-type]
    ear.data_received(b"-NOPERM no such channel for you\r\n")
    with pytest.raises(NoPermissionError, match="for you"):
        await ear.listen(b"hints", lambda _: None)


def test_a_call_as_it_travels():
    assert Call("EVALSHA", "abc", ["{n}:k"]).packed([b"\r\n", 12]) == (
        b"*6\r\n$7\r\nEVALSHA\r\n$3\r\nabc\r\n$1\r\n1\r\n$5\r\n{n}:k\r\n$2\r\n\r\n\r\n$2\r\n12\r\n"
    )
