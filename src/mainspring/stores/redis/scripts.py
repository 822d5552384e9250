"""The scripts of `lua/*.lua`: each verb is its own file behind the files that all share."""

import re
from importlib.resources import files

from mainspring.core.lifecycle import DOOMED_ERROR, SPARED_ERROR
from mainspring.stores.redis.packing import End, pack

_FOLDER = files(__package__).joinpath("lua")
_SHARED = (
    "keys", "clock", "constants", "record", "limits", "belonging", "reply", "settle", "submit", "claim",
    "by_hand",
)  # fmt: skip
# Every other file of the folder is a verb.
_VERBS = sorted({path.name.removesuffix(".lua") for path in _FOLDER.iterdir()} - set(_SHARED))


def _read(name: str) -> str:
    return _FOLDER.joinpath(f"{name}.lua").read_text()


def _quoted(text: bytes) -> str:
    return '"' + "".join(f"\\{byte:03d}" for byte in text) + '"'


# What scripts write, or compare with, and never look into.
_CONSTANTS = {"DOOMED_END": pack(End(error=DOOMED_ERROR)), "SPARED_END": pack(End(error=SPARED_ERROR))}
SOURCES = {name: _read(name) for name in (*_SHARED, *_VERBS) if name != "constants"}
SOURCES["constants"] = "".join(f"local {name} = {_quoted(text)}\n" for name, text in _CONSTANTS.items())
_KEY_NAMES: list[str] = re.findall(r"^    (\w+) = KEYS\[\d+\]", SOURCES["keys"], re.MULTILINE)


def scripts(clock: str = SOURCES["clock"]) -> dict[str, str]:
    """The whole text of each verb's script. A test may hand in a clock that it can move."""
    shared = "".join(clock if name == "clock" else SOURCES[name] for name in _SHARED)
    return {verb: shared + SOURCES[verb] for verb in _VERBS}


def keys(namespace: str) -> dict[str, str]:
    """All keys of a namespace, in the order of the scripts' KEYS; one hash tag, so one slot."""
    return {name: f"{{{namespace}}}:{name}" for name in _KEY_NAMES}
