"""The headers that every answer of the dashboard gets, as Jupyter and TensorBoard send them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

COMMON_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),  # what is no script by its type is none
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)

PAGE_POLICY = "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
"""Beside what the dashboard itself says of its page: a browser obeys both."""

FILE_POLICY = (
    "sandbox; default-src 'none'; img-src data: 'self'; media-src 'self'; style-src 'unsafe-inline';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Whatever a file holds that somebody has put there (a report, a picture, a page with scripts), it runs nothing and
belongs to no site."""

PAGE_PATHS = ("/dashboard", "/static", "/api", "/csv")
"""What the dashboard itself has made; all else is taken for a file."""


class SecurityHeaders:
    """A ``start_response`` (PEP 3333) that adds them to the answer to a request for ``path``."""

    def __init__(self, path: str, start_response: "StartResponse") -> None:
        self.start_response = start_response
        place = f"/{path.strip('/')}"  # as the application reads it
        is_page = place == "/" or any(place == page or place.startswith(f"{page}/") for page in PAGE_PATHS)
        self.policy = PAGE_POLICY if is_page else FILE_POLICY

    def __call__(self, status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
        """Start the answer. What would open an answer to other sites is left out."""
        replaced = {name.lower() for name, _ in COMMON_HEADERS}
        kept = [
            (name, value)
            for name, value in headers
            if name.lower() not in replaced and not name.lower().startswith("access-control-")
        ]
        added = [*COMMON_HEADERS, ("Content-Security-Policy", self.policy)]
        return self.start_response(status, [*kept, *added], *rest)
