"""The folder of a server: its data, and what stays the same from start to start: password, port, the members' URL."""

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy

from maskcls.system.errors import UserError
from maskcls.system.files import check_folder, write_atomically
from maskcls.system.lock import FILE, try_file
from maskcls.system.redact import hide
from search.database.filesystem import network_filesystem
from search.postgres.accounts import Account

OPTION = "--data-dir"

NAME = "studies.db.postgres"
"""Of the folder in ``runs/``. What begins with studies.db is no study's name (search/study/names.py)."""

ROLE, DATABASE = "team", "studies"
"""Who all members are, and what they own. They are no superusers, who may run programs as the server."""

MIN_PASSWORD = 12
"""Fewest characters of a password that somebody has written into the file."""

SETTLE_SECONDS = 3.0
"""How long the server of a command that was killed may take to end before another command is refused."""


@dataclass(frozen=True)
class Home:
    """The folder."""

    folder: Path
    account: Account | None
    """Whose its data are; None: this user's."""

    @property
    def data(self) -> Path:
        """What PostgreSQL calls its data directory."""
        return self.folder / "data"

    @property
    def unfinished(self) -> Path:
        """Where the data are while they are made."""
        return self.folder / "data.part"

    @property
    def access(self) -> Path:
        """Who may connect, as PostgreSQL's pg_hba.conf."""
        return self.folder / "access.conf"

    @property
    def certificate(self) -> Path:
        """Our copy of --cert."""
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        """Our copy of --key, with the owner and the mode that PostgreSQL asks for."""
        return self.folder / "tls.key"

    @property
    def log(self) -> Path:
        """What the server writes on stderr."""
        return self.folder / "server.log"

    @property
    def password_file(self) -> Path:
        """Made once; whoever changes it has another password from the next start on."""
        return self.folder / "password"

    @property
    def port_file(self) -> Path:
        """The port that members know."""
        return self.folder / "port"

    @property
    def storage_file(self) -> Path:
        """The URL that members use, with its password."""
        return self.folder / "storage"

    def prepare(self) -> None:
        """Create the folder. Raises UserError where a server's data may not lie, or other files are."""
        check_folder(self.folder, OPTION)
        filesystem = network_filesystem(self.folder)
        if filesystem is not None:
            raise UserError(
                f"{OPTION} {self.folder} lies on a file system ({filesystem}) that may be shared with other machines,"
                f" where a database gets damaged. Give {OPTION} a folder on a disk of this machine."
            )
        own = (self.data, self.unfinished, self.access, self.certificate, self.key, self.log, self.password_file)
        names = {path.name for path in (*own, self.port_file, self.storage_file)} | {"lost+found"}
        was_there = self.folder.exists()
        found = {path.name for path in self.folder.iterdir()} if was_there else set()
        # hidden ones are the lock, and drafts of files that a killed command has left
        if foreign := sorted(name for name in found - names if not name.startswith(".")):
            raise UserError(
                f"{OPTION} {self.folder} holds {foreign[0]}, which is not of a server of this command. Give {OPTION} a"
                " new or an empty folder, or one that this command has made."
            )
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.account is not None and self.folder.stat().st_uid == 0:
            self.account.own(self.folder)
        if self.account is not None and not self.account.can_write(self.folder):
            if not was_there:
                self.folder.rmdir()
            raise UserError(
                f"PostgreSQL refuses to run as root, and as user {self.account.name} it cannot reach {self.folder}."
                f" Give {OPTION} a folder that this user can reach, or give the command as an ordinary user."
            )

    def take(self) -> int:
        """Take the folder's lock until the returned descriptor is closed, here and in processes that inherit it.

        Raises UserError with who has it.
        """
        began = time.monotonic()
        while isinstance(found := try_file(self.folder / FILE), str):
            if time.monotonic() - began >= SETTLE_SECONDS:
                pid = self.server_pid()
                server = f", PostgreSQL is process {pid}" if pid else ""
                raise UserError(
                    f"{self.folder} is served already, by {found}{server}. Use its storage line, end it, or give"
                    f" another {OPTION}."
                )
            time.sleep(0.1)
        return found

    def server_pid(self) -> str:
        """The pid that the server has written down; empty without one."""
        try:
            return (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0]
        except (OSError, IndexError):
            return ""

    def password(self) -> str:
        """The members' password, made on the first call. Raises UserError for one that is easy to guess."""
        if not self.password_file.exists():
            write_private(self.password_file, f"{secrets.token_urlsafe(24)}\n")
        lines = self.password_file.read_text(encoding="utf-8").splitlines()
        password = lines[0].strip() if lines else ""
        hide(password)
        if len(password) < MIN_PASSWORD:
            raise UserError(
                f"The password in {self.password_file} has {len(password)} characters, which is easy to guess; write at"
                f" least {MIN_PASSWORD} there, or remove the file to have one made."
            )
        return password

    def port(self) -> int | None:
        """The port of the earlier starts; None before the first. Raises UserError when its file was damaged."""
        if not self.port_file.exists():
            return None
        text = self.port_file.read_text(encoding="utf-8", errors="replace").strip()
        if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
            raise UserError(f"{self.port_file} holds no port; write the one of the members' storage line there.")
        return int(text)

    def remember(self, port: int, url: str) -> None:
        """Keep the port and the members' URL."""
        write_private(self.port_file, f"{port}\n")
        write_private(self.storage_file, url)  # without a newline, which would be part of a Kubernetes secret


def storage_url(password: str, host: str, port: int, has_tls: bool) -> str:
    """The URL of the studies on a server."""
    query = {"sslmode": "require"} if has_tls else {}
    url = sqlalchemy.URL.create("postgresql+psycopg", ROLE, password, host, port, DATABASE, query)
    return url.render_as_string(hide_password=False)


def write_private(path: Path, content: str | bytes, account: Account | None = None) -> None:
    """Write a file that only its owner can read: the account, or this user."""

    def write(part: Path) -> None:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        if account is not None:
            account.own(part)

    write_atomically(path, write)
