"""The data of a server: made once, for one role and one database, and read only by a server of the same version."""

import shutil

from maskcls.system.errors import UserError
from search.postgres.home import DATABASE, OPTION, ROLE, Home
from search.postgres.programs import Programs

INITDB = (
    "--username=postgres",
    "--encoding=UTF8",
    "--locale=C",
    "--data-checksums",
    "--auth=reject",
    "--no-instructions",
)
"""Nobody connects as the superuser: what needs one is done by ``_alone``, before the server starts."""


def check_version(home: Home, programs: Programs) -> None:
    """Raise UserError when the data are of another major version than the programs."""
    file = home.data / "PG_VERSION"
    if not home.data.exists():
        return
    version = file.read_text(encoding="utf-8").strip() if file.exists() else "?"
    mine = str(programs.major())
    if version != mine:
        raise UserError(
            f"{home.data} holds data of PostgreSQL {version}, and {programs.folder} is PostgreSQL {mine}, which cannot"
            f" read them. Give --postgres the folder of a PostgreSQL {version}, or another {OPTION} for a new server."
        )


def make_data(home: Home, programs: Programs) -> None:
    """Make the data unless they are there, whole or not at all. Raises as Programs.run does."""
    if home.data.exists():
        return
    shutil.rmtree(home.unfinished, ignore_errors=True)  # of a start that was killed
    programs.run("initdb", f"--pgdata={home.unfinished}", *INITDB, cwd=home.folder)
    _alone(home, programs, home.unfinished, f"CREATE ROLE {ROLE} LOGIN", f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
    home.unfinished.rename(home.data)


def set_password(home: Home, programs: Programs) -> None:
    """Make the password in its file the members'. The server must not run. Raises as Programs.run does."""
    quoted = home.password().replace("'", "''")
    _alone(home, programs, home.data, f"ALTER ROLE {ROLE} PASSWORD '{quoted}'")


def _alone(home: Home, programs: Programs, data: object, *statements: str) -> None:
    """Run statements as the superuser in a process that serves nobody (single-user mode), read from its stdin."""
    words = ("--single", "-D", data, "-c", "password_encryption=scram-sha-256", "postgres")
    programs.run("postgres", *words, script="".join(f"{line};\n" for line in statements), cwd=home.folder)
