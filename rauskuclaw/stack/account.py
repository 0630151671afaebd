"""The account the embedded Postgres runs as: it refuses to be root.

An ordinary user simply runs it. Root gives it to `nobody` where `nobody` can reach the files, and otherwise (a checkout
under /root, say) runs it in a user namespace that shows root as `nobody`: no folder's permissions are ever widened.
"""

import ctypes
import enum
import os
import pwd
import sys
from pathlib import Path

from rauskuclaw.stack.errors import StackError

_CLONE_NEWUSER = 0x10000000
_libc = ctypes.CDLL(None, use_errno=True)


class Account(enum.Enum):
    """How a server's process gets its user id."""

    SELF = "as the user who runs the supervisor"
    NOBODY = "root, which becomes nobody"
    NAMESPACE = "root, shown to the server as nobody"


def nobody() -> pwd.struct_passwd:
    """The password entry of `nobody`. Raises StackError where the machine has none."""
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise StackError(
            "Postgres does not run as root, and this machine has no user `nobody` to run it as: start as an ordinary"
            " user, or set DATABASE_URL."
        ) from None


def choose(program: Path, data: Path) -> Account:
    """The account for `program` with its files in `data`.

    Raises StackError where root can neither become nobody nor open a user namespace.
    """
    if os.geteuid() != 0:
        return Account.SELF
    nobody()
    if _others_reach(program) and program.stat().st_mode & 0o005 == 0o005 and _others_reach(data):
        return Account.NOBODY
    if sys.platform == "linux" and _namespace_allowed():
        return Account.NAMESPACE
    raise StackError(
        f"Postgres does not run as root, user `nobody` cannot reach {program} or {data}, and this kernel allows no user"
        " namespaces: start as an ordinary user, keep the project and VAR_DIR outside of private folders, or set"
        " DATABASE_URL."
    )


def hand_over(data: Path, account: Account) -> None:
    """Give the directory tree `data` to `account`, whichever account used it before.

    Raises StackError where it belongs to another user and cannot be given away.
    """
    wanted = nobody().pw_uid if account is Account.NOBODY else os.geteuid()
    if data.stat().st_uid == wanted:
        return
    if os.geteuid() != 0:
        owner = data.stat().st_uid
        raise StackError(f"{data} belongs to another user (uid {owner}): start as that user, or set another VAR_DIR.")
    for path in (data, *data.rglob("*")):
        os.chown(path, wanted, -1, follow_symlinks=False)


def enter_namespace() -> None:
    """Move the calling process into a user namespace in which it is `nobody`. Raises OSError where refused."""
    user, group = os.geteuid(), os.getegid()
    shown = nobody()
    if _libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{shown.pw_uid} {user} 1"),
        ("gid_map", f"{shown.pw_gid} {group} 1"),
    ):
        file = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(file, text.encode())
        os.close(file)


def _others_reach(path: Path) -> bool:
    """Whether a user with no rights of its own can walk to `path` (what `path` itself allows is not asked)."""
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)


def _namespace_allowed() -> bool:
    child = os.fork()
    if child == 0:
        try:
            enter_namespace()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0
