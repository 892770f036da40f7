"""Secrets are registered once; from then on no error text and no traceback shows them.

A database driver's message may quote the password, or the whole address with it, in ways that differ by driver.
"""

import re
import sys
import threading
import traceback
from types import TracebackType
from urllib.parse import quote, quote_plus, unquote

MASK = "***"

MIN_SECRET = 3
"""A secret with fewer characters is not masked: it protects nothing, and masking would garble every sentence."""

MIN_ANYWHERE = 6
"""A secret with fewer characters is masked only as a whole word: not the "post" in every "postgresql"."""

_IN_ADDRESS = re.compile(r"""\b([A-Za-z][\w+.-]*:/{1,3}[^\s:@'"]*:)(?:\S*|[^@\n'"]*)@""")
"""``scheme://user:password@`` of an address that is not registered. The password may hold unescaped characters."""

_BY_NAME = re.compile(
    r"\b([\w.-]*(?:pass(?:word|wd|phrase)?|pwd|secret|token|credential|api[_-]?key)=)(?!=)"
    r"('[^']*'|\"[^\"]*\"|[^\s&;,)'\"]+)",
    re.IGNORECASE,
)
"""``password=...``, in an address's query or a driver's own notation."""

_WHOLE_ADDRESS = re.compile(r"""\b([A-Za-z][\w+.-]*:/+)[^()'"\n]*|[^\s()'"]+:[^\s()'"]*@[^\s()'"]*""")

_hidden: set[str] = set()


def hide(secret: str) -> None:
    """Register a secret that ``redacted`` masks: as it is, and as addresses and string literals write it."""
    if len(secret) < MIN_SECRET:
        return
    plain = unquote(secret)
    forms = {secret, plain, quote(plain), quote(plain, safe=""), quote_plus(plain)}
    _hidden.update(forms | {repr(form)[1:-1] for form in forms})


def redacted(text: str) -> str:
    """The text with registered secrets masked, and what looks like a password in an address or after its name."""
    for secret in sorted(_hidden, key=len, reverse=True):  # the longest first: a secret may be a part of another
        pattern = re.escape(secret)
        if len(secret) < MIN_ANYWHERE:
            pattern = rf"(?<!\w){pattern}(?!\w)"
        text = re.sub(pattern, MASK, text, flags=re.IGNORECASE)
    return _BY_NAME.sub(rf"\1{MASK}", _IN_ADDRESS.sub(rf"\1{MASK}@", text))


def redacted_words(text: str) -> str:
    """``redacted`` for a message that quotes misplaced arguments: of an address only the scheme is left."""
    return redacted(_WHOLE_ADDRESS.sub(lambda match: f"{match[1] or ''}...", text))


def redacted_traceback(error: BaseException) -> str:
    """The interpreter's traceback of the error, ``redacted``."""
    return redacted("".join(traceback.format_exception(error)))


def guard_tracebacks() -> None:
    """From now on, print tracebacks of uncaught errors, in any thread, ``redacted``."""
    sys.excepthook = _print_traceback
    threading.excepthook = _print_traceback_of_thread


def _print_traceback_of_thread(args: threading.ExceptHookArgs) -> None:
    if issubclass(args.exc_type, SystemExit):  # a thread that ends itself
        return
    if sys.stderr is not None:
        print(f"Exception in thread {args.thread.name if args.thread else '?'}:", file=sys.stderr)
    _print_traceback(args.exc_type, args.exc_value, args.exc_traceback)


def _print_traceback(kind: type[BaseException], error: BaseException | None, _: TracebackType | None) -> None:
    if sys.stderr is not None:
        print(redacted_traceback(error if error is not None else kind()), file=sys.stderr, end="")
