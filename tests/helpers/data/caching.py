"""Processes that load a cache of photos slowly.

They are forked from one that has imported all they need: to import torch takes longer than all that they do.
"""

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from maskcls.data.cache import load_cache

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.helpers.data.caching"])


class Loader:
    """A process that loads the cache of these photos, ``seconds`` a photo; ``marker`` grows by a byte with each."""

    def __init__(
        self, folder: Path, paths: Sequence[str], size: tuple[int, int], cache_dir: Path, marker: Path, seconds: float
    ) -> None:
        self.answer, theirs = CONTEXT.Pipe(duplex=False)
        arguments = (folder, paths, size, cache_dir, marker, seconds, theirs)
        self.process: ForkServerProcess = CONTEXT.Process(target=_load, args=arguments)
        self.process.start()
        theirs.close()

    def was_built(self) -> bool:
        """Whether it has built the cache, once it has loaded it. Raises EOFError when it dies before."""
        assert self.answer.poll(60)
        found = self.answer.recv()
        self.process.join(60)
        assert self.process.exitcode == 0
        return found

    def kill(self) -> None:
        """At once, by SIGKILL."""
        self.process.kill()
        self.process.join()


def _load(folder, paths, size, cache_dir, marker, seconds, answer):  # type: ignore[no-untyped-def]
    def tick() -> None:
        with marker.open("a") as file:
            file.write(".")
        time.sleep(seconds)

    answer.send(load_cache(folder, paths, size, (1.0, 1.0), cache_dir, tick).was_built)
