"""A gate before a web application: whoever does not know the token gets nothing."""

import hashlib
import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PARAMETER = "token"
REFUSAL = b"This dashboard opens only with its token: use the address that search.dashboard has printed.\n"


class TokenGate:
    """A WSGI application before another one.

    ``?token=`` in an address sets a cookie and leads to the same address without it, so that the token stays out of
    bookmarks, of copied addresses and of what the browser tells other sites. From then on the cookie opens.
    """

    def __init__(self, application: "WSGIApplication", token: str) -> None:
        self.application = application
        # a digest has no characters that a cookie cannot hold, and does not give the token away
        self.key = hashlib.sha256(token.encode()).hexdigest()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """See PEP 3333."""
        query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        given = [value for name, value in query if name == PARAMETER]
        if any(self._opens(hashlib.sha256(value.encode()).hexdigest()) for value in given):
            rest = urlencode([(name, value) for name, value in query if name != PARAMETER])
            return self._let_in(environ, rest, start_response)
        if self._opens(_cookie(environ)):
            return self.application(environ, start_response)
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(REFUSAL)))]
        start_response("403 Forbidden", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [REFUSAL]

    def _opens(self, key: str) -> bool:
        """In a time that says nothing about where the two differ."""
        return hmac.compare_digest(key.encode(), self.key.encode())

    def _let_in(self, environ: "WSGIEnvironment", rest: str, start_response: "StartResponse") -> list[bytes]:
        # two slashes in front would lead to another machine
        path = "/" + quote(environ.get("PATH_INFO", "").encode("latin-1")).lstrip("/")
        headers = [
            ("Location", f"{path}?{rest}" if rest else path),
            ("Set-Cookie", f"{_cookie_name(environ)}={self.key}; Path=/; HttpOnly; SameSite=Strict"),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("Content-Length", "0"),
        ]
        start_response("303 See Other", headers)
        return []


def _cookie_name(environ: "WSGIEnvironment") -> str:
    """With the port: browsers keep one set of cookies for a machine, which may have several dashboards."""
    return f"mask_search_{environ['SERVER_PORT']}"


def _cookie(environ: "WSGIEnvironment") -> str:
    """What the browser has kept; empty without any."""
    try:
        found = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(_cookie_name(environ))
    except CookieError:
        return ""
    return found.value if found else ""
