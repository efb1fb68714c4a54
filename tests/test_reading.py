import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from genau.errors import ImageError, UsageError
from genau.reading import ImageSource, read_mask, read_picture

# The stored pixels of every picture here are 2 x 3 or 4 x 6: never square.
RAMP16 = np.linspace(0, 65535, 24).astype(np.uint16).reshape(4, 6)
RAMP8 = np.round(RAMP16 / 257).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(tag: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


def png(pixels: bytes, height: int, width: int, depth: int, colour: int) -> bytes:
    """Write a PNG of any bit depth and colour type; Pillow writes only some."""
    row = len(pixels) // height
    raw = b"".join(b"\0" + pixels[y * row : (y + 1) * row] for y in range(height if row else 0))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(raw)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(values: NDArray[Any], sample_format: int = 1, photometric: int = 1) -> bytes:
    """Write an uncompressed grey TIFF of any depth."""
    data = values.tobytes()
    (height, width), bits = values.shape, values.itemsize * 8
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height}
    tags |= {279: len(data), 339: sample_format}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II\x2a\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + b"\0" * 4


def grey(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    assert (rgb == rgb[..., :1]).all()
    return rgb[..., 0]


def oriented(orientation: int, kind: str) -> tuple[bytes, NDArray[np.uint8]]:
    stored = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10)
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(stored, kind, exif=exif)
    with Image.open(io.BytesIO(data)) as again:
        return data, np.asarray(ImageOps.exif_transpose(again))


# ---- 8 bit


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP", "PPM", "JPEG2000"])
def test_colours_come_back_from_every_lossless_format(kind: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    options = {"lossless": True} if kind == "WEBP" else {"irreversible": False} if kind == "JPEG2000" else {}
    picture = read_picture(encoded(Image.fromarray(rgb), kind, **options))
    np.testing.assert_array_equal(picture.rgb, rgb)
    assert picture.rgb.flags.writeable
    assert (picture.height, picture.width) == (20, 30)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    image = Image.new("RGB", (4, 2), (255, 255, 255)).convert(mode)
    # Pillow 11.0 does not read back the YCbCr TIFF that it writes: that mode goes in as an image
    sources: list[ImageSource] = [image] if mode == "YCbCr" else [image, encoded(image, "TIFF")]
    for source in sources:
        rgb = read_picture(source).rgb
        assert rgb.shape == (2, 4, 3)
        assert rgb.min() >= 254
    red = read_picture(encoded(Image.new("RGB", (3, 2), (255, 0, 0)).convert("CMYK"), "JPEG", quality=100)).rgb[0, 0]
    assert red[0] > 250
    assert red[1] < 5


def test_the_colour_hidden_under_alpha_is_not_shown() -> None:
    hidden = Image.new("RGBA", (3, 2), (200, 0, 0, 0))
    hidden.putpixel((1, 0), (0, 0, 0, 128))
    rgb = read_picture(encoded(hidden)).rgb
    assert rgb[1, 2].tolist() == [255, 255, 255]
    assert rgb[0, 1].tolist() == [127, 127, 127]
    assert read_picture(encoded(Image.new("LA", (3, 2), (9, 0)))).rgb.min() == 255


def test_transparent_palette_entries_and_key_colours_are_white() -> None:
    palette = Image.new("P", (3, 2), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert read_picture(encoded(palette)).rgb[0, 0].tolist() == [10, 20, 30]
    assert read_picture(encoded(palette, transparency=1)).rgb.min() == 255
    assert read_picture(encoded(Image.new("L", (3, 2), 7), transparency=7)).rgb.min() == 255


# ---- more than 8 bit


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.fromarray(RAMP16)),
        tiff(RAMP16),
        tiff(RAMP16.astype(np.int32), sample_format=2),
        tiff((RAMP16 / 65535).astype(np.float32), sample_format=3),
        tiff((65535 - RAMP16).astype(np.uint16), photometric=0),
        b"P5 6 4 65535\n" + RAMP16.astype(">u2").tobytes(),
    ],
    ids=["png", "tiff", "tiff-int32", "tiff-float", "tiff-white-is-zero", "pgm"],
)
def test_a_deep_grey_ramp_keeps_its_steps(data: bytes) -> None:
    np.testing.assert_array_equal(grey(read_picture(data).rgb), RAMP8)


