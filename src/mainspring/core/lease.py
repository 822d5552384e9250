"""How long a claim holds, when it is renewed, and when it is too old to start on.

A lease is judged by the store's clock alone. The holder counts on its own monotonic clock from the
moment it *asked*, so a slow answer shortens what it may assume, never lengthens it.
"""

LEASE_DEFAULT_S = 15.0
LEASE_SHORTEST_S, LEASE_LONGEST_S = 1.0, 3600.0


def renew_interval_s(lease_s: float) -> float:
    """Two renewals may be lost before the lease is."""
    return lease_s / 3.0


def needs_renewal_before_start(asked_s: float, answered_s: float, lease_s: float) -> bool:
    """A claim answered this late is renewed before user code starts.

    Otherwise a worker that was paused between asking and receiving would start work whose lease has
    lapsed, side by side with the worker that holds it now.
    """
    return answered_s - asked_s > lease_s / 3.0


def is_lapsed(renewed_s: float, now_s: float, lease_s: float) -> bool:
    """Whether the holder must assume that its lease is gone, by its own monotonic clock."""
    return now_s - renewed_s >= lease_s
