"""The store that settings name. What is wrong with it is told by the setting's name, as the user gave it."""

from collections.abc import Iterator
from contextlib import contextmanager

from mainspring.config import Settings
from mainspring.errors import InvalidInput, StoreError, StoreUnfinished
from mainspring.ports import Clock, Store
from mainspring.stores import open_store


def store_of(settings: Settings, clock: Clock) -> Store:
    """Not yet opened. Raises `InvalidInput` naming the setting."""
    try:
        return open_store(settings.store_url, clock, settings.store_options)
    except InvalidInput as error:
        origins = {"store": settings.store_origin, "queue": settings.origin("queue")}
        if error.field not in origins:
            raise
        raise InvalidInput(origins[error.field], error.problem, error.accepted) from None


async def open_named(store: Store, settings: Settings) -> None:
    """Open the store. Raises what its `open` does, naming the setting, and `StoreUnfinished`."""
    with named(settings):
        await store.open()
        try:
            await _check_is_whole(store)
        except BaseException:
            await store.close()
            raise


@contextmanager
def named(settings: Settings) -> Iterator[None]:
    """What the store raises, under the name of the setting that says where it is."""
    try:
        yield
    except StoreError as error:
        raise type(error)(f"{settings.store_origin}: {error.detail}") from error


async def _check_is_whole(store: Store) -> None:
    """A part of somebody's tasks must not begin to run while the other store still has them all."""
    if await store.unfinished_load() is not None:
        raise StoreUnfinished(
            "a copy from another store fills it, or broke off while it did;"
            " `mainspring store copy` has to come to its end first"
        )