def test_the_scale_does_not_depend_on_the_content() -> None:
    dark = (RAMP16 // 16).astype(np.uint16)  # 12 bits in 16
    assert read_picture(tiff(dark)).rgb.max() == 16
    np.testing.assert_allclose(grey(read_picture(tiff(dark), bit_depth=12).rgb).astype(int), RAMP8, atol=1)
    with pytest.raises(
        ImageError, match=r"values from 0 to 65535, but bit_depth=12 allows 0 to 4095\. Name the camera"
    ):
        read_picture(tiff(RAMP16), bit_depth=12)
    with pytest.raises(UsageError, match="bit_depth=7 must be between 8 and 32"):
        read_picture(tiff(RAMP16), bit_depth=7)


def test_bit_depth_leaves_8_bit_pictures_alone() -> None:
    np.testing.assert_array_equal(grey(read_picture(encoded(Image.fromarray(RAMP8)), bit_depth=12).rgb), RAMP8)


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4)])
def test_16_bit_colour_is_read_to_its_upper_8_bits_and_refuses_a_bit_depth(colour: int, channels: int) -> None:
    deep = np.repeat(RAMP16[..., None], channels, axis=2)
    if channels == 4:
        deep[..., 3] = 65535
    data = png(deep.astype(">u2").tobytes(), 4, 6, 16, colour)
    np.testing.assert_array_equal(grey(read_picture(data).rgb), RAMP16 >> 8)
    with pytest.raises(ImageError, match=r"16-bit colour file.*upper 8 bits.*pass a uint16 array"):
        read_picture(data, bit_depth=12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1.5, -0.5])
def test_floats_outside_0_to_1_are_refused(bad: float) -> None:
    values = np.full((2, 3), 0.5, np.float32)
    values[1, 1] = bad
    for source in (tiff(values, sample_format=3), values):
        with pytest.raises(ImageError, match=r"it allows 0 to 1.*scale the values"):
            read_picture(source)


# ---- arrays and Pillow images


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3), (4, 6, 4)])
def test_arrays_of_every_kind_become_rgb(shape: tuple[int, ...]) -> None:
    unit = np.broadcast_to(RAMP16.reshape(4, 6, *[1] * (len(shape) - 2)) / 65535, shape).copy()
    if shape[-1] == 4:
        unit[..., 3] = 1
    for array in (unit, unit.astype(np.float32), np.round(unit * 65535).astype(np.uint16)):
        np.testing.assert_array_equal(grey(read_picture(array).rgb), RAMP8)
    eight = np.round(unit * 255).astype(np.uint8)
    np.testing.assert_array_equal(grey(read_picture(eight).rgb), RAMP8)
    np.testing.assert_array_equal(grey(read_picture(unit > 0.5).rgb), (RAMP16 / 65535 > 0.5) * 255)


def test_the_picture_does_not_share_memory_with_its_source() -> None:
    array = np.zeros((4, 6, 3), np.uint8)
    picture = read_picture(array, name="line 3")
    array[:] = 255
    assert picture.rgb.max() == 0
    assert picture.name == "line 3"


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 6, 3), np.uint8), r"0 x 6 pixels \(H x W\): there is nothing to see"),
        (np.zeros((4, 6), np.int64), "holds int64; it must be uint8, uint16, bool, or float.*astype"),
        (np.zeros((3, 4, 6), np.uint8), r"shape \(3, 4, 6\).*channels come first: use array.transpose"),
        (np.zeros((4, 6, 2), np.uint8), r"must be \(H, W\)"),
        (np.zeros(5, np.uint8), r"must be \(H, W\)"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(array: NDArray[Any], words: str) -> None:
    with pytest.raises(ImageError, match=words):
        read_picture(array)


def test_a_pillow_image_is_read_and_left_open() -> None:
    image = Image.new("RGB", (3, 2), (1, 2, 3))
    assert read_picture(image).rgb[0, 0].tolist() == [1, 2, 3]
    assert image.getpixel((0, 0)) == (1, 2, 3)
    with pytest.raises(ImageError, match="0 x 3 pixels"):
        read_picture(Image.new("RGB", (3, 0)))


def test_a_source_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ImageError, match=r"cannot be read from a list. Pass a path, bytes"):
        read_picture([[1, 2]])  # type: ignore[arg-type]


# ---- orientation and frames


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_pictures_are_turned_upright(kind: str, orientation: int) -> None:
    data, upright = oriented(orientation, kind)
    rgb = read_picture(data).rgb
    assert rgb.shape[:2] == ((6, 4) if orientation >= 5 else (4, 6))
    np.testing.assert_allclose(rgb[..., 0].astype(int), upright.reshape(*rgb.shape[:2], -1)[..., 0], atol=40)
    if kind == "PNG":
        np.testing.assert_array_equal(grey(rgb), upright)


