"""Finding a user's application by its name, `module:app`."""

import sys
from importlib import import_module
from pathlib import Path

from mainspring.errors import InvalidInput
from mainspring.sdk.handlers import Registry

ACCEPTED = "module:name of a Mainspring application, such as jobs:app"


def load_app(spec: str) -> Registry:
    """Import the application and return its handlers. The current folder is searched first.

    Raises `InvalidInput` naming what is not there. What the module itself raises passes through.
    """
    return _found(spec)[1]


def address_of(spec: str) -> str | None:
    """The URL that the application was given by its author. Raises as `load_app` does."""
    url = getattr(_found(spec)[0], "url", None)
    return url if isinstance(url, str) else None


def _found(spec: str) -> tuple[object, Registry]:
    module_name, _, attribute = spec.partition(":")
    if not module_name:
        raise InvalidInput("app", f"not an application: {spec!r}", ACCEPTED)
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the module is there; what it imports is not
        raise InvalidInput(
            "app", f"there is no module {error.name!r} in {here} or installed", ACCEPTED
        ) from None
    app = getattr(module, attribute or "app", None)
    registry = getattr(app, "registry", None)
    if not isinstance(registry, Registry):
        raise InvalidInput(
            "app", f"module {module_name!r} has no application {attribute or 'app'!r}", ACCEPTED
        )
    return app, registry
