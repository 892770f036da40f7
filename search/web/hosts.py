"""Names by which a browser may ask for the dashboard.

A site can let its own name lead to 127.0.0.1 and then act, in the browser of whoever visits it, as a page of the
dashboard (DNS rebinding). It cannot do so by an address in digits, nor by a name that is not its own.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from functools import cached_property
from urllib.parse import urlsplit

MAX_SHOWN = 80


class AllowedHosts:
    """Names that are answered to: addresses in digits, localhost, the machine's own, and those that the user allows."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self.allowed = {name for name in map(_name_of, allowed) if name is not None}

    @staticmethod
    def is_name(name: str) -> bool:
        """Whether it can stand in a Host header."""
        return _name_of(name) is not None

    def is_allowed(self, host: str) -> bool:
        """Whether a Host header (``localhost:8080``) names this server."""
        name = _name_of(host)
        if name is None:
            return False
        known = {"localhost", *self.allowed, *self._own_names}
        return name in known or _is_address(name) or name in self._full_name

    def is_same_origin(self, origin: str, host: str) -> bool:
        """Whether the page of an Origin header is the server's own.

        A proxy before it may ask by another name than the browser does; that one the user has allowed.
        """
        try:
            found = urlsplit(origin)
            name = found.hostname or ""
        except ValueError:
            return False
        return found.netloc.lower() == host.lower() or (name in self.allowed and name != _name_of(host))

    def refusal(self, host: str) -> str:
        """What to say to a host that is not allowed."""
        name = _name_of(host)
        shown = ascii(name if name is not None else host)[1:-1][:MAX_SHOWN]
        how = f"; search.dashboard --allow-host {shown} does so" if name else ""
        return f"This dashboard does not answer to the name '{shown}'{how}."

    @cached_property
    def _own_names(self) -> set[str]:
        name = _plain(socket.gethostname())
        return {name, name.partition(".")[0]}

    @cached_property
    def _full_name(self) -> set[str]:
        """With its domain. Only when it is asked for: the look-up takes its time where DNS does not answer."""
        name = _plain(socket.getfqdn())
        return {name} if name.partition(".")[0] in self._own_names else set()


def _plain(name: str) -> str:
    return name.strip().strip("[]").rstrip(".").lower()


def _name_of(host: str) -> str | None:
    """The name in ``name``, ``name:8080``, ``[::1]:8080``; None for anything else."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::\d{1,5})?", host, re.ASCII)
    return None if found is None else _plain(found[1] or found[2])


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
