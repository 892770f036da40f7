"""What may not be shown: secrets are named once, and from then on no error text and no traceback has them.

A driver's message may quote the password, or the whole address with it; which driver quotes what cannot be known.
"""

import re
import sys
import threading
import traceback
from types import TracebackType
from urllib.parse import quote, quote_plus, unquote

MASK = "***"

SHORTEST = 3
"""What is shorter hides nothing, and would take words out of every sentence."""

SHORT = 6
"""A secret with fewer characters is hidden only where it stands as a word: else "db" would go from every "database"."""

_IN_ADDRESS = re.compile(r"""\b([A-Za-z][\w+.-]*:/{1,3}[^\s:@'"]*:)(?:\S*|[^@\n'"]*)@""")
"""``scheme://user:password@``, of an address that nobody has named before; the password may hold what it may not."""

_BY_NAME = re.compile(
    r"\b([\w.-]*(?:pass(?:word|wd|phrase)?|pwd|secret|token|credential|api[_-]?key)=)(?!=)"
    r"('[^']*'|\"[^\"]*\"|[^\s&;,)'\"]+)",
    re.IGNORECASE,
)
"""``password=...``, in an address' query or a driver's own notation."""

_WHOLE_ADDRESS = re.compile(r"""\b([A-Za-z][\w+.-]*:/+)[^()'"\n]*|[^\s()'"]+:[^\s()'"]*@[^\s()'"]*""")

_hidden: set[str] = set()


def hide(secret: str) -> None:
    """From now on ``redacted`` takes it out, as it is and as an address or a string literal has it."""
    if len(secret) < SHORTEST:
        return
    plain = unquote(secret)
    forms = {secret, plain, quote(plain), quote(plain, safe=""), quote_plus(plain)}
    _hidden.update(forms | {repr(form)[1:-1] for form in forms})


def redacted(text: str) -> str:
    """The text without what is hidden, and without what looks like a password in an address or after its name."""
    for secret in sorted(_hidden, key=len, reverse=True):  # a part of a longer one must not break that
        pattern = re.escape(secret)
        if len(secret) < SHORT:
            pattern = rf"(?<!\w){pattern}(?!\w)"
        text = re.sub(pattern, MASK, text, flags=re.IGNORECASE)
    return _BY_NAME.sub(rf"\1{MASK}", _IN_ADDRESS.sub(rf"\1{MASK}@", text))


def redacted_words(text: str) -> str:
    """``redacted`` for a message that quotes what was typed in the wrong place: an address keeps its scheme alone."""
    return redacted(_WHOLE_ADDRESS.sub(lambda found: f"{found[1] or ''}...", text))


def redacted_traceback(error: BaseException) -> str:
    """What the interpreter would print of it, without what is hidden."""
    return redacted("".join(traceback.format_exception(error)))


def guard_tracebacks() -> None:
    """From now on an error that nobody catches, in any thread, is printed without what is hidden."""
    sys.excepthook = _show
    threading.excepthook = _show_of_thread


def _show_of_thread(args: threading.ExceptHookArgs) -> None:
    if issubclass(args.exc_type, SystemExit):  # how a thread ends itself
        return
    if sys.stderr is not None:
        print(f"Exception in thread {args.thread.name if args.thread else '?'}:", file=sys.stderr)
    _show(args.exc_type, args.exc_value, args.exc_traceback)


def _show(kind: type[BaseException], error: BaseException | None, _: TracebackType | None) -> None:
    if sys.stderr is not None:
        print(redacted_traceback(error if error is not None else kind()), file=sys.stderr, end="")
