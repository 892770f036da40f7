"""No damaged photo ends the process or is taken for a whole one, and none costs more memory than its pixels."""

import io
import struct
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
from damaged import decode_in_children, write_damaged

from maskcls.images import decode
from maskcls.images.decode import decode_all, decode_whole
from maskcls.images.headers import MAX_PIXELS, DamagedError

RGB = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)


def test_a_sample_of_the_benchmark(tmp_path: Path) -> None:
    paths = write_damaged(tmp_path, 8 * 38)
    fates = {path.name: fate for path, fate in decode_in_children(paths) if path is not None}
    assert not [name for name, fate in fates.items() if fate.startswith("died")]
    refused = {name for name, fate in fates.items() if fate.startswith("refused")}
    names = [path.name for path in paths]
    unreadable = decode_all(tmp_path, names, (8, 8), (1.0, 1.0), np.zeros((len(names), 3, 8, 8), np.uint8)).unreadable
    assert {photo.path for photo in unreadable} == refused
    assert all(photo.reason and photo.is_damaged for photo in unreadable)
    assert 150 < len(refused) < 240


def png(kind: int, depth: int, rows: bytes, palette: bytes = b"", **changes: bytes) -> bytes:
    """A PNG of 20 x 30 pixels with these rows; ``changes`` replace chunks."""
    chunks = {"IHDR": struct.pack(">IIBBBBB", 20, 30, depth, kind, 0, 0, 0)}
    if palette:
        chunks["PLTE"] = palette
    return assembled({**chunks, "IDAT": zlib.compress(rows), "IEND": b"", **changes})


