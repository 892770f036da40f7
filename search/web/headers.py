"""The security headers of every response of the dashboard, as Jupyter and TensorBoard send them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

COMMON_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)

PAGE_POLICY = "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
"""The policy for the dashboard's own pages, in addition to the one that the dashboard sends: a browser obeys both."""

FILE_POLICY = (
    "sandbox; default-src 'none'; img-src data: 'self'; media-src 'self'; style-src 'unsafe-inline';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The policy for an uploaded file (a report, a picture, a page with scripts): it runs nothing and has no origin."""

PAGE_PATHS = ("/dashboard", "/static", "/api", "/csv")
"""Paths of the dashboard's own pages; everything else is treated as an uploaded file."""


class SecurityHeaders:
    """A ``start_response`` (PEP 3333) that adds the security headers to the response for ``path``."""

    def __init__(self, path: str, start_response: "StartResponse") -> None:
        self.start_response = start_response
        path = f"/{path.strip('/')}"  # as the application reads it
        is_page = path == "/" or any(path == page or path.startswith(f"{page}/") for page in PAGE_PATHS)
        self.policy = PAGE_POLICY if is_page else FILE_POLICY

    def __call__(self, status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
        """Start the response, without headers that would share it with other sites."""
        replaced = {name.lower() for name, _ in COMMON_HEADERS}
        kept = [
            (name, value)
            for name, value in headers
            if name.lower() not in replaced and not name.lower().startswith("access-control-")
        ]
        added = [*COMMON_HEADERS, ("Content-Security-Policy", self.policy)]
        return self.start_response(status, [*kept, *added], *rest)
