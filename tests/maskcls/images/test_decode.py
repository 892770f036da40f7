"""Decoded photos against Pillow; every kind of file that a folder may hold; what cannot be read."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskcls.images.decode import Unreadable, check_opened, decode_all, decode_photo, unreadable_error
from maskcls.images.headers import DamagedError
from maskcls.system.errors import UserError
from tests.helpers.training import save_photo

HEIGHT, WIDTH = 60, 48


def smooth_photo(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """uint8 RGB without sharp edges, which JPEG keeps well, and without symmetry."""
    row, column = np.mgrid[0:height, 0:width]
    red = 255 * row / height
    green = 255 * column / width
    blue = 127 + 100 * np.sin(row / 9 + column / 5)
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


def as_chw(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def assert_near(got: torch.Tensor, expected: torch.Tensor, most: int) -> None:
    assert got.dtype == torch.uint8
    assert got.shape == expected.shape
    assert (got.int() - expected.int()).abs().max() <= most


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg"])
@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (24, 24), (17, 40), (120, 96)])
def test_pixels_equal_pillows_antialiased_resize(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    path = tmp_path / name
    save_photo(path, smooth_photo())
    expected = Image.open(path).convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
    assert_near(decode_photo(path, size), as_chw(expected), most=2)


def test_shrinking_averages_instead_of_skipping_pixels(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    save_photo(tmp_path / "photo.png", stripes)
    inner = decode_photo(tmp_path / "photo.png", (8, 8))[:, :, 1:-1].int()
    assert ((inner - 127).abs() <= 8).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1", "CMYK"])
def test_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    photo = Image.fromarray(smooth_photo()).convert("L" if mode in ("L", "LA", "1") else "RGB").convert(mode)
    path = tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png")
    photo.save(path, quality=95)
    expected = as_chw(Image.open(path))
    # Pillow and libjpeg come from CMYK to RGB on ways that differ by rounding
    assert_near(decode_photo(path, (HEIGHT, WIDTH)), expected, most=3 if mode == "CMYK" else 0)


def test_grey_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.fromarray(smooth_photo()).convert("L").save(tmp_path / "photo.jpg", quality=95)
    assert_near(decode_photo(tmp_path / "photo.jpg", (HEIGHT, WIDTH)), as_chw(Image.open(tmp_path / "photo.jpg")), 1)


def test_png_of_16_bits_keeps_its_brightness(tmp_path: Path) -> None:
    grey = smooth_photo()[..., 1]
    both_bytes = grey.astype(np.uint16) * 256 + (255 - grey)  # the low one must not be taken for the photo
    Image.fromarray(both_bytes).save(tmp_path / "photo.png")
    expected = torch.from_numpy(grey).expand(3, HEIGHT, WIDTH)
    assert_near(decode_photo(tmp_path / "photo.png", (HEIGHT, WIDTH)), expected, most=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(smooth_photo()).save(tmp_path / "photo.jpg", quality=95, exif=exif)
    stored = Image.open(tmp_path / "photo.jpg").convert("RGB")
    ways = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    transposed = stored.transpose(Image.Transpose(ways[orientation])) if orientation > 1 else stored
    expected = as_chw(transposed)
    assert_near(decode_photo(tmp_path / "photo.jpg", tuple(expected.shape[1:])), expected, most=2)


def test_crop_keeps_the_centre(tmp_path: Path) -> None:
    save_photo(tmp_path / "photo.png", smooth_photo())
    got = decode_photo(tmp_path / "photo.png", (30, 36), crop=(0.5, 0.75))
    assert torch.equal(got, torch.from_numpy(smooth_photo()[15:45, 6:42].transpose(2, 0, 1)))


def test_crop_is_of_the_upright_photo(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lying on its side
    Image.fromarray(smooth_photo()).save(tmp_path / "photo.jpg", quality=95, exif=exif)
    upright = Image.open(tmp_path / "photo.jpg").convert("RGB").transpose(Image.Transpose.ROTATE_270)
    expected = as_chw(upright.crop((15, 0, 45, WIDTH)))  # half of the width of 60
    assert_near(decode_photo(tmp_path / "photo.jpg", (WIDTH, 30), crop=(1.0, 0.5)), expected, most=2)


def test_smallest_crop_of_the_smallest_photo_is_one_pixel(tmp_path: Path) -> None:
    save_photo(tmp_path / "photo.png", np.full((1, 2, 3), 77, np.uint8))
    assert decode_photo(tmp_path / "photo.png", (16, 16), crop=(0.01, 0.01)).unique().tolist() == [77]


def broken_files(folder: Path) -> list[str]:
    """Writes one of each kind that cannot be read, and returns their names."""
    save_photo(folder / "whole.jpg", smooth_photo())
    save_photo(folder / "whole.png", smooth_photo())
    for name in ("whole.jpg", "whole.png"):
        content = (folder / name).read_bytes()
        (folder / f"half-{name}").write_bytes(content[: len(content) // 2])
        (folder / f"head-{name}").write_bytes(content[:30])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("this is no photo\n" * 40)
    (folder / "folder.jpg").mkdir()
    frames = [Image.fromarray(smooth_photo()).convert("P"), Image.fromarray(255 - smooth_photo()).convert("P")]
    frames[0].save(folder / "animation.gif", save_all=True, append_images=frames[1:])
    return ["half-whole.jpg", "head-whole.jpg", "half-whole.png", "head-whole.png", "empty.jpg", "text.jpg",
            "folder.jpg", "animation.gif", "absent.jpg"]  # fmt: skip


def test_all_that_cannot_be_read_is_listed_and_the_rest_decoded(tmp_path: Path) -> None:
    broken = broken_files(tmp_path)
    paths = ["whole.png", *broken, "whole.jpg"]
    out_NCHW = np.zeros((len(paths), 3, 20, 16), np.uint8)
    ticks: list[None] = []
    unreadable = decode_all(tmp_path, paths, (20, 16), (1.0, 1.0), out_NCHW, lambda: ticks.append(None)).unreadable
    assert [photo.path for photo in unreadable] == broken
    assert all(photo.reason for photo in unreadable)
    assert [photo.path for photo in unreadable if not photo.is_damaged] == ["folder.jpg", "absent.jpg"]
    assert len(ticks) == len(paths)
    assert not out_NCHW[1:-1].any()
    for row, name in ((0, "whole.png"), (-1, "whole.jpg")):
        assert (out_NCHW[row] == decode_photo(tmp_path / name, (20, 16)).numpy()).all()


def test_error_counts_all_of_them_and_names_twenty_with_the_reason() -> None:
    photos = [Unreadable(f"photo{number:02d}.jpg", "cut short", is_damaged=True) for number in range(23)]
    text = str(unreadable_error(Path("photos"), photos, "Replace them."))
    assert text.startswith("23 photos in photos cannot be read: photo00.jpg (cut short), photo01.jpg")
    assert "photo19.jpg (cut short) and 3 more. Replace them." in text
    assert "photo20" not in text


def test_photos_that_could_not_be_opened_are_no_damaged_ones(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("this is no photo")
    paths = ["absent.jpg", "text.jpg"]
    unreadable = decode_all(tmp_path, paths, (8, 8), (1.0, 1.0), np.zeros((2, 3, 8, 8), np.uint8)).unreadable
    with pytest.raises(UserError, match=r"1 photo in .* could not be opened: absent.jpg \(No such file or directory\)"):
        check_opened(tmp_path, unreadable)
    check_opened(tmp_path, unreadable[1:])


def test_memory_that_runs_out_is_not_the_photos_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_photo(tmp_path / "photo.jpg", smooth_photo())

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr("maskcls.images.decode.decode_image", full)
    decoded = decode_all(tmp_path, ["photo.jpg"], (8, 8), (1.0, 1.0), np.zeros((1, 3, 8, 8), np.uint8))
    assert decoded.unreadable == [Unreadable("photo.jpg", "not enough memory", is_damaged=False)]


def damaged_inside(content: bytes) -> bytes:
    """A JPEG whose coded picture ends early: libjpeg fills up with grey, and prints a line."""
    return content[: len(content) // 2] + b"\xff\xd9"


def test_photos_that_the_decoder_murmurs_about_are_read_and_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = [f"{number:02d}.jpg" for number in range(24)]
    for name in names:
        save_photo(tmp_path / name, smooth_photo())
    for name in (names[5], names[17]):
        (tmp_path / name).write_bytes(damaged_inside((tmp_path / name).read_bytes()))

    def tick() -> None:
        print("of somebody else", file=sys.stderr, flush=True)

    decoded = decode_all(tmp_path, names, (8, 8), (1.0, 1.0), np.zeros((24, 3, 8, 8), np.uint8), tick)
    assert decoded.unreadable == []
    assert list(decoded.odd) == [names[5], names[17]]
    assert all("Corrupt JPEG data" in text for text in decoded.odd.values())
    assert capfd.readouterr().err == "of somebody else\n" * 24


def test_decoding_needs_no_standard_error(tmp_path: Path) -> None:
    save_photo(tmp_path / "photo.jpg", smooth_photo())
    program = (
        "import os, sys; from pathlib import Path; import numpy as np; from maskcls.images.decode import decode_all;"
        "from maskcls.data.dataset import progress_bar; sys.stderr = None; os.close(2);"
        "d = decode_all(Path(sys.argv[1]), ['photo.jpg'], (8, 8), (1., 1.), np.zeros((1, 3, 8, 8), np.uint8));"
        "progress_bar('x', 1).__enter__()(); print(d.unreadable, d.odd)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] {}"


OTHERS = {
    "AVIF": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "a video": b"\0\0\0\x18ftypmp42\0\0\0\0isom",
    "a camera's raw file": b"IIU\0\x08\0\0\0",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "JPEG XL": b"\xff\x0a\x00",
    "SVG": b"<svg xmlns=",
    "a web page": b"\n<!DOCTYPE html><html>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1",
    "no picture": b"once upon a time",
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_named_with_a_list_of_what_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(OTHERS[name] + bytes(64))
    with pytest.raises(DamagedError, match=f"^{name}.*; JPEG, PNG, WebP, GIF, TIFF and BMP are read"):
        decode_photo(tmp_path / "photo.jpg", (8, 8))


def test_decoding_leaves_the_number_of_threads_alone(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    save_photo(tmp_path / "photo.png", smooth_photo())
    decode_all(tmp_path, ["photo.png"], (16, 16), (1.0, 1.0), np.zeros((1, 3, 16, 16), np.uint8))
    assert torch.get_num_threads() == 2