def assembled(chunks: dict[str, bytes]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, body in chunks.items():
        named = name.encode() + body
        parts.append(struct.pack(">I", len(body)) + named + struct.pack(">I", zlib.crc32(named)))
    return b"".join(parts)


ROWS = b"".join(b"\0" + row.tobytes() for row in RGB)
GREY = b"".join(b"\0" + row[:, 0].tobytes() for row in RGB)


HEAD = png(2, 8, ROWS)[16:29]
TOO_MANY = "more than the 250 million"


def head(width: int, height: int) -> bytes:
    return struct.pack(">II", width, height) + HEAD[8:]


def gif(**options: object) -> bytearray:
    file = io.BytesIO()
    Image.fromarray(RGB).quantize(16).save(file, "GIF", **options)  # type: ignore[arg-type]
    return bytearray(file.getvalue())


def gif_with(place: int, value: bytes) -> bytes:
    """A GIF whose frame's descriptor has these bytes at this place."""
    content = gif()
    at = content.index(b",\0\0\0\0")
    content[at + place : at + place + len(value)] = value
    return bytes(content)


def animated(format: str) -> bytes:
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    file = io.BytesIO()
    frames[0].save(file, format, save_all=True, append_images=frames[1:], lossless=True)
    return file.getvalue()


DAMAGED: dict[str, Callable[[], tuple[bytes, str]]] = {
    "half of the rows": lambda: (png(2, 8, ROWS[: len(ROWS) // 2]), "lacks rows"),
    "one byte too few": lambda: (png(2, 8, ROWS[:-1]), "lacks rows"),
    "an unknown filter": lambda: (png(2, 8, b"\7" + ROWS[1:]), "rows are damaged"),
    "a wrong checksum of the rows": lambda: (png(2, 8, ROWS, IDAT=zlib.compress(ROWS)[:-1] + b"?"), "is damaged"),
    "zeros for rows": lambda: (png(2, 8, ROWS, IDAT=bytes(500)), "is damaged"),
    "no rows at all": lambda: (png(2, 8, ROWS, IDAT=b""), "lacks rows"),
    "no palette": lambda: (png(3, 8, GREY), "palette"),
    "a palette too short": lambda: (png(3, 8, GREY, bytes(30)), "palette lacks colours"),
    "a colour type that is none": lambda: (png(5, 8, ROWS), "header"),
    "a bit depth that is none": lambda: (png(2, 4, ROWS), "header"),
    "an unknown chunk that must be known": lambda: (assembled({"IHDR": HEAD, "ABCD": b""}), "unknown critical chunk"),
    "the end before the picture": lambda: (assembled({"IHDR": HEAD, "IEND": b""}), "out of order"),
    "a header alone": lambda: (png(2, 8, ROWS)[:33], "cut short"),
    "a signature alone": lambda: (png(2, 8, ROWS)[:8], "cut short"),
    "a huge PNG": lambda: (png(2, 8, ROWS, IHDR=head(60000, 60000)), TOO_MANY),
    "a huge JPEG": lambda: (
        b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 65000, 65000) + b"\3\1\x22\0\2\x11\1\3\x11\1", TOO_MANY
    ),
    "a huge WebP": lambda: (b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\0" * 2 + bytes(8), TOO_MANY),
    "a huge GIF": lambda: (bytes(gif()[:6] + b"\xff\xff\xff\xff" + gif()[10:]), TOO_MANY),
    "no pixels": lambda: (png(2, 8, ROWS, IHDR=head(0, 30)), "0 x 30"),
    "a frame beside its canvas": lambda: (gif_with(1, b"\5\0"), "exceeds its canvas"),
    "a frame without pixels": lambda: (gif_with(5, b"\0\0"), "exceeds its canvas"),
    "a GIF without palette": lambda: (bytes(gif()[:10] + b"\0" + gif()[11:13] + gif()[13 + 48 :]), "palette"),
    "a GIF with two colours of its sixteen": lambda: (
        bytes(gif()[:10] + b"\x80" + gif()[11:13] + gif()[13:19] + gif()[13 + 48 :]), "palette lacks colours"
    ),
    "a GIF without its end": lambda: (bytes(gif()[:-1]), "cut short"),
    "an animated GIF": lambda: (animated("GIF"), "an animation"),
    "an animated WebP": lambda: (animated("WEBP"), "an animation"),
    "nothing": lambda: (b"", "empty"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_named(tmp_path: Path, kind: str) -> None:
    content, reason = DAMAGED[kind]()
    (tmp_path / "photo").write_bytes(content)
    with pytest.raises(DamagedError, match=reason):
        decode_whole(tmp_path / "photo")


def with_chunk(name: str, body: bytes) -> bytes:
    return assembled({"IHDR": HEAD, name: body, "IDAT": zlib.compress(ROWS), "IEND": b""})


WHOLE: dict[str, Callable[[], bytes]] = {
    "rows and more": lambda: png(2, 8, ROWS + bytes(99)),
    "no end": lambda: png(2, 8, ROWS)[:-12],
    "half an end": lambda: png(2, 8, ROWS)[:-5],
    "garbage after the picture": lambda: png(2, 8, ROWS) + b"garbage",
    "a damaged text": lambda: png(2, 8, ROWS)[:33] + b"\0\0\0\4tEXtabcd????" + png(2, 8, ROWS)[33:],
    "EXIF that is none": lambda: with_chunk("eXIf", b"garbage"),
    "an endless text": lambda: with_chunk("zTXt", b"a\0\0" + zlib.compress(bytes(10**8))),
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
def test_what_does_not_touch_the_picture_costs_nothing(tmp_path: Path, kind: str) -> None:
    (tmp_path / "photo").write_bytes(WHOLE[kind]())
    assert torch.equal(decode_whole(tmp_path / "photo"), torch.from_numpy(RGB).permute(2, 0, 1))


def test_a_still_picture_of_an_animated_png_is_read(tmp_path: Path) -> None:
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    frames[0].save(tmp_path / "photo", "PNG", save_all=True, append_images=frames[1:])
    assert torch.equal(decode_whole(tmp_path / "photo"), torch.from_numpy(RGB).permute(2, 0, 1))


def test_frames_are_drawn_on_the_background_and_transparent_pixels_are_not(tmp_path: Path) -> None:
    content = bytearray(gif(transparency=3, background=5))
    at = content.index(b",\0\0\0\0")
    content[6:10] = struct.pack("<HH", 24, 33)  # a larger canvas
    content[at + 1 : at + 5] = struct.pack("<HH", 2, 1)
    (tmp_path / "photo").write_bytes(bytes(content))
    palette = np.frombuffer(bytes(content[13:61]), np.uint8).reshape(16, 3)
    index = np.asarray(Image.fromarray(RGB).quantize(16))
    expected = np.broadcast_to(palette[5], (33, 24, 3)).copy()
    colours = np.asarray(Image.open(io.BytesIO(bytes(gif()))).convert("RGB"))
    expected[1:31, 2:22] = np.where((index == 3)[..., None], palette[5], colours)
    assert torch.equal(decode_whole(tmp_path / "photo"), torch.from_numpy(expected).permute(2, 0, 1))


def test_large_photos_wait_for_each_other() -> None:
    room = decode._Room()
    order: list[str] = []

    def second() -> None:
        with room.reserve(MAX_PIXELS):
            order.append("second")

    thread = threading.Thread(target=second)
    with room.reserve(1):
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert room.free == MAX_PIXELS
