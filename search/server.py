"""A small web server: the standard library's, with a thread a request and without a line for each on the terminal."""

import errno
import ipaddress
import socket
import sys
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from maskcls.errors import UserError

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

IDLE_SECONDS = 60
"""A client that says nothing for so long is left."""


class _Handler(WSGIRequestHandler):
    timeout = IDLE_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the terminal is for the address, and a log would keep the token."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # Ctrl-C does not wait for open requests

    def __init__(self, family: socket.AddressFamily, address: str, port: int) -> None:
        self.address_family = family
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        """Without HTTPServer's look-up of the machine's name, which takes its time where DNS does not answer."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

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
