"""What C libraries print to the process's standard error, which is their only way to say that a photo is odd.

libjpeg decodes damaged data to whatever comes out and prints a line without the file's name.
"""

import os
import sys
from types import TracebackType


class Overheard:
    """Within the block, what goes to file descriptor 2 is kept; at the end it is passed on, less what is ``taken``.

    One block at a time in a process. Where standard error is closed nothing is heard.
    """

    def __init__(self) -> None:
        self.taken: set[str] = set()
        """Lines that have found their way to the user otherwise."""
        self._before: int | None = None

    def __enter__(self) -> "Overheard":
        try:
            self._before = os.dup(2)
        except OSError:
            return self
        self._file = os.memfd_create("overheard")
        _flush()
        os.dup2(self._file, 2)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._before is None:
            return
        _flush()
        os.dup2(self._before, 2)
        kept = [line for line in self.since(0).splitlines(keepends=True) if line.strip() not in self.taken]
        os.close(self._before)
        os.close(self._file)
        if kept:
            os.write(2, "".join(kept).encode(errors="surrogateescape"))

    def size(self) -> int:
        """Bytes heard so far."""
        return 0 if self._before is None else os.fstat(self._file).st_size

    def since(self, size: int) -> str:
        """What was heard after so many bytes."""
        if self._before is None:
            return ""
        return os.pread(self._file, self.size() - size, size).decode(errors="surrogateescape")


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