def test_orientation_6_turns_the_left_edge_to_the_top() -> None:
    data, _ = oriented(6, "PNG")
    # stored rows are 0..5, 6..11, ... (times 10): its left column, read from below, becomes the top row
    assert grey(read_picture(data).rgb)[0].tolist() == [180, 120, 60, 0]


def test_a_broken_exif_block_does_not_lose_the_picture() -> None:
    data = encoded(Image.new("RGB", (3, 2)), "JPEG", exif=b"Exif\0\0nonsense")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_picture(data).rgb.shape == (2, 3, 3)


def test_of_several_frames_the_first_is_read() -> None:
    frames = [Image.new("L", (3, 2), value) for value in (10, 200)]
    for kind in ("TIFF", "GIF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert read_picture(data).rgb.max() == 10


# ---- size


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
def test_thin_pictures_are_read(shape: tuple[int, int]) -> None:
    assert read_picture(encoded(Image.new("L", shape[::-1], 9))).rgb.shape == (*shape, 3)


def test_a_picture_larger_than_one_strip_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genau.pixels.STRIP_PIXELS", 100)
    rgb = np.random.default_rng(0).integers(0, 256, (37, 23, 3), np.uint8)
    np.testing.assert_array_equal(read_picture(encoded(Image.fromarray(rgb))).rgb, rgb)
    np.testing.assert_array_equal(read_picture(rgb).rgb, rgb)


def test_a_decompression_bomb_is_refused_before_it_is_decoded_and_100_megapixels_pass() -> None:
    bomb = png(b"", 30_000, 20_000, 8, 0)
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match=r"30000 x 20000 pixels \(H x W\), 600 megapixels; at most 110.*tiles"):
            read_picture(bomb)
        large = png(b"", 10_100, 9_900, 8, 0)
        with pytest.raises(ImageError, match=r"truncated or damaged|damaged header"):  # so the size was let through
            read_picture(large)
    assert limit == Image.MAX_IMAGE_PIXELS


# ---- files that cannot be read


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "part_01.png").touch()
    with pytest.raises(ImageError, match=r"part_1.png' does not exist. Check the path. Did you mean 'part_01.png'\?"):
        read_picture(tmp_path / "part_1.png")
    with pytest.raises(ImageError, match="does not exist, nor does its folder"):
        read_picture(str(tmp_path / "nowhere/part.png"))
    (tmp_path / "link.png").symlink_to("gone.png")
    with pytest.raises(ImageError, match=r"is a link to 'gone.png', which does not exist"):
        read_picture(tmp_path / "link.png")


def test_what_is_no_picture_file_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"is a folder, not a picture. Name a file in it"):
        read_picture(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match=r"is empty \(0 bytes\). Copy or export"):
        read_picture(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("hello there")
    with pytest.raises(ImageError, match=r"not an image of a known format; it starts with b'hello there'.*PNG, JPEG"):
        read_picture(tmp_path / "text.png")
    with pytest.raises(ImageError, match="cannot be opened"):
        read_picture("nul\0byte.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"pipe or device, not a file. Save it as a file"):
        read_picture(tmp_path / "pipe.png")


def test_a_file_without_permission_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(Image.new("L", (3, 2))))

    def refuse(*_: Any) -> None:  # root may read everything, so taking the right away proves nothing
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match=r"permission denied\)\. Give this user the right"):
        read_picture(tmp_path / "secret.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000"])
@pytest.mark.parametrize("part", [0.2, 0.6, 0.9])
def test_a_truncated_file_is_never_filled(kind: str, part: float) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8))
    data = encoded(image, kind)
    with pytest.raises(ImageError, match=r"truncated or damaged|damaged header") as caught:
        read_picture(data[: int(len(data) * part)], name="cut")
    assert "'cut'" in str(caught.value)
    assert "Copy or export it again" in str(caught.value)


def test_pillow_told_to_fill_truncated_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UsageError, match=r"LOAD_TRUNCATED_IMAGES is True.*Set it to False"):
        read_picture(encoded(Image.new("L", (3, 2))))


