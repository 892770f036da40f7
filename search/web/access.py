"""The access check in front of the dashboard: a token, allowed host names, same-origin changes, bounded uploads."""

import hashlib
import hmac
import re
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from search.web.headers import SecurityHeaders
from search.web.hosts import AllowedHosts

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PARAMETER = "token"
"""Name of the query parameter that holds the token."""

READ_METHODS = ("GET", "HEAD")

MAX_BYTES = 32 * 2**20
"""Size limit of a request's body. The dashboard holds an upload in memory about eight times, as text and decoded."""

MAX_DIGITS = 15
"""Longest Content-Length that is parsed; Python refuses a number of very many digits."""

LARGE_BYTES = 2**20
"""A larger body counts as an upload."""

MAX_UPLOADS = 2
UPLOAD_SECONDS = 30
"""Uploads at once, and how long another one waits for its turn."""

NO_TOKEN = "This dashboard needs its token: open the address that search.dashboard printed."
OTHER_SITE = "Another site's page sent this request; only the dashboard's own pages may change it."
TOO_LARGE = f"The dashboard takes files of at most {MAX_BYTES * 3 // 4 // 2**20} MiB; keep a larger one on a disk."
TOO_MANY = "Other uploads are in progress; try again."
NO_LENGTH = "The request does not state its length (Content-Length)."


class AccessMiddleware:
    """WSGI middleware (PEP 3333) that checks every request's host name, origin, token and size.

    ``?token=`` in an address sets a cookie and redirects to the same address without it, so that the token stays out
    of bookmarks, copied addresses and referrers. From then on the cookie grants access. Without a token everybody who
    reaches the server is let in; the other checks stay.
    """

    def __init__(self, application: "WSGIApplication", token: str | None, hosts: AllowedHosts) -> None:
        self.application = application
        self.hosts = hosts
        self.uploads = threading.BoundedSemaphore(MAX_UPLOADS)
        # a digest fits into a cookie, whatever the token's characters, and does not reveal the token
        self.key = None if token is None else _digest(token)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """The application's response, or a refusal; see PEP 3333."""
        start = SecurityHeaders(environ.get("PATH_INFO", ""), start_response)
        problem = self._problem_of_origin(environ)
        if problem is not None:
            return _refuse(environ, start, *problem)
        query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        tokens = [value for name, value in query if name == PARAMETER]
        is_open = self.key is None or any(self._is_key(_digest(token)) for token in tokens)
        if is_open and tokens:
            rest = urlencode([(name, value) for name, value in query if name != PARAMETER])
            return self._set_cookie(environ, rest, start)
        if not (is_open or any(map(self._is_key, _cookies(environ)))):
            return _refuse(environ, start, "403 Forbidden", NO_TOKEN)
        problem = _problem_of_body(environ)
        if problem is not None:
            return _refuse(environ, start, *problem)
        if int(environ.get("CONTENT_LENGTH") or 0) <= LARGE_BYTES:
            return self.application(environ, start)
        if not self.uploads.acquire(timeout=UPLOAD_SECONDS):
            return _refuse(environ, start, "503 Service Unavailable", TOO_MANY)
        try:
            return self.application(environ, start)  # which reads the body before it returns
        finally:
            self.uploads.release()

    def _problem_of_origin(self, environ: "WSGIEnvironment") -> tuple[str, str] | None:
        """(status, reason) for a request to a foreign host name, or a change sent by another site's page."""
        host = environ.get("HTTP_HOST", "")
        if not self.hosts.is_allowed(host):
            return "403 Forbidden", self.hosts.refusal(host)
        if environ["REQUEST_METHOD"] in READ_METHODS:
            return None
        origin = environ.get("HTTP_ORIGIN")
        is_own_page = environ.get("HTTP_SEC_FETCH_SITE", "none") in ("same-origin", "none")
        if not is_own_page or not (origin is None or self.hosts.is_same_origin(origin, host)):
            return "403 Forbidden", OTHER_SITE
        return None

    def _is_key(self, key: str) -> bool:
        """Whether a digest is the token's, compared in constant time."""
        return self.key is not None and hmac.compare_digest(key.encode(), self.key.encode())

    def _set_cookie(self, environ: "WSGIEnvironment", rest: str, start_response: Callable[..., Any]) -> list[bytes]:
        """Redirect to the same address without the token; ``rest`` is the rest of its query."""
        # two leading slashes would redirect to another machine
        path = "/" + quote(environ.get("PATH_INFO", "").encode("latin-1")).lstrip("/")
        headers = [("Location", f"{path}?{rest}" if rest else path)]
        if self.key is not None:
            # Lax: the address may be clicked in another site's page (a terminal in a browser, a chat)
            headers.append(("Set-Cookie", f"{_cookie_name(environ)}={self.key}; Path=/; HttpOnly; SameSite=Lax"))
        start_response("303 See Other", [*headers, ("Cache-Control", "no-store"), ("Content-Length", "0")])
        return []


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def _refuse(
    environ: "WSGIEnvironment", start_response: Callable[..., Any], status: str, reason: str
) -> Iterable[bytes]:
    body = f"{reason}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(status, [*headers, ("Cache-Control", "no-store")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _problem_of_body(environ: "WSGIEnvironment") -> tuple[str, str] | None:
    """(status, reason) for a body that is too large, or of unknown length."""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        return "411 Length Required", NO_LENGTH
    length = environ.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdecimal()):
        return "400 Bad Request", NO_LENGTH
    is_too_large = len(length) > MAX_DIGITS or int(length) > MAX_BYTES
    return ("413 Content Too Large", TOO_LARGE) if is_too_large else None


def _cookie_name(environ: "WSGIEnvironment") -> str:
    """The cookie's name, with the port: browsers share cookies between the ports of a machine."""
    return f"mask_search_{environ['SERVER_PORT']}"


def _cookies(environ: "WSGIEnvironment") -> list[str]:
    """The values of our cookie.

    The standard library's parser drops all cookies because of one malformed one, which another program on this
    machine may have set.
    """
    name = _cookie_name(environ)
    pairs = (part.strip().partition("=") for part in re.split("[;,]", environ.get("HTTP_COOKIE", "")))
    return [value.strip('"') for key, _, value in pairs if key == name]
