"""The storage URL: checked, and shown without its password or other secrets."""

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_plus

from maskcls.system.errors import UserError
from maskcls.system.redact import MASK, hide

if TYPE_CHECKING:
    import sqlalchemy

STORAGE_VARIABLE = "MASKCLS_STORAGE"
"""Environment variable with the default of every command's --storage."""

EXAMPLE = "Example: sqlite:///runs/studies.db"

SHOWN_KEYS = frozenset(
    {
        *("application_name", "cache", "charset", "client_encoding", "connect_timeout", "database", "dbname"),
        *("gssencmode", "host", "hostaddr", "immutable", "keepalives", "mode", "nolock", "port", "service", "ssl"),
        *("sslmode", "sslrootcert", "target_session_attrs", "timeout", "unix_socket", "uri", "user"),
    }
)
"""Query keys whose values are shown. Every other may hold a secret: password, sslpassword, options, token, ..."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9]*(?:\+[A-Za-z0-9_]+)?://)")
_NAME = re.compile(r"[\w.+-]*")
_HOST = re.compile(r"(?:[\w.-]|%2[Ff])*|[0-9A-Fa-f:.%]*")
_VALUE = re.compile(r"[\w.,:/+~-]*")


def shown_url(url: str) -> str:
    """The URL with ``***`` in place of what may be secret; only the scheme of an ambiguous one."""
    parsed = _unambiguous(url)
    if parsed is None:
        return f"{_scheme(url)}..."
    return _with_query(parsed, [(key, value if _is_shown(key, value) else MASK) for key, value in _query(parsed)])


def url_to_type(url: str) -> tuple[str, bool]:
    """The URL without secrets, for a printed command, and whether it had any.

    Without its password it works where ``~/.pgpass`` or ``PGPASSWORD`` provides that.
    """
    parsed = _unambiguous(url)
    if parsed is None:
        return f"{_scheme(url) or 'postgresql+psycopg://'}USER@HOST/DATABASE", True
    shown = [(key, value) for key, value in _query(parsed) if _is_shown(key, value)]
    if parsed.password is None and len(shown) == len(_query(parsed)):
        return url, False
    return _with_query(parsed._replace(password=None), shown), True


def password_hint(url: str) -> str:
    """Where to give the password that a printed command lacks."""
    other = "" if _scheme(url).startswith(("mysql", "mariadb")) else ", or give the password in ~/.pgpass or PGPASSWORD"
    return f"The URL is shown without its password: set {STORAGE_VARIABLE}{other}."


def hide_secrets(url: str) -> None:
    """Hide the URL's secrets from all error texts, also those of a malformed URL."""
    rest = url.partition("://")[2] or url
    for text in (rest, rest.partition("?")[0]):  # a password may hold a question mark itself, and a query an @
        secret = text.rpartition("@")[0].partition(":")[2]
        for part in (secret, *re.split(r"[@:/?#&=\s]+", secret)):
            hide(part)
    for pair in re.split("[?&;]", rest):
        key, _, value = pair.partition("=")
        if not _is_shown(key, unquote_plus(value)):
            hide(value)
            hide(unquote_plus(value))


def check_url(url: str) -> None:
    """Raise UserError for a URL that cannot be parsed, or in which a password would be taken for a host name."""
    parsed = _parsed(url)
    if parsed is not None and (_is_sqlite(parsed) or f"{parsed.host or ''}{parsed.database or ''}".count("@") == 0):
        return
    raise UserError(
        f"The storage {shown_url(url)} cannot be opened: it is not a database URL. In a user name or password,"
        f" percent-encode each of @ : / ? # % (@ is %40). {EXAMPLE}, or postgresql+psycopg://USER@HOST/DATABASE."
    )


def _scheme(url: str) -> str:
    scheme = _SCHEME.match(url)
    return scheme[1] if scheme else ""


def _parsed(url: str) -> "sqlalchemy.URL | None":
    import sqlalchemy

    try:
        return sqlalchemy.make_url(url)
    except Exception:  # a port that is not a number raises ValueError, and drivers have errors of their own
        return None


def _is_sqlite(parsed: "sqlalchemy.URL") -> bool:
    return parsed.drivername.partition("+")[0] == "sqlite"


def _unambiguous(url: str) -> "sqlalchemy.URL | None":
    """The parsed URL when each of its parts looks like what it stands for; None on any doubt."""
    parsed = _parsed(url)
    if parsed is None or not _SCHEME.match(url) or not all(_NAME.fullmatch(key) for key in parsed.query):
        return None
    path = parsed.database or ""
    if _is_sqlite(parsed):
        is_plain = not parsed.username and not parsed.host and not re.search(":.*@", path) and path.isprintable()
    else:
        is_plain = bool(
            _NAME.fullmatch(parsed.username or "") and _HOST.fullmatch(parsed.host or "") and _NAME.fullmatch(path)
        )
    return parsed if is_plain else None


def _query(parsed: "sqlalchemy.URL") -> list[tuple[str, str]]:
    return parse_qsl(parsed.render_as_string().partition("?")[2], keep_blank_values=True)


def _is_shown(key: str, value: str) -> bool:
    return key in SHOWN_KEYS and bool(_VALUE.fullmatch(value))


def _with_query(parsed: "sqlalchemy.URL", query: list[tuple[str, str]]) -> str:
    shown = "&".join(f"{key}={value}" for key, value in query)
    return parsed.set(query={}).render_as_string() + (f"?{shown}" if shown else "")
