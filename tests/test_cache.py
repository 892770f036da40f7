"""The cache of decoded photos: right, made once, made anew when anything it was made of changes, never half."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SIX_CELLS, TINY, make_folder

from maskcls.cache import Cache, load_cache
from maskcls.config import change
from maskcls.dataset import load_dataset, read_table
from maskcls.decode import decode_photo
from maskcls.errors import UserError
from maskcls.photos import list_photos

SIZE, WHOLE = (20, 16), (1.0, 1.0)


class Photos:
    """A folder of 42 photos, and the cache of it."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = make_folder(tmp_path / "photos")
        self.paths = list_photos(self.folder)["path"].tolist()
        self.cache_dir = tmp_path / "cache"
        self.decoded = 0

    def load(self, size: tuple[int, int] = SIZE, crop: tuple[float, float] = WHOLE) -> Cache:
        return load_cache(self.folder, self.paths, size, crop, self.cache_dir, self._tick)

    def _tick(self) -> None:
        self.decoded += 1


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return Photos(tmp_path)


@pytest.mark.parametrize(("size", "crop"), [((20, 16), (1.0, 1.0)), ((16, 40), (0.8, 0.6))])
def test_rows_equal_the_decoded_photos(photos: Photos, size: tuple[int, int], crop: tuple[float, float]) -> None:
    image_NCHW = photos.load(size, crop).image_NCHW
    assert image_NCHW.dtype == np.uint8
    assert image_NCHW.shape == (42, 3, *size)
    for path, image_CHW in zip(photos.paths, image_NCHW, strict=True):
        assert (image_CHW == decode_photo(photos.folder / path, size, crop).numpy()).all()


def test_photos_are_decoded_once(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    first = photos.load()
    monkeypatch.setattr("maskcls.decode.decode_photo", lambda *_: pytest.fail("decoded again"))
    second = photos.load()
    assert photos.decoded == 42
    assert (first.was_built, second.was_built) == (True, False)
    assert (first.image_NCHW == second.image_NCHW).all()


def touch(photos: Photos) -> None:
    path = photos.folder / photos.paths[7]
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1_000_000))


def lengthen(photos: Photos) -> None:
    path = photos.folder / photos.paths[7]
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=times)


CHANGES: dict[str, Callable[[Photos], None]] = {
    "time of change": touch,
    "bytes": lengthen,
    "order": lambda photos: photos.paths.reverse(),
    "one photo less": lambda photos: photos.paths.remove(photos.paths[3]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_changed_photos_make_another_cache(photos: Photos, what: str) -> None:
    photos.load()
    CHANGES[what](photos)
    assert photos.load().was_built


def test_other_sizes_and_crops_are_other_caches(photos: Photos) -> None:
    caches = [photos.load(), photos.load((16, 20)), photos.load(crop=(0.9, 1.0)), photos.load(crop=(1.0, 0.9))]
    assert all(cache.was_built for cache in caches)
    assert not photos.load().was_built  # the first is still there


def test_other_decoder_makes_another_cache(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    photos.load()
    monkeypatch.setattr("maskcls.cache.DECODER", "another")
    assert photos.load().was_built


def test_writing_to_the_photos_does_not_reach_the_file(photos: Photos) -> None:
    before = photos.load().image_NCHW.copy()
    photos.load().image_NCHW[:] = 0
    assert (photos.load().image_NCHW == before).all()


CHILD = """
import sys, time
from pathlib import Path
from maskcls.cache import load_cache
folder, cache_dir, paths_file, marker, seconds = sys.argv[1:]
paths = Path(paths_file).read_text().split("\\n")
def tick():
    with open(marker, "a") as file:
        file.write(".")
    time.sleep(float(seconds))
print(load_cache(Path(folder), paths, (20, 16), (1.0, 1.0), Path(cache_dir), tick).was_built)
"""


def start_child(photos: Photos, tmp_path: Path, seconds: float, marker: str = "marker") -> subprocess.Popen[str]:
    """Another process that loads the cache, ``seconds`` a photo; ``marker`` grows by a byte with each of them."""
    (tmp_path / "paths").write_text("\n".join(photos.paths))
    arguments = [photos.folder, photos.cache_dir, tmp_path / "paths", tmp_path / marker, seconds]
    return subprocess.Popen([sys.executable, "-c", CHILD, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def wait_for(marker: Path, size: int) -> None:
    deadline = time.monotonic() + 60
    while not (marker.exists() and marker.stat().st_size >= size):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_while_building_leaves_no_half_cache(photos: Photos, tmp_path: Path) -> None:
    child = start_child(photos, tmp_path, seconds=1)
    wait_for(tmp_path / "marker", 2)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert [path.suffix for path in photos.cache_dir.iterdir() if path.suffix == ".npy"] == []
    cache = photos.load()
    assert cache.was_built
    assert (cache.image_NCHW[41] == decode_photo(photos.folder / photos.paths[41], SIZE).numpy()).all()
    assert not list(photos.cache_dir.glob("*.part"))


def test_who_asks_while_another_process_builds_waits_and_gets_the_same(photos: Photos, tmp_path: Path) -> None:
    child = start_child(photos, tmp_path, seconds=0.03)
    wait_for(tmp_path / "marker", 2)
    cache = photos.load()
    assert (tmp_path / "marker").stat().st_size == 42
    assert photos.decoded == 0
    assert not cache.was_built
    assert child.communicate(timeout=60)[0].strip() == "True"
    assert (cache.image_NCHW[41] == decode_photo(photos.folder / photos.paths[41], SIZE).numpy()).all()


def test_unreadable_photos_are_an_error_or_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = [f"{number}{person}" for number in range(5) for person in SIX_CELLS]
    folder = make_folder(tmp_path / "photos", people)
    for number, name in enumerate(people[:25]):
        path = folder / "images" / name / "mask1.jpg"
        path.write_bytes(path.read_bytes()[:100] if number % 2 else b"")
    broken = sorted(f"images/{name}/mask1.jpg" for name in people[:25])
    config = change(TINY, image_size=16)
    table = read_table(folder, config)
    for _ in range(2):  # the second time from the cache
        with pytest.raises(UserError) as caught:
            load_dataset(table, config, tmp_path / "cache")
        text = str(caught.value)
        assert text.startswith("25 photos in ")
        assert all(path in text for path in broken[:20])
        assert f"{broken[19]} and 5 more." in text
        assert "--skip-unreadable" in text
    data = load_dataset(table, config, tmp_path / "cache", skip_unreadable=True)
    assert "Left out 25 photos" in capsys.readouterr().out
    kept = [*data.train.path_N, *data.valid.path_N]
    assert sorted(kept) == sorted(set(table.photos["path"]) - set(broken))
    for side in (data.train, data.valid):
        for row, path in zip(side.row_N[:10], side.path_N[:10], strict=True):
            assert (data.image_NCHW[row] == decode_photo(folder / path, (16, 16)).numpy()).all()


def test_file_beside_the_cache_says_what_it_was_made_of(photos: Photos) -> None:
    photos.load(crop=(0.5, 1.0))
    (facts,) = photos.cache_dir.glob("*.json")
    told = json.loads(facts.read_text())
    assert (told["photos"], told["image_size"], told["crop"]) == (42, [20, 16], [0.5, 1.0])
    assert told["folder"] == str(photos.folder)
