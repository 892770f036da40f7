"""The errors that end a command with one line, and parts of their texts. Any other is a bug and keeps its traceback."""

import difflib
from collections.abc import Iterable, Iterator, Sequence

from maskcls.system.redact import redacted

STICKY_TEXTS = (
    "CUDA error", "CUDA driver error", "CUDA unknown error", "CUDA driver initialization failed",
    "CUDNN_STATUS_EXECUTION_FAILED", "CUDNN_STATUS_MAPPING_ERROR", "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_MAPPING_ERROR", "No CUDA GPUs are available", "Unexpected error from cudaGetDeviceCount",
)  # fmt: skip
"""Parts of torch's messages after which a process cannot use its GPU any more. torch.AcceleratorError begins with the
first; libraries raise plain RuntimeErrors."""

MEMORY_TEXTS = ("out of memory", "ALLOC_FAILED")
"""Parts of such messages that say that memory was short."""

DOUBTFUL_TEXTS = (
    "CUBLAS_STATUS_NOT_INITIALIZED", "CUBLAS_STATUS_INTERNAL_ERROR",
    "CUDNN_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_INTERNAL_ERROR",
)  # fmt: skip
"""Parts of messages of libraries that had no memory for themselves, or whose GPU is lost: only the GPU can tell
(training.numerics.lost_gpu)."""

PASSING_TEXTS = (
    *MEMORY_TEXTS, *DOUBTFUL_TEXTS, "NOT_SUPPORTED", "INVALID_VALUE", "BAD_PARAM", "captur", "invalid argument",
    "invalid configuration argument",
)  # fmt: skip
"""Parts of messages with one of STICKY_TEXTS that alone do not say that the GPU is lost: memory was short, a call was
refused, a graph could not be captured."""


class UserError(ValueError):
    """Bad input. Its text is one or two sentences: the rule, the value that breaks it, the remedy."""


class OutsideError(Exception):
    """A failure outside this program, of a database's server or a disk. Its text is one line.

    It ends a command with exit status 1; the same command continues later.
    """


def some(items: Iterable[object], limit: int = 5) -> str:
    """The first few of ``items`` for a message, and how many more there are."""
    texts = [str(item) for item in items]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    separator = "; " if any("," in text for text in texts) else ", "
    return separator.join(texts[:limit]) + more


def count_of(number: int, singular: str, plural: str = "") -> str:
    """``1 trial``, ``2 trials``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def listed(items: Sequence[object]) -> str:
    """A list in words: ``3``, ``3 and 5``, ``3, 5 and 8``; ``none`` without items."""
    words = [str(item) for item in items]
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part) if words else "none"


def one_line(error: object, limit: int = 200) -> str:
    """The start of a library's message, to be quoted in ours, without secrets that it may hold."""
    return " ".join(redacted(str(error)).split())[:limit]


def nearest(name: str, names: Iterable[str]) -> str:
    """ " Nearest: a, b." for a mistyped name; empty when none of ``names`` is near."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f" Nearest: {', '.join(close)}." if close else ""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes, the outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def is_sticky(text: str) -> bool:
    """Whether an error with this text has surely destroyed the process's CUDA context: every later call to the GPU
    fails."""
    return any(part in text for part in STICKY_TEXTS) and not any(part in text for part in PASSING_TEXTS)


def is_doubtful(text: str) -> bool:
    """Whether an error with this text is one of full memory or of a lost GPU, and does not say which."""
    return any(part in text for part in DOUBTFUL_TEXTS)


def is_about_gpu_memory(text: str) -> bool:
    """Whether a library's error with this text says that the GPU's memory was short."""
    return any(part in text for part in ("CUDA", "CUBLAS", "CUDNN")) and any(part in text for part in MEMORY_TEXTS)


def sticky_cause(error: BaseException) -> str:
    """The line that says which sticky error is, or is beneath, ``error``; an empty string if there is none."""
    texts = (str(cause) for cause in chain(error))
    return next((one_line(text.strip().partition("\n")[0]) for text in texts if is_sticky(text)), "")
