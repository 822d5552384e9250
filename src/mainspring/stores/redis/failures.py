"""What the library's errors mean to a caller."""

import re

from redis.exceptions import (
    AuthenticationError,
    ClusterError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
)
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import TimeoutError as TimedOut

from mainspring.errors import StoreError, StoreFull, StoreUnavailable

FAILURES = (RedisError, RedisClusterException, OSError, TimeoutError)
# An error inside of a script comes with words of the script around it.
_FULL = re.compile(r"\b(OOM command not allowed|MISCONF )")
_NO_PASSWORD = "HELLO must be called with the client already authenticated"
_NO_DATABASE = "DB index is out of range"
_NOBODY = re.compile(r"^(?:Redis Cluster cannot be connected\. .*: )?(Error -?\d+ connecting to .*)")
# Behind it stands how Python writes the client of each sentinel, and what went wrong with it.
_NO_PRIMARY = re.compile(r"^No master found for '(.*?)'(?: : |$)")
_AT_A_SENTINEL = re.compile(r">\)> - (\w+):(\w+)")
_NO_CLUSTER = "Cluster mode is not enabled on this node"
_STANDBY = re.compile(r"\bREADONLY ")
_TLS = re.compile(r"\[(?:SSL|X509)\b.*")
# Where in a script it happened, as the servers before 7.0 and those since then tell it.
_BEFORE = re.compile(r"^Error running script \(call to \w+\): (?:@user_script:\s*\d+: )+-?")
_BEHIND = re.compile(r" script: .*\bon @user_script:\d+\.$")
_NOT_NOW = re.compile(r"\b(LOADING|MASTERDOWN|CLUSTERDOWN|NOREPLICAS|TRYAGAIN|BUSY|UNBLOCKED|NOAUTH) ")


def translated(error: BaseException, shown: str) -> StoreError:
    """The error of the port. `shown` is the server's address, without a password."""
    told = _BEHIND.sub("", _BEFORE.sub("", " ".join(str(error).split()))) or type(error).__name__
    if isinstance(error, OutOfMemoryError) or _FULL.search(told):
        return StoreFull(f"{shown}: the server takes no more data; nothing of this call was stored: {told}")
    if _NO_PASSWORD in told:
        return StoreUnavailable(f"{shown}: wrong user or password: the server wants one")
    if isinstance(error, AuthenticationError):
        return StoreUnavailable(f"{shown}: wrong user or password: {told}")
    if isinstance(error, NoPermissionError):
        return StoreError(f"{shown}: this user may not do what a store has to do: {told}")
    if isinstance(error, TimedOut | TimeoutError):
        return StoreUnavailable(f"{shown}: the server does not answer: {told}")
    if no_primary := _NO_PRIMARY.search(told):
        why = ", ".join(f"{what} ({name})" for what, name in _AT_A_SENTINEL.findall(told)) or "unknown there"
        return StoreUnavailable(f"{shown}: no sentinel names a primary of {no_primary[1]!r}: {why}")
    if tls := _TLS.search(told):
        return StoreUnavailable(f"{shown}: no connection with these TLS parameters: {tls[0]}")
    if nobody := _NOBODY.search(told):
        return StoreUnavailable(f"{shown}: no server there: {nobody[1]}")
    if _NO_CLUSTER in told:
        return StoreUnavailable(f"{shown}: this server is of no cluster: name it by redis://")
    if _NO_DATABASE in told:
        return StoreUnavailable(f"{shown}: no such database: {told}")
    if is_of_a_standby(error):
        return StoreUnavailable(f"{shown}: the server is read-only: {told}")
    if isinstance(error, Unreachable | ClusterError | RedisClusterException | OSError):
        return StoreUnavailable(f"{shown}: {told}")
    if _NOT_NOW.search(told):
        return StoreUnavailable(f"{shown}: {told}")
    return StoreError(f"{shown}: {told}")


def is_of_a_standby(error: BaseException) -> bool:
    """The server was the primary and is no more: another one may be by now."""
    return isinstance(error, ReadOnlyError) or _STANDBY.search(str(error)) is not None
