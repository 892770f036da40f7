"""The standard library's web server with a thread for each connection, limits on connections, and no request log."""

import errno
import ipaddress
import resource
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from maskcls.system.errors import UserError

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

ALL_INTERFACES = ("0.0.0.0", "::")

IDLE_SECONDS = 60
"""How long a connection may be silent."""

HEADER_SECONDS = 15
"""How long a client may take to send a request's head, at whatever speed."""

REQUEST_SECONDS = 900
"""How long a whole request may take: an upload or a download over a slow line."""

MAX_CONNECTIONS = 100
"""Connections at once; each takes a thread and a file. When there are more, the oldest one without a request is
dropped, which may be there only to keep others out."""


class _Handler(WSGIRequestHandler):
    timeout = IDLE_SECONDS

    def parse_request(self) -> bool:
        """Read the request's head, and note that it has arrived."""
        is_complete = super().parse_request()
        if is_complete and isinstance(self.server, _Server):
            self.server.connections.mark_request(self.request)
        return is_complete

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the terminal is for the address, and a log would hold the token."""


@dataclass
class _Connection:
    since: float
    """time.monotonic."""
    has_request: bool = False
    """Whether a request's head has arrived."""


class _Connections:
    """The open connections, oldest first. A dropped one is closed by its own thread, which wakes up for it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.lock = threading.Lock()
        self.open: dict[socket.socket, _Connection] = {}

    def admit(self, connection: socket.socket) -> bool:
        """Add a connection, at the limit in place of an idle one; False when there is no room."""
        with self.lock:
            if len(self.open) >= self.limit:
                idle = next((sock for sock, state in self.open.items() if not state.has_request), None)
                if idle is None:
                    return False
                self._drop(idle)
            self.open[connection] = _Connection(time.monotonic())
            return True

    def mark_request(self, connection: socket.socket) -> None:
        """Note that a request's head has arrived."""
        with self.lock:
            if connection in self.open:
                self.open[connection].has_request = True

    def remove(self, connection: socket.socket) -> None:
        """Remove a closed connection."""
        with self.lock:
            self.open.pop(connection, None)

    def drop_overdue(self) -> None:
        """Drop the connections that take too long."""
        now = time.monotonic()
        with self.lock:
            for connection, state in list(self.open.items()):
                if now - state.since > (REQUEST_SECONDS if state.has_request else HEADER_SECONDS):
                    self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        del self.open[connection]
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # Ctrl-C does not wait for open requests
    request_queue_size = 128

    def __init__(self, family: socket.AddressFamily, address: str, port: int) -> None:
        self.address_family = family
        max_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # the database and the pictures need open files too
        self.connections = _Connections(max(1, min(MAX_CONNECTIONS, max_files // 3)))
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the machine's name, which is slow where DNS does not answer."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for another connection."""
        return self.connections.admit(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self.connections.remove(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Drop overdue connections; called twice a second."""
        super().service_actions()
        self.connections.drop_overdue()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore OSError: a browser may disconnect during a response."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def find_address(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    """The first numeric address that ``host`` resolves to. Raises UserError when there is none."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"There is no address {host!r}; --host takes one of this machine, such as 0.0.0.0.") from error
    return family, str(address[0])


def name_for_others(host: str) -> str:
    """The name by which other machines reach a server on ``host``: this machine's, in place of 0.0.0.0."""
    return socket.gethostname() if host in ALL_INTERFACES else host


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a numeric address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def check_port(family: socket.AddressFamily, address: str, port: int, option: str = "--port") -> None:
    """Raise UserError when a server cannot listen there; ``option``: where the port is from."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen()
        except OSError as error:
            raise UserError(_why(error, address, port, option)) from error


def make_server(family: socket.AddressFamily, address: str, port: int, application: "WSGIApplication") -> WSGIServer:
    """A server that is already listening. Raises UserError when it cannot listen."""
    try:
        server = _Server(family, address, port)
    except OSError as error:
        raise UserError(_why(error, address, port)) from error
    server.set_app(application)
    return server


def _why(error: OSError, address: str, port: int, option: str = "--port") -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use; choose another with {option}."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address} is not an address of this machine; --host takes one that is, or 0.0.0.0 for all of them."
    return f"Cannot listen on port {port} of {address} ({error.strerror}); choose others with {option} and --host."
