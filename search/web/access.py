"""The check before a web application: who does not know the token gets nothing, and no other site acts for who does."""

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
"""Of an address's query."""

READ_METHODS = ("GET", "HEAD")
"""Methods by which nothing is changed."""

MAX_BYTES = 32 * 2**20
"""Of a request's body. The dashboard holds an upload in memory about eight times, as text and decoded."""

MAX_DIGITS = 15
"""Of a length; Python itself refuses to read a number of very many."""

LARGE_BYTES = 2**20
"""A body of more is an upload."""

MAX_UPLOADS = 2
UPLOAD_SECONDS = 30
"""So many uploads at once, and how long another one waits for its turn."""

NO_TOKEN = "This dashboard opens only with its token: use the address that search.dashboard has printed."
OTHER_SITE = "Another site's page has sent this request; the dashboard is changed by its own pages only."
TOO_LARGE = f"A file for the dashboard has at most {MAX_BYTES * 3 // 4 // 2**20} MiB; put a larger one on a disk."
TOO_MANY = "Other uploads are under way; try again."
NO_LENGTH = "The request does not say how long it is (Content-Length)."


class AccessMiddleware:
    """WSGI middleware (PEP 3333) that asks every request for the token, its host name, its origin and its size.

    ``?token=`` in an address sets a cookie and leads to the same address without it, so that the token stays out of
    bookmarks, of copied addresses and of what the browser tells other sites. From then on the cookie opens. Without a
    token whoever reaches the server is let in; the other checks stay.
    """

    def __init__(self, application: "WSGIApplication", token: str | None, hosts: AllowedHosts) -> None:
        self.application = application
        self.hosts = hosts
        self.uploads = threading.BoundedSemaphore(MAX_UPLOADS)
        # a digest has no characters that a cookie cannot hold, and does not give the token away
        self.key = None if token is None else _digest(token)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """The application's answer, or the reason why there is none; see PEP 3333."""
        start = SecurityHeaders(environ.get("PATH_INFO", ""), start_response)
        refusal = self._reason_to_refuse(environ)
        if refusal is not None:
            return _refuse(environ, start, *refusal)
        query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        given = [value for name, value in query if name == PARAMETER]
        if self.key is None or any(self._is_key(_digest(value)) for value in given):
            if given:
                rest = urlencode([(name, value) for name, value in query if name != PARAMETER])
                return self._set_cookie(environ, rest, start)
        elif not any(map(self._is_key, _cookies(environ))):
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

    def _reason_to_refuse(self, environ: "WSGIEnvironment") -> tuple[str, str] | None:
        """(status, why) for a request that comes by another site's name, or from its page."""
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
        """Whether a digest is the token's, in a time that says nothing about where the two differ."""
        return self.key is not None and hmac.compare_digest(key.encode(), self.key.encode())

    def _set_cookie(self, environ: "WSGIEnvironment", rest: str, start_response: Callable[..., Any]) -> list[bytes]:
        """Lead to the same address without the token; ``rest``: of its query."""
        # two slashes in front would lead to another machine
        path = "/" + quote(environ.get("PATH_INFO", "").encode("latin-1")).lstrip("/")
        headers = [("Location", f"{path}?{rest}" if rest else path)]
        if self.key is not None:
            # Lax: the address may be clicked on in another site's page (a terminal in a browser, a chat)
            headers.append(("Set-Cookie", f"{_cookie_name(environ)}={self.key}; Path=/; HttpOnly; SameSite=Lax"))
        start_response("303 See Other", [*headers, ("Cache-Control", "no-store"), ("Content-Length", "0")])
        return []


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def _refuse(environ: "WSGIEnvironment", start_response: Callable[..., Any], status: str, why: str) -> Iterable[bytes]:
    body = f"{why}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(status, [*headers, ("Cache-Control", "no-store")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _problem_of_body(environ: "WSGIEnvironment") -> tuple[str, str] | None:
    """(status, why) for a body that may not be read: one too large, or without end."""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        return "411 Length Required", NO_LENGTH
    length = environ.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdecimal()):
        return "400 Bad Request", NO_LENGTH
    is_too_large = len(length) > MAX_DIGITS or int(length) > MAX_BYTES
    return ("413 Content Too Large", TOO_LARGE) if is_too_large else None


def _cookie_name(environ: "WSGIEnvironment") -> str:
    """Has the port in it: browsers keep one set of cookies for a machine, which may have several dashboards."""
    return f"mask_search_{environ['SERVER_PORT']}"


def _cookies(environ: "WSGIEnvironment") -> list[str]:
    """What the browser has kept under our name.

    The standard library's parser drops all cookies for one that it does not like, and other programs on this machine
    set what they want.
    """
    name = _cookie_name(environ)
    pairs = (part.strip().partition("=") for part in re.split("[;,]", environ.get("HTTP_COOKIE", "")))
    return [value.strip('"') for key, _, value in pairs if key == name]
