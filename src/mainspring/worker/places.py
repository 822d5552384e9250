"""Where an error was raised, as the people who own the code would say it: in their own last function."""

import sysconfig
from collections.abc import Sequence
from pathlib import PurePath
from traceback import FrameSummary

_PATHS = sysconfig.get_paths()
# Python itself, and this package: an error that surfaces there was caused further out.
_OURS = tuple(
    f"{folder}/" for folder in {str(PurePath(__file__).parents[1]), _PATHS["stdlib"], _PATHS["platstdlib"]}
)
_INSTALLED = tuple(f"{folder}/" for folder in {_PATHS["purelib"], _PATHS["platlib"]})


def place_of(frames: Sequence[FrameSummary]) -> str:
    """`FILE:FUNCTION:LINE` of the innermost frame of user code; if there is none, of what was installed
    beside it, else of the innermost frame. Empty if there are no frames."""
    if not frames:
        return ""
    foreign = [frame for frame in frames if not _is_ours(frame.filename)]
    own = [frame for frame in foreign if not frame.filename.startswith(_INSTALLED)]
    last = (own or foreign or frames)[-1]
    return f"{PurePath(last.filename).name}:{last.name}:{last.lineno}"


def _is_ours(file: str) -> bool:
    # Where nothing is installed into an environment of its own, libraries lie inside of Python's folder.
    return file.startswith("<frozen ") or (file.startswith(_OURS) and not file.startswith(_INSTALLED))
