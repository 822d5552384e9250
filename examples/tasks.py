"""Functions as tasks. A worker started with `-A tasks:app` in this folder runs them.

mainspring standalone -A tasks:app
mainspring submit count_primes --payload '{"below": 100000}' --wait
"""

import asyncio

from mainspring import Mainspring
from mainspring.sdk import Context

app = Mainspring()


@app.task
async def nap(seconds: float = 0.1) -> str:
    """A coroutine: thousands of these wait side by side in one process."""
    await asyncio.sleep(seconds)
    return f"slept {seconds} s"


@app.task
def count_primes(below: int, ctx: Context) -> int:
    """A plain function runs on a thread. The context is filled in by the worker."""
    sieve = bytearray([1]) * below
    sieve[:2] = bytes(min(2, below))
    for number in range(2, int(below**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, below, number)))
    ctx.progress(1.0, f"sieved {below} numbers")
    return sum(sieve)


@app.task(isolation="process", timeout="30s")
def longest_collatz(below: int) -> dict[str, int]:
    """Heavy arithmetic in a child process of its own: it holds up nobody, and may crash alone."""

    def steps(number: int) -> int:
        count = 0
        while number > 1:
            number = number // 2 if number % 2 == 0 else 3 * number + 1
            count += 1
        return count

    start = max(range(1, below), key=steps)
    return {"start": start, "steps": steps(start)}


@app.task
def flaky(ctx: Context) -> str:
    """Fails at first, works when it is tried again."""
    if ctx.attempt < 2:
        raise ConnectionError("the other side hung up")
    return f"worked on attempt {ctx.attempt}"


@app.task
def broken(reason: str = "no such customer") -> None:
    """Always fails. When its retries are spent it is a dead letter, kept for analysis and replay."""
    raise ValueError(reason)
