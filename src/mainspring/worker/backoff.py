"""How long to wait before asking a source again that did not answer."""

import asyncio

from mainspring.ports import Clock

# A source that is back has its workers back within five seconds, its own pauses included.
FIRST_S, LONGEST_S = 0.1, 2.0


class Backoff:
    """Doubling waits with jitter, so that the workers of a server that returns do not come all at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next_s = FIRST_S

    def reset(self) -> None:
        self._next_s = FIRST_S

    async def wait(self, at_most_s: float = LONGEST_S) -> None:
        wait_s = min(self._next_s * (0.5 + 0.5 * self._clock.random.random()), at_most_s)
        self._next_s = min(self._next_s * 2.0, LONGEST_S)
        await asyncio.sleep(max(0.0, wait_s))
