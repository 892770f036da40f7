"""Thousands of damaged photos of every format: does one of them end the process, or take its memory?

    python benchmarks/damaged.py --photos 2000

Every photo is decoded by a child that says what has become of it; where the child dies, another goes on after it. What
was refused must be what ``decode_all`` names, and the report must get by without a picture of it.
"""

import argparse
import io
import random
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

CHILD = """
import resource, sys
from pathlib import Path
from maskcls.images.decode import decode_photo
for name in sys.stdin.read().splitlines():
    print("at", name, flush=True)
    try:
        decode_photo(Path(name), (64, 64))
        print("read", flush=True)
    except (OSError, ValueError, RuntimeError) as error:
        print("refused", " ".join(str(error).split())[:60], flush=True)
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)
"""

Damage = Callable[[bytearray, random.Random], bytes]


def originals() -> list[tuple[str, bytes]]:
    """(file ending, contents) of whole photos: every way of coding that may lie in a folder, and other formats."""
    y, x = np.mgrid[0:90, 0:70]
    noise = np.random.default_rng(0).integers(0, 40, (90, 70, 3))
    rgb = Image.fromarray((np.stack([y * 2, x * 3, y + x], 2) + noise).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    jpegs = [(rgb, {}), (rgb, {"progressive": True}), (rgb, {"exif": exif}), (rgb, {"restart_marker_rows": 1}),
             (rgb.convert("L"), {}), (rgb.convert("CMYK"), {})]  # fmt: skip
    pngs = [(rgb, {}), (rgb.convert("L"), {}), (rgb.convert("RGBA"), {"exif": exif}), (rgb.convert("LA"), {}),
            (rgb.quantize(200), {}), (rgb.quantize(9), {}), (rgb.convert("1"), {}), (deep, {})]  # fmt: skip
    webps = [(rgb, {}), (rgb, {"lossless": True}), (rgb.convert("RGBA"), {"exif": exif})]
    tiffs = [(rgb, {}), (rgb, {"compression": "tiff_lzw"}), (rgb, {"compression": "tiff_adobe_deflate"}),
             (rgb, {"compression": "packbits", "tiffinfo": {0x0112: 6}}), (rgb, {"compression": "jpeg"}),
             (deep, {}), (deep, {"compression": "tiff_lzw"}), (rgb.convert("RGBA"), {}), (rgb.convert("CMYK"), {}),
             (rgb.quantize(200), {}), (rgb.convert("1"), {"compression": "group4"})]  # fmt: skip
    bmps = [
        (rgb, {}),
        (rgb.convert("L"), {}),
        (rgb.quantize(200), {}),
        (rgb.convert("1"), {}),
        (rgb.convert("RGBA"), {}),
    ]
    gifs = [(rgb.quantize(256), {}), (rgb.quantize(12), {"interlace": 0}), (rgb.quantize(40), {"transparency": 1})]
    made = [
        (ending, _save(image, name, **options))
        for ending, name, kinds in (
            (".jpg", "JPEG", jpegs),
            (".png", "PNG", pngs),
            (".webp", "WEBP", webps),
            (".gif", "GIF", gifs),
            (".tif", "TIFF", tiffs),
            (".bmp", "BMP", bmps),
        )
        for image, options in kinds
    ]
    return [*made, (".png", _interlaced(np.asarray(rgb))), (".webp", _save(rgb, "ICO"))]


def _save(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)  # type: ignore[arg-type]
    return file.getvalue()


def _interlaced(image_HWC: np.ndarray) -> bytes:
    """An Adam7 PNG, which Pillow does not write."""
    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = [b"\0" + row.tobytes() for x, y, dx, dy in steps for row in image_HWC[y::dy, x::dx]]
    height, width = image_HWC.shape[:2]
    start = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    return _png([(b"IHDR", start), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")])


# --- damages ----------------------------------------------------------------------------------------------------------


def flip(data: bytearray, rng: random.Random) -> bytes:
    """A few bits, anywhere."""
    for _ in range(rng.choice((1, 1, 3, 20))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def flip_head(data: bytearray, rng: random.Random) -> bytes:
    """Bytes among the first two hundred, where the headers are."""
    for _ in range(rng.choice((1, 2, 5))):
        data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
    return bytes(data)


def cut(data: bytearray, rng: random.Random) -> bytes:
    """The end is missing."""
    return bytes(data[: rng.randrange(len(data))])


def zeros(data: bytearray, rng: random.Random) -> bytes:
    """A stretch was never written."""
    at, length = rng.randrange(len(data)), rng.choice((16, 512, 4096))
    data[at : at + length] = bytes(len(data[at : at + length]))
    return bytes(data)


def splice(data: bytearray, rng: random.Random) -> bytes:
    """A stretch is doubled or gone."""
    at, length = rng.randrange(len(data)), rng.choice((1, 7, 300))
    return bytes(data[:at] + data[max(0, at - length) :] if rng.random() < 0.5 else data[:at] + data[at + length :])


def lie(data: bytearray, rng: random.Random) -> bytes:
    """The header says another size, some of them huge; checksums are right."""
    width, height = rng.choice(((71, 90), (70, 91), (7000, 9000), (60000, 60000), (0, 90), (65535, 1), (2**31 - 1, 2)))
    if data.startswith(b"\x89PNG"):
        chunks = _chunks(bytes(data))
        chunks[0] = (b"IHDR", struct.pack(">II", width, height) + chunks[0][1][8:])
        return _png(chunks)
    small = struct.pack("<HH", width & 0x3FFF, height & 0x3FFF)
    if data.startswith(b"GIF"):
        at = rng.choice((6, data.index(b",", 13) + 5))
        data[at : at + 4] = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
    elif data[8:12] == b"WEBP":
        data[26:30] = small
    elif data.startswith(b"BM"):
        data[18:26] = struct.pack("<II", width & 0xFFFFFFFF, height & 0xFFFFFFFF)
    elif data.startswith(b"II*"):
        _set_tags(data, {256: width & 0xFFFFFFFF, 257: height & 0xFFFFFFFF})
    elif (at := max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))) > 0:
        data[at + 5 : at + 9] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    return bytes(data)


def shuffle(data: bytearray, rng: random.Random) -> bytes:
    """PNG: chunks in another order, doubled, left out, renamed or changed inside, with right checksums. TIFF: a tag."""
    if data.startswith(b"II*"):
        values = (0, 1, 2, 3, 5, 6, 7, 8, 12, 16, 32, 90, 1000, len(data), 2**31, rng.randrange(2**32))
        tags = (254, *range(256, 260), 262, 266, 273, 274, 277, 278, 279, 284, 317, 322, 323, 338, 339, 530)
        _set_tags(data, {rng.choice(tags): rng.choice(values)})
        return bytes(data)
    if not data.startswith(b"\x89PNG"):
        return splice(data, rng)
    chunks = [part for name, body in _chunks(bytes(data)) for part in _halves(name, body)]
    at, other = rng.randrange(len(chunks)), rng.randrange(len(chunks))
    name, body = chunks[at]
    way = rng.randrange(6)
    if way == 0:
        chunks[at], chunks[other] = chunks[other], chunks[at]
    elif way == 1:
        chunks.insert(other, chunks[at])
    elif way == 2:
        del chunks[at]
    elif way == 3:
        chunks[at] = (rng.choice((b"tEXt", b"tRNS", b"PLTE", b"eXIf", b"IDAT", b"ABCD")), body)
    elif way == 4:
        chunks.insert(
            other, (rng.choice((b"eXIf", b"zTXt", b"iCCP", b"tRNS", b"acTL")), rng.randbytes(rng.randrange(40)))
        )
    else:
        chunks[at] = (name, flip(bytearray(body or b"x"), rng))
    return _png(chunks)


def rows(data: bytearray, rng: random.Random) -> bytes:
    """PNG: other rows than its header says, or unknown filters, packed as they should be. GIF: a shorter palette."""
    if data.startswith(b"GIF"):
        data[10] = data[10] & 0xF8 | rng.randrange(2)
        return bytes(data)
    if not data.startswith(b"\x89PNG"):
        return zeros(data, rng)
    chunks = _chunks(bytes(data))
    raw = bytearray(zlib.decompress(b"".join(body for name, body in chunks if name == b"IDAT")))
    way = rng.randrange(3)
    if way == 0:
        raw = raw[: rng.randrange(len(raw))]
    elif way == 1:
        raw = bytearray(rng.randbytes(len(raw)))
    else:
        raw += bytes(rng.choice((1, 10**6, 2 * 10**7)))
    packed = (b"IDAT", zlib.compress(bytes(raw), 1))
    return _png([*(chunk for chunk in chunks if chunk[0] not in (b"IDAT", b"IEND")), packed, (b"IEND", b"")])


DAMAGES: tuple[Damage, ...] = (flip, flip_head, cut, zeros, splice, lie, shuffle, rows)


def _set_tags(data: bytearray, value_by_tag: dict[int, int]) -> None:
    """Overwrite tags of the first page of a little-endian TIFF, or the pointers to those that hold several numbers."""
    at = int.from_bytes(data[4:8], "little")
    for entry in range(at + 2, at + 2 + 12 * int.from_bytes(data[at : at + 2], "little"), 12):
        tag = int.from_bytes(data[entry : entry + 2], "little")
        if tag in value_by_tag:
            length = 2 if data[entry + 2] == 3 and data[entry + 4] == 1 else 4
            data[entry + 8 : entry + 8 + length] = (value_by_tag[tag] & 256**length - 1).to_bytes(length, "little")


def _halves(name: bytes, body: bytes) -> list[tuple[bytes, bytes]]:
    """IDAT as two chunks, as it often is."""
    return [(name, body)] if name != b"IDAT" else [(name, body[: len(body) // 2]), (name, body[len(body) // 2 :])]


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return b"".join([b"\x89PNG\r\n\x1a\n", *parts])


# --- what becomes of them ---------------------------------------------------------------------------------------------


def write_damaged(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """``count`` damaged photos, every format and damage in turn; named by number, damage and ending."""
    rng, whole = random.Random(seed), originals()
    paths = []
    for number in range(count):
        ending, content = whole[number % len(whole)]
        damage = DAMAGES[number // len(whole) % len(DAMAGES)]
        paths.append(folder / f"{number:05d}-{damage.__name__}{ending}")
        paths[-1].write_bytes(damage(bytearray(content), rng))
    return paths


def decode_in_children(paths: list[Path]) -> Iterator[tuple[Path | None, str]]:
    """(photo, what became of it: read, refused and why, died) and at each child's end (None, its peak in MiB)."""
    left = list(paths)
    while left:
        child = subprocess.run(
            [sys.executable, "-c", CHILD], input="\n".join(map(str, left)), capture_output=True, text=True, check=False
        )
        lines = child.stdout.splitlines()
        begun = [place for place, line in enumerate(lines) if line.startswith("at ")]
        for path, place in zip(left, begun, strict=False):
            is_told = place + 1 < len(lines) and not lines[place + 1].startswith("at ")
            yield path, lines[place + 1] if is_told else f"died {child.returncode}"
        if lines and lines[-1].startswith("peak"):
            yield None, lines[-1].split()[1]
        left = left[max(1, len(begun)) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        paths = write_damaged(Path(name), options.photos, options.seed)
        began = time.perf_counter()
        became = list(decode_in_children(paths))
        seconds = time.perf_counter() - began
        fates = {path: fate for path, fate in became if path is not None}
        counts = Counter((path.name.split("-")[1].split(".")[0], fate.split()[0]) for path, fate in fates.items())
        for damage in DAMAGES:
            told = [counts[damage.__name__, fate] for fate in ("read", "refused", "died")]
            print(f"{damage.__name__:10s} read {told[0]:4d}  refused {told[1]:4d}  died {told[2]:4d}")
        peak = max((int(fate) for path, fate in became if path is None), default=0)
        print(f"{len(paths)} photos, {seconds:.0f} s, peak of a process {peak} MiB")
        _check_named(Path(name), {path.name for path, fate in fates.items() if fate.startswith("refused")})


def _check_named(folder: Path, refused: set[str]) -> None:
    """decode_all must name the very same, each with a reason, and the gallery must go on without them."""
    from maskcls.images.decode import decode_all
    from search.page.gallery import thumbnail

    names = sorted(path.name for path in folder.iterdir())
    unreadable = decode_all(folder, names, (64, 64), (1.0, 1.0), np.zeros((len(names), 3, 64, 64), np.uint8)).unreadable
    assert {photo.path for photo in unreadable} == refused
    assert all(photo.reason and photo.is_damaged for photo in unreadable)
    assert all(thumbnail(folder / name)[1] for name in refused)
    print(f"all {len(refused)} that were refused are named, with {len({p.reason for p in unreadable})} reasons")


if __name__ == "__main__":
    main()
