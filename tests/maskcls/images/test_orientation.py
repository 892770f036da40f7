"""Photos are turned exactly as Pillow's ``exif_transpose`` turns them, wherever in a file their orientation stands."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from maskcls.images.decode import decode_all, decode_whole

HEIGHT, WIDTH = 24, 40

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of the EXIF broken here on purpose


def photo() -> Image.Image:
    """Smooth, which JPEG keeps well, and without symmetry."""
    row, column = np.mgrid[0:HEIGHT, 0:WIDTH]
    return Image.fromarray(np.stack([row * 10, column * 6, (row + column) * 3], 2).astype(np.uint8))


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x010F] = "a maker"
    tags[0x0112] = orientation
    return tags.tobytes()


def big_endian(orientation: int) -> bytes:
    return b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def xmp(orientation: int) -> bytes:
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()


def saved(format: str, **options: object) -> bytes:
    file = io.BytesIO()
    photo().save(file, format, **options)  # type: ignore[arg-type]
    return file.getvalue()


def jpeg(*app1: bytes) -> bytes:
    plain = saved("JPEG", quality=95)
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in app1)
    return plain[:2] + segments + plain[2:]


ADOBE = b"http://ns.adobe.com/xap/1.0/\0"


def png(name: bytes, body: bytes, is_before: bool = True) -> bytes:
    plain = saved("PNG")
    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    at = 33 if is_before else len(plain) - 12
    return plain[:at] + chunk + plain[at:]


def profile(orientation: int) -> bytes:
    """EXIF as ImageMagick writes it into a PNG."""
    raw = exif(orientation)
    return f"\nexif\n{len(raw):8}\n{raw.hex()}\n".encode()


CONTAINERS: dict[str, Callable[[int], bytes]] = {
    "jpeg": lambda way: jpeg(exif(way)),
    "jpeg, XMP first": lambda way: jpeg(ADOBE + b"<x/>", exif(way)),
    "jpeg, an unknown APP1 first": lambda way: jpeg(b"something\0", exif(way)),
    "jpeg, XMP alone": lambda way: jpeg(ADOBE + xmp(way)),
    "jpeg, XMP and EXIF that differ": lambda way: jpeg(exif(way), ADOBE + xmp(9 - way)),
    "jpeg, EXIF in two segments": lambda way: jpeg(exif(way)[:20], b"Exif\0\0" + exif(way)[20:]),
    "jpeg, EXIF in big endian": lambda way: jpeg(big_endian(way)),
    "jpeg, two EXIFs": lambda way: jpeg(exif(way), exif(9 - way)),
    "png, before the picture": lambda way: png(b"eXIf", exif(way)[6:]),
    "png, after the picture": lambda way: png(b"eXIf", exif(way)[6:], is_before=False),
    "png, text": lambda way: png(b"tEXt", b"Raw profile type exif\0" + profile(way)),
    "png, packed text": lambda way: png(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile(way))),
    "png, XMP": lambda way: png(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(way)),
    "webp": lambda way: saved("WEBP", quality=95, exif=exif(way)),
    "webp, lossless": lambda way: saved("WEBP", lossless=True, exif=exif(way)),
    "webp, XMP": lambda way: saved("WEBP", lossless=True, xmp=xmp(way)),
    "gif": lambda way: saved("GIF"),
}  # fmt: skip


def upright(content: bytes) -> torch.Tensor:
    """As Pillow shows it."""
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    return torch.from_numpy(np.array(turned.convert("RGB"))).permute(2, 0, 1)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("way", range(1, 9))
def test_orientation_is_pillows(tmp_path: Path, container: str, way: int) -> None:
    content = CONTAINERS[container](way)
    (tmp_path / "photo").write_bytes(content)
    got, expected = decode_whole(tmp_path / "photo"), upright(content)
    assert got.shape == expected.shape
    assert (got.int() - expected.int()).abs().max() <= (0 if "png" in container or "lossless" in container else 6)


@pytest.mark.parametrize("container", CONTAINERS)
def test_orientations_out_of_range_turn_nothing(tmp_path: Path, container: str) -> None:
    for way in (0, 9):
        (tmp_path / "photo").write_bytes(CONTAINERS[container](way))
        assert decode_whole(tmp_path / "photo").shape == (3, HEIGHT, WIDTH)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_broken_exif_is_read_as_pillow_reads_it_and_costs_nothing(tmp_path: Path, kind: str) -> None:
    rng = random.Random(0)
    turned = 0
    for _ in range(150):
        broken = bytearray(exif(6)[6:])
        for _ in range(rng.choice((1, 2, 6))):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        cut = bytes(broken[: rng.choice((len(broken), rng.randrange(1, len(broken))))])
        content = {
            "jpeg": lambda cut=cut: jpeg(b"Exif\0\0" + cut),
            "png": lambda cut=cut: png(b"eXIf", cut),
            "webp": lambda cut=cut: saved("WEBP", lossless=True, exif=cut),
        }[kind]()
        (tmp_path / "photo").write_bytes(content)
        try:
            expected = upright(content)
        except Exception:  # Pillow gives up on the photo for its EXIF; it is as whole as ever
            expected = torch.from_numpy(np.array(Image.open(io.BytesIO(content)).convert("RGB"))).permute(2, 0, 1)
        assert decode_whole(tmp_path / "photo").shape == expected.shape
        turned += expected.shape != (3, HEIGHT, WIDTH)
    assert 10 < turned < 140


def test_photos_that_torchvision_alone_left_lying_are_told(tmp_path: Path) -> None:
    seen_before = {"jpeg", "jpeg, XMP and EXIF that differ", "jpeg, EXIF in big endian", "png, before the picture"}
    names = [name for name in CONTAINERS if name not in ("gif", "jpeg, EXIF in two segments", "jpeg, two EXIFs")]
    for name in names:
        (tmp_path / name).write_bytes(CONTAINERS[name](6))
    decoded = decode_all(tmp_path, names, (8, 8), (1.0, 1.0), np.zeros((len(names), 3, 8, 8), np.uint8))
    assert decoded.unreadable == []
    assert set(decoded.turned_anew) == set(names) - seen_before
