"""Runs a program that finds a disk of its own in a folder, and a small one:

    python small_disk.py FOLDER BYTES UID GID PROGRAM [ARGUMENT ...]

The disk is a tmpfs in a mount namespace that only the program sees, and is gone with it. Root changes to UID
and GID; others need no privilege, where the system lets them have a user namespace.
"""

import ctypes
import os
import sys

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PR_SET_PDEATHSIG, SIGTERM = 1, 15


def main(folder: str, size: str, uid: str, gid: str, *command: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int, what: str) -> None:
        if result:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")

    is_root = os.geteuid() == 0
    check(libc.unshare(CLONE_NEWNS if is_root else CLONE_NEWNS | CLONE_NEWUSER), "no namespace of its own")
    if not is_root:
        for file, line in ("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1"):
            with open(f"/proc/self/{file}", "w") as map_:
                map_.write(line)
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mounts cannot be made private")
    options = f"size={size},mode=700,uid={uid},gid={gid}".encode()
    check(libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, options), f"no disk at {folder}")
    if is_root:
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    libc.prctl(PR_SET_PDEATHSIG, SIGTERM)  # a change of user has cleared it
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
