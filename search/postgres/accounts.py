"""As whom the server's programs run: as this user, or as another one for root, since PostgreSQL refuses to run as root.

The server of root, as in a container, belongs to the user ``postgres`` where there is one, else to ``nobody``, and to
the owner of its folder once that exists.
"""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskcls.system.errors import UserError

NAMES = ("postgres", "nobody")
"""Users as whom the server of root may run, the first that the machine has."""


@dataclass(frozen=True)
class Account:
    """Another user than this process's, which is root's."""

    name: str
    uid: int
    gid: int

    def own(self, path: Path) -> None:
        """Give the file or folder to the account."""
        os.chown(path, self.uid, self.gid)

    def can_write(self, folder: Path) -> bool:
        """Whether the account reaches the folder and may write there; only a process of its own can tell."""
        return subprocess.run(["test", "-w", folder, "-a", "-x", folder], **process_options(self)).returncode == 0


def account_for(folder: Path) -> Account | None:
    """As whom the server with this folder runs; None: as the user of this process.

    Raises UserError where root has no other user to run it as.
    """
    if os.geteuid() != 0:
        return None
    owner = folder.stat().st_uid if folder.exists() else 0
    if owner != 0:
        return _account(pwd.getpwuid(owner)) if _is_known(owner) else Account(f"number {owner}", owner, owner)
    for name in NAMES:
        try:
            return _account(pwd.getpwnam(name))
        except KeyError:
            continue
    raise UserError(
        f"PostgreSQL refuses to run as root, and this machine has no user {' or '.join(NAMES)} to run it as. Give the"
        " command as an ordinary user."
    )


def process_options(account: Account | None) -> dict[str, Any]:
    """Options of subprocess for a program that runs as the account."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _is_known(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
