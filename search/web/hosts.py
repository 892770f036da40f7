"""The host names under which the dashboard answers: the defence against DNS rebinding.

A site can resolve its own name to 127.0.0.1 and then act, in a visitor's browser, as a page of the dashboard. It
cannot do so with a numeric address, nor with a name that is not its own.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from functools import cached_property
from urllib.parse import urlsplit

from maskcls.system.errors import UserError

MAX_SHOWN = 80


class AllowedHosts:
    """The allowed host names: numeric addresses, localhost, the machine's own, and those that the user allows."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self.allowed = {name for name in map(_name_of, allowed) if name is not None}

    @staticmethod
    def is_name(name: str) -> bool:
        """Whether ``name`` is valid in a Host header."""
        return _name_of(name) is not None

    def is_allowed(self, host: str) -> bool:
        """Whether a Host header (``localhost:8080``) names this server."""
        name = _name_of(host)
        if name is None:
            return False
        allowed = {"localhost", *self.allowed, *self._own_names}
        return name in allowed or _is_address(name) or name in self._full_name

    def is_same_origin(self, origin: str, host: str) -> bool:
        """Whether an Origin header names this server.

        Behind a proxy the Origin header may hold another name than the Host header: one that the user has allowed.
        """
        try:
            address = urlsplit(origin)
            name = address.hostname or ""
        except ValueError:
            return False
        return address.netloc.lower() == host.lower() or (name in self.allowed and name != _name_of(host))

    def refusal(self, host: str) -> str:
        """The message to a request for a host that is not allowed."""
        name = _name_of(host)
        shown = ascii(name if name is not None else host)[1:-1][:MAX_SHOWN]
        remedy = f"; start search.dashboard with --allow-host {shown}" if name else ""
        return f"This dashboard does not answer to the name '{shown}'{remedy}."

    @cached_property
    def _own_names(self) -> set[str]:
        name = _plain(socket.gethostname())
        return {name, name.partition(".")[0]}

    @cached_property
    def _full_name(self) -> set[str]:
        """The machine's name with its domain, looked up on demand: that is slow where DNS does not answer."""
        name = _plain(socket.getfqdn())
        return {name} if name.partition(".")[0] in self._own_names else set()


def check_host_names(names: Iterable[str]) -> None:
    """Raise UserError for a value of --allow-host that is not a host name."""
    for name in names:
        if not AllowedHosts.is_name(name):
            raise UserError(f"--allow-host takes the name of a machine, such as box.example.org, not {name!r}.")


def _plain(name: str) -> str:
    return name.strip().strip("[]").rstrip(".").lower()


def _name_of(host: str) -> str | None:
    """The name in ``name``, ``name:8080``, ``[::1]:8080``; None for anything else."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::\d{1,5})?", host, re.ASCII)
    return None if match is None else _plain(match[1] or match[2])


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
