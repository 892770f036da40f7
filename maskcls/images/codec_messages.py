"""Warnings of C libraries about a photo, which they only print to the process's standard error.

libjpeg, for one, decodes damaged data as far as it can and prints a line without the file's name.
"""

import os
import sys
from types import TracebackType


class StderrCapture:
    """A block that captures what is written to file descriptor 2, and passes it on at its end, less ``reported`` lines.

    One block at a time in a process. Captures nothing if standard error is closed.
    """

    def __init__(self) -> None:
        self.reported: set[str] = set()
        """Lines that reach the user in another way."""
        self._stderr: int | None = None

    def __enter__(self) -> "StderrCapture":
        try:
            self._stderr = os.dup(2)
        except OSError:
            return self
        self._file = os.memfd_create("stderr")
        _flush()
        os.dup2(self._file, 2)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._stderr is None:
            return
        _flush()
        os.dup2(self._stderr, 2)
        lines = [line for line in self.since(0).splitlines(keepends=True) if line.strip() not in self.reported]
        os.close(self._stderr)
        os.close(self._file)
        if lines:
            os.write(2, "".join(lines).encode(errors="surrogateescape"))

    def size(self) -> int:
        """Bytes captured so far."""
        return 0 if self._stderr is None else os.fstat(self._file).st_size

    def since(self, size: int) -> str:
        """The text after the first ``size`` bytes."""
        if self._stderr is None:
            return ""
        return os.pread(self._file, self.size() - size, size).decode(errors="surrogateescape")


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
