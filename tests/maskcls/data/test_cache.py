"""The cache of decoded photos: right, made once, made anew when anything it was made of changes, never half."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from maskcls.config import change
from maskcls.data.cache import Cache, cache_bytes, cache_key, check_room, load_cache
from maskcls.data.cache_plan import plan_caches
from maskcls.data.checksums import checksums
from maskcls.data.dataset import Table, load_dataset, load_photos, read_table
from maskcls.images.decode import DECODER, decode_photo
from maskcls.images.fit import Fit
from maskcls.reading.mask_photos import list_photos
from maskcls.system.errors import UserError
from tests.helpers.data.caching import Loader
from tests.helpers.training import SIX_CELLS, TINY, make_folder, one_line

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
    monkeypatch.setattr("maskcls.images.decode.decode_photo", lambda *_: pytest.fail("decoded again"))
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


def put_another_back(photos: Photos) -> None:
    """Another photo of the same size in bytes, under the old one's time, as ``rsync -a`` brings it back."""
    path = photos.folder / photos.paths[7]
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(path.read_bytes()[:-2] + b"\xff\xd9")
    os.utime(path, ns=times)


CHANGES: dict[str, Callable[[Photos], None]] = {
    "time of change": touch,
    "bytes": lengthen,
    "neither size nor time": put_another_back,
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
    monkeypatch.setattr("maskcls.data.cache.DECODER", "another")
    assert photos.load().was_built


def test_writing_to_the_photos_does_not_reach_the_file(photos: Photos) -> None:
    before = photos.load().image_NCHW.copy()
    photos.load().image_NCHW[:] = 0
    assert (photos.load().image_NCHW == before).all()


def start_child(photos: Photos, tmp_path: Path, seconds: float, marker: str = "marker") -> Loader:
    return Loader(photos.folder, photos.paths, SIZE, photos.cache_dir, tmp_path / marker, seconds)


def wait_for(marker: Path, size: int) -> None:
    deadline = time.monotonic() + 60
    while not (marker.exists() and marker.stat().st_size >= size):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_while_building_leaves_no_half_cache(photos: Photos, tmp_path: Path) -> None:
    child = start_child(photos, tmp_path, seconds=1)
    wait_for(tmp_path / "marker", 2)
    child.kill()
    assert [path.suffix for path in photos.cache_dir.iterdir() if path.suffix in (".npy", ".json")] == []
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
    assert child.was_built()
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
        assert f"{broken[19]} (" in text
        assert " and 5 more." in text
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


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": cut,
    "garbage": lambda path: path.write_bytes(b"\x93garbage" * 40),
    "of another shape": lambda path: np.save(path.open("wb"), np.zeros((42, 3, 8, 8), np.uint8)),
    "of another kind": lambda path: path.write_text("[1, 2]"),
    "flipped": flip,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("ending", [".npy", ".json"])
def test_damaged_cache_is_made_anew_and_that_is_said(
    photos: Photos, ending: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = photos.load().image_NCHW.copy()
    (path,) = photos.cache_dir.glob(f"*{ending}")
    content = path.read_bytes()
    capsys.readouterr()
    DAMAGES[damage](path)
    mended = photos.load()
    said = capsys.readouterr().out
    assert mended.was_built
    assert path.read_bytes() == content
    assert (mended.image_NCHW == whole).all()
    assert said.count("is damaged") == 1
    assert said.count("\n") <= 1
    assert not photos.load().was_built


def test_one_file_without_the_other_is_no_cache(photos: Photos, capsys: pytest.CaptureFixture[str]) -> None:
    for ending in (".npy", ".json"):
        photos.load()
        next(photos.cache_dir.glob(f"*{ending}")).unlink()
        assert photos.load().was_built
    assert capsys.readouterr().out == ""


def test_all_of_a_cache_is_read_once_a_process(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    photos.load()
    read: list[int] = []

    def counted(image_NCHW: np.ndarray) -> list[int]:
        read.append(1)
        return checksums(image_NCHW)

    monkeypatch.setattr("maskcls.data.checksums._verified", set())
    monkeypatch.setattr("maskcls.data.checksums.checksums", counted)
    photos.load()
    photos.load()
    assert len(read) == 1


def test_two_machines_without_a_common_lock_each_see_whole_photos(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskcls.data.cache.hold", lambda _: contextlib.nullcontext())  # as flock of a folder is on NFS
    child = start_child(photos, tmp_path, seconds=0.02)
    wait_for(tmp_path / "marker", 2)
    cache = photos.load()
    assert cache.was_built
    assert child.was_built()
    for image_CHW, path in zip(cache.image_NCHW, photos.paths, strict=True):
        assert (image_CHW == decode_photo(photos.folder / path, SIZE).numpy()).all()
    assert not photos.load().was_built
    assert not list(photos.cache_dir.glob("*.part"))


def test_a_photo_that_cannot_be_opened_now_is_tried_again(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == "mask3.jpg":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(UserError, match=r"6 photos .* could not be opened: .*mask3.jpg \(Input/output error\)"):
        photos.load()
    assert [path.name for path in photos.cache_dir.iterdir()] == [".lock"]
    monkeypatch.setattr(Path, "read_bytes", read)
    assert photos.load().unreadable == ()


def test_damage_is_remembered_with_its_reason(photos: Photos) -> None:
    (photos.folder / photos.paths[5]).write_bytes(b"BM and more")
    (first,) = photos.load().unreadable
    again = photos.load()
    assert again.unreadable == (first,)
    assert not again.was_built
    assert "BMP" in first.reason


@pytest.mark.parametrize(("where", "mode"), [("", 0o700), ("images", 0o700), ("photo", 0o600), ("", 0o755)])
def test_caches_are_as_private_as_their_photos(tmp_path: Path, where: str, mode: int) -> None:
    mine = [path for path in (tmp_path, *tmp_path.parents) if path.name.startswith(("pytest-", "popen-", "test_"))]
    for parent in mine:
        parent.chmod(0o755)  # pytest makes them private
    photos = Photos(tmp_path)
    (photos.folder / (photos.paths[0] if where == "photo" else where)).chmod(mode)
    before = os.umask(0o022)
    try:
        photos.load()
    finally:
        os.umask(before)
    expected = 0o644 if mode == 0o755 else 0o600
    kept = [path for path in photos.cache_dir.iterdir() if path.name != ".lock"]
    assert {path.stat().st_mode & 0o777 for path in kept} == {expected}


def test_content_is_of_the_bytes_and_not_of_the_place(photos: Photos, tmp_path: Path) -> None:
    first = photos.load().content
    shutil.copytree(photos.folder, tmp_path / "copied")
    photos.folder = tmp_path / "copied"
    assert photos.load().content == first
    put_another_back(photos)
    path = photos.folder / photos.paths[7]
    path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    assert photos.load().content != first


def test_ways_to_fit_and_bit_depths_are_other_caches_and_the_defaults_are_those_of_before(photos: Photos) -> None:
    def key(**more: object) -> str:
        return cache_key(photos.folder, photos.paths, SIZE, WHOLE, **more)  # type: ignore[arg-type]

    assert len({key(), key(fit="pad"), key(fit="crop"), key(bit_depth=12), key(fit="pad", bit_depth=12)}) == 5
    digest = hashlib.sha256(f"{DECODER} {SIZE} {WHOLE}\n".encode())
    for path in photos.paths:
        stat = (photos.folder / path).stat()
        digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n".encode())
    assert key() == key(fit="squash", bit_depth=0) == f"20x16-{digest.hexdigest()[:16]}"


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_rows_are_fitted_as_asked(photos: Photos, fit: Fit) -> None:
    cache = load_cache(photos.folder, photos.paths, (20, 20), WHOLE, photos.cache_dir, fit=fit)
    for path, image_CHW in zip(photos.paths, cache.image_NCHW, strict=True):
        assert (image_CHW == decode_photo(photos.folder / path, (20, 20), WHOLE, fit).numpy()).all()


def make_earlier(photos: Photos, **changes: object) -> None:
    """Rewrite the facts of the only cache as an earlier version would have written them."""
    (path,) = photos.cache_dir.glob("*.json")
    values = json.loads(path.read_text())
    for name in ("sum", "fit", "bit_depth", "read_anew", "deep_photos", "used_bits"):
        del values[name]
    values |= changes
    path.write_text(json.dumps({**values, "sum": zlib.crc32(json.dumps(values).encode())}))


def test_a_cache_of_an_earlier_version_stays(photos: Photos) -> None:
    photos.load()
    make_earlier(photos)
    assert not photos.load().was_built
    make_earlier_again = {"unreadable": [(photos.paths[0], "a GIF that was cut short")]}
    shutil.rmtree(photos.cache_dir)
    photos.load()
    make_earlier(photos, **make_earlier_again)
    assert not photos.load().was_built


@pytest.mark.parametrize("reason", ["BMP; JPEG, PNG, WebP and GIF are read", "TIFF, or a camera's raw file; JPEG"])
def test_a_cache_that_lacks_photos_which_are_read_now_is_built_again(
    photos: Photos, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    photos.load()
    make_earlier(photos, unreadable=[(photos.paths[0], reason)])
    assert photos.load().was_built
    assert "earlier version" in capsys.readouterr().out


def test_a_cache_of_an_earlier_version_with_16_bit_photos_is_built_again(photos: Photos) -> None:
    deep = np.arange(40, dtype=np.uint16).reshape(8, 5)
    path = photos.paths[0].replace(".jpg", ".png")
    Image.fromarray(deep).save(photos.folder / path)
    photos.paths[0] = path
    assert photos.load().deep_photos == 1
    make_earlier(photos)
    assert photos.load().was_built


def test_16_bit_photos_that_would_be_black_are_refused_until_their_bits_are_said(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "photos", [f"{number}{person}" for number in range(5) for person in SIX_CELLS])
    deep = np.random.default_rng(0).integers(0, 4096, (40, 32), dtype=np.uint16)
    for path in sorted(folder.glob("images/*/normal.jpg")):
        path.unlink()
        Image.fromarray(deep).save(path.with_suffix(".png"))
    config = change(TINY, image_size=16)
    table = read_table(folder, config)
    for _ in range(2):  # the second time from the cache
        with pytest.raises(UserError, match=r"^30 photos of 16 bits a channel use no value above 4095.*bit_depth=12"):
            load_dataset(table, config, tmp_path / "cache")
    data = load_dataset(table, change(config, bit_depth=12), tmp_path / "cache")
    assert 100 < data.image_NCHW[table.photos["stem"].to_numpy() == "normal"].mean() < 150
    load_dataset(table, change(config, bit_depth=16), tmp_path / "cache")
    image_NCHW, _ = load_photos(table, config, tmp_path / "cache", skip_unreadable=False)  # a word, no refusal
    assert image_NCHW[table.photos["stem"].to_numpy() == "normal"].max() < 16


def test_a_disk_without_room_is_told_before_anything_is_decoded(
    photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 42 * 3 * 20 * 16
    assert cache_bytes(42, SIZE) == needed
    free = round(needed * 1.1) - 1
    monkeypatch.setattr("maskcls.data.cache.shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(UserError, match=r"would take 39\.4 KiB in .*cache, .* MASKCLS_CACHE") as caught:
        photos.load()
    one_line(caught.value)
    assert photos.decoded == 0
    assert not list(photos.cache_dir.glob("*.npy*"))
    free += 1
    photos.load()
    free = 0
    assert not photos.load().was_built  # what exists takes no more


def test_the_room_of_a_folder_that_does_not_exist_yet_is_that_of_the_disk(tmp_path: Path) -> None:
    check_room(1, tmp_path / "a" / "b" / "c")
    with pytest.raises(UserError, match=r"Together the 3 caches of decoded photos would take 1073741824\.0 GiB"):
        check_room(2**60, tmp_path / "a" / "b", caches=3)


def test_commands_that_share_a_local_folder_build_its_cache_once(photos: Photos, tmp_path: Path) -> None:
    children = [start_child(photos, tmp_path, seconds=0.01, marker=f"marker{number}") for number in range(3)]
    assert sorted(child.was_built() for child in children) == [False, False, True]


def test_the_plan_of_caches_says_their_sum_and_which_exist(photos: Photos, tmp_path: Path) -> None:
    table = Table(photos.folder, list_photos(photos.folder), "")
    small, wide = change(TINY, image_size=(20, 16)), change(TINY, image_size=(40, 16))
    plan = plan_caches(table, [small, change(small, lr=0.5)], photos.cache_dir)
    assert plan.describe() == f"42 photos at 20 x 16: 39.4 KiB in {photos.cache_dir}, decoded once"
    photos.load()
    assert plan_caches(table, [small], photos.cache_dir).describe().endswith("decoded already")
    ways = [small, wide, change(wide, fit="pad"), change(wide, crop=0.5)]
    plan = plan_caches(table, ways, photos.cache_dir)
    together = f"275.6 KiB together in {photos.cache_dir}, 1 of them decoded already"
    assert plan.describe() == f"42 photos in 4 ways, at 20 x 16 and 40 x 16: {together}"
    assert plan.missing == ((40, 16),) * 3
