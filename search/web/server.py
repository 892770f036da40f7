"""A small web server: the standard library's, with a thread a request and without a line for each on the terminal."""

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

IDLE_SECONDS = 60
"""A client that says nothing for so long is left."""

HEADER_SECONDS = 15
"""How long a client may take to say what it wants, however slowly it says it."""

REQUEST_SECONDS = 900
"""How long a request may take altogether: an upload or a download over a slow line."""

MAX_CONNECTIONS = 100
"""At once, each of which has a thread and a file. Beyond it who has not said yet what it wants goes first, the longest
silent one before the others: they may be somebody's who only wants to keep others out."""


class _Handler(WSGIRequestHandler):
    timeout = IDLE_SECONDS

    def parse_request(self) -> bool:
        """Read the request's head, and note that the client has said what it wants."""
        is_whole = super().parse_request()
        if is_whole and isinstance(self.server, _Server):
            self.server.connections.has_asked(self.request)
        return is_whole

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the terminal is for the address, and a log would keep the token."""


@dataclass
class _Connection:
    """An open connection."""

    since: float
    """time.monotonic."""
    has_asked: bool = False


class _Connections:
    """The open connections, the oldest first, and at most so many. Ended ones are closed by their own threads, which
    wake up for it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.lock = threading.Lock()
        self.open: dict[socket.socket, _Connection] = {}

    def admit(self, connection: socket.socket) -> bool:
        """Take another one in, if need be by ending one that has asked for nothing yet; False when there is no room."""
        with self.lock:
            if len(self.open) >= self.most:
                idle = next((known for known, state in self.open.items() if not state.has_asked), None)
                if idle is None:
                    return False
                self._end(idle)
            self.open[connection] = _Connection(time.monotonic())
            return True

    def has_asked(self, connection: socket.socket) -> None:
        """Note that its client has said what it wants."""
        with self.lock:
            if connection in self.open:
                self.open[connection].has_asked = True

    def forget(self, connection: socket.socket) -> None:
        """Note that it is closed."""
        with self.lock:
            self.open.pop(connection, None)

    def end_overdue(self) -> None:
        """End those that take too long."""
        now = time.monotonic()
        with self.lock:
            for connection, state in list(self.open.items()):
                if now - state.since > (REQUEST_SECONDS if state.has_asked else HEADER_SECONDS):
                    self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        del self.open[connection]
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # Ctrl-C does not wait for open requests
    request_queue_size = 128

    def __init__(self, family: socket.AddressFamily, address: str, port: int) -> None:
        self.address_family = family
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # the database and the pictures need some files too
        self.connections = _Connections(max(1, min(MAX_CONNECTIONS, files // 3)))
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        """Without HTTPServer's look-up of the machine's name, which takes its time where DNS does not answer."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for it."""
        return self.connections.admit(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self.connections.forget(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End what takes too long; called twice a second."""
        super().service_actions()
        self.connections.end_overdue()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def find_address(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    """The numeric address that ``host`` means, the first of several. Raises UserError when it means none."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"There is no address {host!r}; --host takes one of this machine, such as 0.0.0.0.") from error
    return family, str(place[0])


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a numeric address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def make_server(family: socket.AddressFamily, address: str, port: int, application: "WSGIApplication") -> WSGIServer:
    """A server that listens already. Raises UserError when it cannot."""
    try:
        server = _Server(family, address, port)
    except OSError as error:
        raise UserError(_why(error, address, port)) from error
    server.set_app(application)
    return server


def _why(error: OSError, address: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is taken; --port names another."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address} is no address of this machine; --host takes one that is, or 0.0.0.0 for all of them."
    return f"Port {port} of {address} cannot be listened on ({error.strerror}); --port and --host name another."
