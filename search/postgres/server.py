"""The running server: started in the foreground, with a fast shutdown at the end, also when its command is killed."""

import ctypes
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from maskcls.system.errors import OutsideError, UserError, one_line
from search.postgres.accounts import process_options
from search.postgres.home import DATABASE, ROLE, Home, write_private
from search.postgres.programs import Programs, environment, error_in

START_SECONDS = 300.0
"""How long a start may take: after a crash of the machine the log of the changes is played back."""

STOP_SECONDS = 60.0
"""How long a fast shutdown may take before an immediate one, which the next start recovers from."""

POLL_SECONDS = 0.1

LOOPBACK = ("127.0.0.1/32", "::1/128")

PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that a process gets when its parent dies."""


@dataclass(frozen=True)
class Listening:
    """Where the server listens, and to whom."""

    address: str
    """Numeric."""
    port: int
    is_loopback: bool
    has_tls: bool


def check_certificate(cert: Path | None, key: Path | None) -> None:
    """Raise UserError for one without the other, and for files that are no certificate and its key."""
    if (cert is None) != (key is None):
        raise UserError("--cert and --key belong together: the server's certificate, and its private key.")
    if cert is None or key is None:
        return
    for option, file in (("--cert", cert), ("--key", key)):
        try:
            file.read_bytes()
        except OSError as error:
            raise UserError(f"{option} {file} cannot be read: {error.strerror}.") from error
    try:
        # an empty password: else OpenSSL asks for one on the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise UserError(
            f"--cert {cert} and --key {key} are no certificate and its key without a passphrase, both as PEM:"
            f" {one_line(error)}."
        ) from error


def configure(home: Home, programs: Programs, where: Listening, cert: Path | None, key: Path | None) -> None:
    """Write who may connect, and copy the certificate. Raises UserError where the server was built without TLS."""
    kind = "hostssl" if where.has_tls else "host"
    addresses = LOOPBACK if where.is_loopback else ("all",)
    lines = [f"{kind} {DATABASE} {ROLE} {address} scram-sha-256" for address in addresses]
    write_private(home.access, "\n".join(["# by search.serve, anew at every start", *lines, ""]), home.account)
    if cert is None or key is None:
        return
    if not programs.has_tls(home.data):
        raise UserError(
            f"The PostgreSQL in {programs.folder} was built without TLS, as the pip package is, so --cert cannot be"
            " given. Install your system's (apt install postgresql) and give --postgres its folder, such as"
            " /usr/lib/postgresql/17/bin, with a new --data-dir."
        )
    write_private(home.certificate, cert.read_bytes(), home.account)
    write_private(home.key, key.read_bytes(), home.account)


@contextmanager
def running(home: Home, programs: Programs, where: Listening, lock: int) -> Iterator["subprocess.Popen[bytes]"]:
    """The server, which takes connections; stopped at the end.

    ``lock`` is the descriptor of the folder's lock, which the server inherits, so that it is held as long as the server
    runs. Raises OutsideError when the server does not start.
    """
    settings = {
        "listen_addresses": where.address,
        "port": where.port,
        "unix_socket_directories": "",  # nothing but the password lets anybody in
        "hba_file": home.access,
        "ssl": "on" if where.has_tls else "off",
        "password_encryption": "scram-sha-256",
    }
    if where.has_tls:
        settings |= {"ssl_cert_file": home.certificate, "ssl_key_file": home.key}
    words = [item for name, value in settings.items() for item in ("-c", f"{name}={value}")]
    log = os.open(home.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    begin = os.fstat(log).st_size
    try:
        process = subprocess.Popen(
            [programs.path("postgres"), "-D", home.data, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home.data,
            env=environment(),
            pass_fds=[lock],
            start_new_session=True,  # the terminal's Ctrl-C is for the command alone
            preexec_fn=_stop_with_parent(os.getpid()),
            **process_options(programs.account),
        )
    except OSError as error:
        raise UserError(programs.why_not_run("postgres", error)) from error
    finally:
        os.close(log)
    try:
        _wait_until_ready(home, process, begin)
        yield process
    finally:
        stop(process)


def why_ended(home: Home, begin: int = 0) -> str:
    """The last error in the server's log, behind its first ``begin`` bytes, and where the log is."""
    with home.log.open("rb") as file:
        file.seek(begin)
        text = file.read().decode(errors="replace")
    return f"{error_in(text) or 'it says nothing'} (its log is {home.log})"


def stop(process: "subprocess.Popen[bytes]") -> None:
    """A fast shutdown: connections are dropped, all is written. An immediate one when that takes too long."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    if process.poll() is None:
        process.kill()
        process.wait()


def _wait_until_ready(home: Home, process: "subprocess.Popen[bytes]", begin: int) -> None:
    """Until the server takes connections, by the file that pg_ctl reads too."""
    until = time.monotonic() + START_SECONDS
    while not _is_ready(home, process.pid):
        if process.poll() is not None:
            raise OutsideError(f"PostgreSQL did not start: {why_ended(home, begin)}.")
        if time.monotonic() >= until:
            raise OutsideError(f"PostgreSQL did not start within {START_SECONDS:.0f} s: {why_ended(home, begin)}.")
        time.sleep(POLL_SECONDS)


def _is_ready(home: Home, pid: int) -> bool:
    try:
        lines = (home.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _stop_with_parent(parent: int) -> Callable[[], None]:
    """For the new process: a fast shutdown as soon as its parent has died, even by SIGKILL."""
    prctl = ctypes.CDLL(None).prctl  # before the fork, after which little is safe to call

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # it died before it was asked for
            os._exit(1)

    return ask
