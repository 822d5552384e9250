"""How a handler ends otherwise than by returning or failing.

    raise Retry(after_s=30)     try again, at a time of the handler's choosing; counts as a retry
    raise Snooze(3600)          not yet: run later; gives the attempt back, records no error
    raise Cancel("not needed")  end as cancelled; never retried
    raise Fatal("bad address")  end as failed, whatever retries are left: a dead letter

They are exceptions, so a handler may raise them from any depth. Whatever else leaves a handler is a
failure, retried by the task's policy.
"""


class Signal(Exception):
    """Root of the signals a handler may raise."""


class Retry(Signal):
    """Fail this attempt and try again after `after_s` seconds, if retries are left.

    Without `after_s`, or with one that is not above zero, the task's own backoff decides.
    """

    def __init__(self, after_s: float | None = None, reason: str = "") -> None:
        super().__init__(reason or "the handler asked for a retry")
        self.after_s = after_s


class Snooze(Signal):
    """Run again after `after_s` seconds. The attempt is given back and no error is recorded."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"the handler snoozed for {after_s} s")
        self.after_s = after_s


class Cancel(Signal):
    """End the task as cancelled, for a reason."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler cancelled its task")


class Fatal(Signal):
    """End the task as failed; no retry can help."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler gave up on its task")


class SoftTimeout(Exception):
    """Raised once into a coroutine handler when its soft timeout is over: finish, or clean up and let it
    pass. A handler on a thread sees `ctx.cancelled` set, with the reason `soft_timeout`, instead."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"over the soft timeout of {timeout_s:g} s")
        self.timeout_s = timeout_s
