"""An application of small tasks, made anew for each test."""

import dataclasses
import threading
from datetime import datetime
from typing import Any

from mainspring import Cancel, Context, Fatal, Mainspring


@dataclasses.dataclass
class Picture:
    path: str
    size: tuple[int, int]
    made: datetime | None = None


class Jobs:
    """`gate` holds up whoever runs `held`."""

    def __init__(self, url: str | None = None, **settings: Any) -> None:
        self.app = app = Mainspring(url, **settings)
        self.gate = threading.Event()
        self.begun = threading.Event()

        @app.task
        def add(left: int, right: int = 10) -> int:
            return left + right

        @app.task
        async def double(number: int) -> int:
            return 2 * number

        @app.task(max_retries=0)
        def broken(reason: str) -> None:
            raise ValueError(reason)

        @app.task(name="draw-picture", queue="pictures", priority="high")
        async def draw(ctx: Context, path: str, /, *sizes: int, made: datetime | None = None) -> Picture:
            ctx.progress(0.5, "half")
            return Picture(path, (sizes[0], sizes[1]), made)

        @app.task
        def held() -> str:
            self.begun.set()
            self.gate.wait(60)
            return "let go"

        @app.task
        def quits(reason: str) -> None:
            raise Cancel(reason)

        @app.task
        def hopeless(reason: str) -> None:
            raise Fatal(reason)

        @app.task
        def total(numbers: list[int]) -> int:
            return add.submit(numbers[0], numbers[1]).result(timeout=60)

        @app.task
        async def atotal(numbers: list[int]) -> int:
            return await (await add.submit.aio(numbers[0], numbers[1]))

        self.add, self.double, self.broken, self.draw, self.held = add, double, broken, draw, held
        self.quits, self.hopeless, self.total, self.atotal = quits, hopeless, total, atotal
