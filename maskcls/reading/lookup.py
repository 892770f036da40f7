"""Which picture a cell of a table names: by its path, without its leading folders, without its ending."""

import os
import re
from collections import defaultdict
from unicodedata import normalize

from maskcls.reading.listing import Listing

ELSEWHERE = re.compile(r"/|[A-Za-z]:[/\\]|\\\\|[A-Za-z][A-Za-z0-9+.-]*://|~")
"""How a path begins that is not relative to a folder: absolute, of Windows, an address, a home."""


class Lookup:
    """The pictures of a listing by the names that tables have for them. Only listed pictures are ever found."""

    def __init__(self, listing: Listing, base: str = "") -> None:
        """``base``: the table's own folder, relative to the listing's; paths are tried from there, too."""
        self._inside = f"{os.path.abspath(listing.folder)}/"  # noqa: PTH100 - links stay as they are
        self._base = f"{base}/" if base else ""
        self._paths = listing.pictures
        self._by_path = {normalize("NFC", path): path for path in listing.pictures}
        self._by_tail: dict[int, dict[str, list[str]]] = {}

    def name_of(self, cell: str) -> str:
        """The cell as the paths of a listing are written, with ``/`` and relative to the folder where it lies in it."""
        name = normalize("NFC", cell.strip())
        name = name if name.startswith(self._inside) else name.replace("\\", "/")
        return re.sub(r"^(\./+)+", "", name.removeprefix(self._inside))

    def leads_out(self, cell: str) -> bool:
        """Whether the cell is a path to somewhere else than into the folder."""
        name = self.name_of(cell)
        return ELSEWHERE.match(name) is not None or ".." in name.split("/")

    def find(self, cell: str) -> list[str]:
        """The pictures that the cell may mean: one, several where it is ambiguous, none."""
        name = self.name_of(cell)
        if not name or self.leads_out(cell):
            return []
        for full in (name, self._base + name):
            if full in self._by_path:
                return [self._by_path[full]]
        return self._tails(name.count("/") + 1).get(name, [])

    def _tails(self, count: int) -> dict[str, list[str]]:
        """The last ``count`` names of every path, with and without its ending -> the paths."""
        if count not in self._by_tail:
            paths = defaultdict[str, list[str]](list)
            for composed, path in self._by_path.items():
                names = composed.split("/")
                if len(names) >= count:
                    tail = "/".join(names[-count:])
                    for key in {tail, os.path.splitext(tail)[0]}:  # noqa: PTH122 - faster than a Path
                        paths[key].append(path)
            self._by_tail[count] = dict(paths)
        return self._by_tail[count]
