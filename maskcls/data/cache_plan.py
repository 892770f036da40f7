"""How much disk the caches of some configs take: said, and compared with what is free, before any photo is decoded."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from maskcls.config import TrainConfig
from maskcls.data.dataset import Table
from maskcls.system.errors import count_of


@dataclass(frozen=True)
class CachePlan:
    """The caches that some configs need, one for each size, crop, fit and bit depth."""

    cache_dir: Path
    photos: int
    sizes: tuple[tuple[int, int], ...]
    """Of every cache."""
    missing: tuple[tuple[int, int], ...]
    """Of those that have to be built."""

    def describe(self) -> str:
        """``12000 photos at 224 x 224: 1.7 GiB in runs/cache, decoded once``; several sizes with their sum."""
        from maskcls.data.cache import cache_bytes, in_units

        total = in_units(sum(cache_bytes(self.photos, size) for size in self.sizes))
        shapes = [f"{rows} x {columns}" for rows, columns in sorted(set(self.sizes))]
        if len(self.sizes) == 1:
            state = "decoded once" if self.missing else "decoded already"
            return f"{count_of(self.photos, 'photo')} at {shapes[0]}: {total} in {self.cache_dir}, {state}"
        at = f"{shapes[0]} to {shapes[-1]}" if len(shapes) > 2 else " and ".join(shapes)
        state = f"{len(self.sizes) - len(self.missing)} of them decoded already"
        return (
            f"{count_of(self.photos, 'photo')} in {len(self.sizes)} ways, at {at}: {total} together in"
            f" {self.cache_dir}, {state}"
        )

    def check_room(self) -> None:
        """Raise UserError unless the disk has room for all that have to be built."""
        from maskcls.data.cache import cache_bytes, check_room

        if self.missing:
            needed = sum(cache_bytes(self.photos, size) for size in self.missing)
            check_room(needed, self.cache_dir, len(self.missing))


def plan_caches(table: Table, configs: Iterable[TrainConfig], cache_dir: Path) -> CachePlan:
    """The caches of the table's photos that the configs need. Looks at each photo's size and time, opens none."""
    from maskcls.data.cache import is_cached

    paths = table.photos["path"].tolist()
    ways = list(dict.fromkeys(config.pixels for config in configs))
    missing = tuple(
        size
        for size, crop, fit, bit_depth in ways
        if not is_cached(table.folder, paths, size, crop, cache_dir, fit, bit_depth)
    )
    return CachePlan(cache_dir, len(paths), tuple(way[0] for way in ways), missing)
