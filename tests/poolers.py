"""A real PgBouncer before a test's PostgreSQL, where the machine has one: there is no wheel of it."""

import os
import pwd
import shutil
import socket
from pathlib import Path
from typing import Any

from tests.servers import PostgresServer, Server

PORT = 6432


class PgBouncer(Server):
    """Lends connections of the server for one transaction at a time, fewer than its clients."""

    package = program = "pgbouncer"

    def __init__(self, server: PostgresServer, mode: str = "transaction", connections: int = 2) -> None:
        self._ini = f"""
            [databases]
            * = host={server.folder} user=postgres
            [pgbouncer]
            listen_addr =
            listen_port = {PORT}
            auth_type = any
            pool_mode = {mode}
            default_pool_size = {connections}
            max_client_conn = 200
        """
        super().__init__()

    @classmethod
    def binary(cls) -> Path | None:
        found = shutil.which("pgbouncer", path=os.defpath + ":/usr/sbin:/usr/local/sbin")
        return Path(found) if found else None

    @classmethod
    def missing(cls) -> str:
        return "" if cls.binary() else "pgbouncer is not on this machine"

    def prepare(self) -> dict[str, Any]:
        lines = [line.strip() for line in [*self._ini.splitlines(), f"unix_socket_dir = {self.folder}"]]
        (self.folder / "pgbouncer.ini").write_text("\n".join(lines))
        if os.geteuid() != 0:
            return {}
        # It refuses to run as root.
        nobody = pwd.getpwnam("nobody")
        os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def command(self) -> list[str]:
        return [str(self.binary()), "-q", str(self.folder / "pgbouncer.ini")]

    def is_ready(self) -> bool:
        # The socket is there a moment before it is listened on.
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.folder / f".s.PGSQL.{PORT}")) == 0

    def dsn(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}&port={PORT}"
