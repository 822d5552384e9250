"""When a failed attempt is tried again.

Four strategies, one cap, one jitter. `retries` counts from 1: the delay before the first re-try.
"""

import math

from mainspring.core.model import SECOND_US, RetryPolicy

STRATEGIES = ("exponential", "fixed", "linear", "list")
LOSS_BACKOFF = RetryPolicy(delay_s=1.0, factor=2.0, max_delay_s=60.0)


def backoff_us(policy: RetryPolicy, retries: int, unit: float) -> int:
    """The wait before re-try number `retries`, in microseconds.

    `unit` is a random number in [0, 1): the caller draws it, so that the rule stays a pure table.
    The result never exceeds `max_delay_s`, whatever the attempt number.
    """
    base_s = min(_base_s(policy, max(1, retries)), policy.max_delay_s)
    spread_s = base_s * (1.0 + policy.jitter * (2.0 * unit - 1.0))
    return int(min(max(0.0, spread_s), policy.max_delay_s) * SECOND_US)


def _base_s(policy: RetryPolicy, retries: int) -> float:
    if policy.strategy == "fixed":
        return policy.delay_s
    if policy.strategy == "linear":
        return policy.delay_s * retries
    if policy.strategy == "list":
        return policy.delays_s[min(retries, len(policy.delays_s)) - 1] if policy.delays_s else 0.0
    return _exponential_s(policy, retries - 1)


def _exponential_s(policy: RetryPolicy, doublings: int) -> float:
    """`delay * factor ** doublings`, cut before the power overflows (attempt 10,000 at factor 10)."""
    if policy.delay_s <= 0.0:
        return 0.0
    # Below the clock's resolution there is no growth to speak of, only powers that overflow.
    delay_s = max(policy.delay_s, 1.0 / SECOND_US)
    if policy.factor <= 1.0:
        return delay_s * policy.factor**doublings
    room = math.log(max(policy.max_delay_s, delay_s) / delay_s) / math.log(policy.factor)
    return policy.max_delay_s if doublings > room else delay_s * policy.factor**doublings


def wants_retry(policy: RetryPolicy, error_type: str) -> bool:
    """Whether an error of this type name is worth another attempt under the policy's filters."""
    if error_type in policy.never:
        return False
    return not policy.only or error_type in policy.only