def test_the_extension_does_not_decide(tmp_path: Path) -> None:
    for name in ("UPPER.PNG", "wrong.jpg", "none"):
        (tmp_path / name).write_bytes(encoded(Image.new("L", (3, 2), 5)))
        assert read_picture(tmp_path / name).name == str(tmp_path / name)


# ---- masks


def stored(tmp_path: Path, data: bytes, name: str = "mask.png") -> Path:
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


LABELS = np.array([[0, 1, 2], [3, 2, 0]], np.uint8)


def test_masks_keep_the_numbers_that_are_stored(tmp_path: Path) -> None:
    palette = Image.fromarray(LABELS).convert("P")
    palette.putdata(LABELS.ravel().tolist())
    palette.putpalette([200, 0, 0] * 256)
    cases = {
        "palette": (encoded(palette), LABELS),
        "palette with transparency": (encoded(palette, transparency=0), LABELS),
        "grey": (encoded(Image.fromarray(LABELS)), LABELS),
        "16 bit": (encoded(Image.fromarray(LABELS.astype(np.uint16) * 300)), LABELS.astype(int) * 300),
        "bilevel": (encoded(Image.fromarray(LABELS > 0)), LABELS > 0),
        "rgb": (encoded(Image.fromarray(np.repeat(LABELS[..., None], 3, 2))), LABELS),
        "2 bit grey": (png(bytes([0b00011000, 0b11100000]), 2, 3, 2, 0), LABELS),
        "4 bit grey": (png(bytes([0x01, 0x20, 0x32, 0x00]), 2, 3, 4, 0), LABELS),
        "pgm": (b"P5 3 2 3\n" + LABELS.tobytes(), LABELS),
        "deep pgm": (b"P5 3 2 1000\n" + (LABELS.astype(int) * 300).astype(">u2").tobytes(), LABELS.astype(int) * 300),
        "float": (tiff(LABELS.astype(np.float32), sample_format=3), LABELS),
    }
    for name, (data, expected) in cases.items():
        values = read_mask(stored(tmp_path, data))
        assert values.dtype == np.int32, name
        np.testing.assert_array_equal(values, expected, err_msg=name)


def test_masks_whose_numbers_are_open_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"colour picture.*must be grey or palette indices. Save it as"):
        read_mask(stored(tmp_path, encoded(Image.new("RGB", (3, 2), (9, 0, 0)))))
    with pytest.raises(ImageError, match=r"hides labels under full transparency.*without alpha"):
        read_mask(stored(tmp_path, encoded(Image.new("LA", (3, 2), (255, 0)))))
    with pytest.raises(ImageError, match=r"holds fractions.*whole numbers"):
        read_mask(stored(tmp_path, tiff(np.full((2, 3), 0.5, np.float32), sample_format=3)))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_a_mask_drawn_on_the_stored_picture_is_turned_with_it(tmp_path: Path, kind: str, orientation: int) -> None:
    data, upright = oriented(orientation, "PNG")
    image = stored(tmp_path, oriented(orientation, kind)[0], "image.bin")
    drawn_on_stored = stored(tmp_path, encoded(Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10)))
    np.testing.assert_array_equal(read_mask(drawn_on_stored, image), upright)
    drawn_on_upright = stored(tmp_path, encoded(Image.fromarray(upright)))
    np.testing.assert_array_equal(read_mask(drawn_on_upright, image), upright)
    assert read_picture(data).rgb.shape[:2] == upright.shape


def test_a_mask_of_another_size_names_both(tmp_path: Path) -> None:
    image = stored(tmp_path, oriented(6, "PNG")[0], "image.png")
    mask = stored(tmp_path, encoded(Image.new("L", (5, 5))))
    with pytest.raises(ImageError, match=r"is 5 x 5 pixels \(H x W\), but its picture '.*image.png' is 6 x 4. Export"):
        read_mask(mask, image)


# ---- real files


def test_real_pictures_and_their_masks_fit() -> None:
    root = os.environ.get("GENAU_DATA")
    if root is None:
        pytest.skip("GENAU_DATA is not set: no real pictures here")
    images = sorted(Path(root).glob("bench/visa/capsules/Data/Images/Anomaly/*.JPG"))[:2]
    assert images
    for image in images:
        mask = read_mask(Path(root) / f"bench/visa/capsules/Data/Masks/Anomaly/{image.stem}.png", image)
        picture = read_picture(image)
        assert mask.shape == (picture.height, picture.width)
        assert mask.any()


def test_reading_needs_no_torch() -> None:
    code = "import sys, genau.images, genau.reading, genau.paths; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
