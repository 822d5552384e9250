"""What a worker's host lets tasks reach besides Python: nothing, unless it is told."""

import msgspec


class Allowed(msgspec.Struct, frozen=True):
    """One member for each kind that has to be switched on. `http_private` names what `http` tasks may reach
    beyond public addresses; `file_root` is the directory that `file` tasks are confined to, "" for none."""

    commands: bool = False
    http: bool = False
    http_private: tuple[str, ...] = ()
    file_root: str = ""


NOTHING = Allowed()
