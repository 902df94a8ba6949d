"""Images of every kind and state, as upright RGB."""

from __future__ import annotations

import os
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tai_dpt.errors import InputError
from tai_dpt.io import images as module
from tai_dpt.io.images import MOST_MEGAPIXELS, as_image, read_image, upright_size

RAMP = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
EIGHT_BIT = np.repeat(RAMP[..., None], 3, axis=2)


def pixels(path):
    return np.asarray(read_image(path))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("int32, to 255", RAMP.astype(np.int32)),
        ("int32, to 65,535", RAMP.astype(np.int32) * 257),
        ("int32, shifted", RAMP.astype(np.int32) << 8),
        ("int32, beyond", RAMP.astype(np.int32) * 4000 - 500_000),
        ("float, to 1", RAMP.astype(np.float32) / 255),
        ("float, to 255", RAMP.astype(np.float32)),
        ("float, to 65,535", RAMP.astype(np.float32) * 257),
        ("float, of an instrument", RAMP.astype(np.float32) * 1e-3 - 0.1),
        ("16 bits", RAMP.astype(np.uint16) * 257),
    ],
)
def test_deep_gray_is_as_bright_as_its_8_bit_twin(tmp_path, name, values):
    Image.fromarray(values).save(tmp_path / "x.tif")
    np.testing.assert_array_equal(pixels(tmp_path / "x.tif"), EIGHT_BIT, err_msg=name)


def test_a_dark_deep_image_stays_dark(tmp_path):
    Image.fromarray(np.full((4, 4), 9000, np.int32)).save(tmp_path / "x.tif")
    assert pixels(tmp_path / "x.tif").max() == 9000 // 256


def test_what_is_no_number_is_black(tmp_path):
    values = np.full((4, 4), 0.5, np.float32)
    values[0, 0], values[1, 1] = np.nan, np.inf
    Image.fromarray(values).save(tmp_path / "x.tif")
    seen = pixels(tmp_path / "x.tif")[..., 0]
    assert (seen[0, 0], seen[1, 1], seen[2, 2]) == (0, 0, 128)


def test_an_image_of_infinite_values_alone_is_refused(tmp_path):
    Image.fromarray(np.full((4, 4), np.inf, np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(InputError, match="none of its values is a finite number"):
        pixels(tmp_path / "x.tif")


def test_16_bit_gray_with_a_transparent_value(tmp_path):
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    at = content.index(b"IDAT") - 4
    chunk = b"tRNS" + struct.pack(">H", 7 * 257)
    chunk = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "x.png").write_bytes(content[:at] + chunk + content[at:])
    expected = EIGHT_BIT.copy()
    expected[:, 7] = 255  # white paper
    np.testing.assert_array_equal(pixels(tmp_path / "x.png"), expected)


@pytest.mark.parametrize("what", ["text", "profile"])
def test_a_png_with_long_texts_or_a_large_profile(tmp_path, what):
    info = PngImagePlugin.PngInfo()
    long = "x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1)
    options = {"icc_profile": long.encode()} if what == "profile" else {"pnginfo": info}
    info.add_text("Comment", long, zip=True)
    Image.fromarray(EIGHT_BIT).save(tmp_path / "x.png", **options)
    np.testing.assert_array_equal(pixels(tmp_path / "x.png"), EIGHT_BIT)


def test_exif_says_which_side_is_up(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.new("RGB", (40, 20))
    for name in ("x.jpg", "x.png", "x.tif"):
        wide.save(tmp_path / name, exif=exif)
        assert read_image(tmp_path / name).size == (20, 40), name


def test_damaged_exif_is_passed_over(tmp_path):
    Image.new("RGB", (40, 20)).save(tmp_path / "x.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's do not say which image
        assert read_image(tmp_path / "x.jpg").size == (40, 20)


def test_a_very_large_image_is_shrunk(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LARGE", 1000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow's own limit has no say
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("x.png", "x.tif"):
        Image.new("RGB", (300, 100), "red").save(tmp_path / name, exif=exif)
        seen = read_image(tmp_path / name)
        assert seen.width * seen.height <= 1000
        assert seen.height == pytest.approx(3 * seen.width, abs=3)
        assert seen.getpixel((2, 2)) == (255, 0, 0)
    assert Image.MAX_IMAGE_PIXELS == 1000


DEEP = np.tile(np.linspace(0, 65_535, 300).astype(np.uint16), (200, 1))


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("x.png", Image.fromarray(DEEP >> 8).convert("L").quantize(64)),
        ("x.png", Image.fromarray(DEEP > 30_000)),
        ("x.tif", Image.fromarray(DEEP > 30_000)),
        ("x.png", Image.fromarray(DEEP)),
        ("x.tif", Image.fromarray(DEEP)),
        ("x.tif", Image.fromarray(DEEP.astype(np.int32) - 900)),
        ("x.tif", Image.fromarray(DEEP.astype(np.float32))),
        ("x.tif", Image.merge("LA", [Image.fromarray((DEEP >> 8).astype(np.uint8))] * 2)),
        ("x.tif", Image.fromarray((DEEP >> 8).astype(np.uint8)).convert("CMYK")),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else value,
)
def test_a_very_large_image_of_any_mode_is_shrunk_strip_by_strip(
    tmp_path, monkeypatch, name, image
):
    image.save(tmp_path / name)
    whole = read_image(tmp_path / name)
    monkeypatch.setattr(module, "_LARGE", 3000)
    monkeypatch.setattr(module, "_STRIP", 2000)
    held = []

    def convert(image, *args, _convert=Image.Image.convert):
        held.append(image.width * image.height)
        return _convert(image, *args)

    monkeypatch.setattr(Image.Image, "convert", convert)
    seen = read_image(tmp_path / name)
    assert seen.size == (60, 40)  # 60,000 pixels, shrunk five times
    assert max(held) <= 2000
    # the scale is the whole image's, whatever strip a value stands in
    np.testing.assert_allclose(np.asarray(seen), np.asarray(whole.reduce(5)), atol=1)


def test_a_jpeg_over_the_limit_is_decoded_smaller(tmp_path, monkeypatch):
    Image.new("RGB", (4000, 1000), "red").save(tmp_path / "x.jpg")
    Image.new("RGB", (4000, 1000), "red").save(tmp_path / "held whole.jpg", progressive=True)
    monkeypatch.setattr(module, "_LARGE", 100_000)
    monkeypatch.setenv(MOST_MEGAPIXELS, "1")
    assert read_image(tmp_path / "x.jpg").size == (500, 125)
    assert read_image(tmp_path / "x.jpg", glance=True).size == (500, 125)
    with pytest.raises(InputError, match="more than 1 million"):
        read_image(tmp_path / "held whole.jpg")
    monkeypatch.setenv(MOST_MEGAPIXELS, "0")
    with pytest.raises(InputError, match=f"{MOST_MEGAPIXELS}"):
        read_image(tmp_path / "x.jpg")


@pytest.mark.parametrize(
    ("size", "side", "seen"),
    [
        ((2400, 1600), 224, (1200, 800)),
        ((4000, 2816), 224, (1000, 704)),
        ((4000, 2816), 117, (500, 352)),
        ((4000, 2816), 0, (4000, 2816)),  # nobody says what for
        ((2400, 1600), 280, (2400, 1600)),  # half of it would be too little
        ((1600, 1248), 32, (1600, 1248)),  # small enough
        ((2401, 1600), 224, (2401, 1600)),  # half of it would be rounded
        ((2402, 1602), 64, (1201, 801)),
    ],
)
def test_a_large_jpeg_is_decoded_no_finer_than_needed(tmp_path, size, side, seen):
    Image.new("L", size).save(tmp_path / "x.jpg")
    assert read_image(tmp_path / "x.jpg", side=side).size == seen


@pytest.mark.parametrize(
    ("kind", "seen"), [("turned.jpg", (600, 1000)), ("mpo", (1000, 600)), ("png", (2000, 1200))]
)
def test_so_is_one_of_any_kind_but_no_other_format(tmp_path, kind, seen):
    image, exif, options = Image.new("RGB", (2000, 1200), "red"), Image.Exif(), {}
    if kind == "mpo":  # as telephones write: a small image behind the large one
        options = {"save_all": True, "append_images": [Image.new("RGB", (80, 40))]}
    if kind == "turned.jpg":
        exif[0x0112] = 6
    image.save(tmp_path / f"x.{kind}", exif=exif, **options)
    assert read_image(tmp_path / f"x.{kind}", side=150).size == seen
    whole = (1200, 2000) if kind == "turned.jpg" else (2000, 1200)
    assert upright_size(tmp_path / f"x.{kind}") == whole


def test_a_limit_on_pixels_can_be_set(tmp_path, monkeypatch):
    Image.new("1", (2000, 1001)).save(tmp_path / "x.png")
    monkeypatch.setenv(MOST_MEGAPIXELS, "2")
    with pytest.raises(
        InputError, match=rf"x\.png: more than 2 million .*variable {MOST_MEGAPIXELS} to"
    ):
        read_image(tmp_path / "x.png")
    monkeypatch.setenv(MOST_MEGAPIXELS, "3")
    assert read_image(tmp_path / "x.png").size == (2000, 1001)
    monkeypatch.setenv(MOST_MEGAPIXELS, "many")
    with pytest.raises(InputError, match="'many'; a whole number"):
        read_image(tmp_path / "x.png")


def test_a_header_that_lies_about_its_size_costs_nothing(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    content = bytearray((tmp_path / "x.png").read_bytes())
    content[16:24] = struct.pack(">II", 2**30, 2**30)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(InputError, match="million"):
        read_image(tmp_path / "x.png")


def test_a_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    errors = []

    def read():
        try:
            read_image(tmp_path / "x.jpg")
        except InputError as error:
            errors.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10)
    assert "a pipe or a device" in errors[0]


def test_names_that_are_no_text_are_read(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    Image.fromarray(EIGHT_BIT).save(os.fsdecode(path))
    assert read_image(os.fsdecode(path)).size == (256, 16)


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA", "La", "PA"])
def test_what_is_transparent_is_white_in_every_mode(mode):
    clear = Image.new("LA", (2, 2), (90, 0)) if mode in ("LA", "La") else None
    clear = clear or Image.new("RGBA", (2, 2), (90, 0, 0, 0))
    if mode == "PA":
        clear = clear.convert("P").convert("PA")
        clear.putalpha(0)
    assert as_image(clear.convert(mode)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Image.new("F", (0, 3)), "0 × 3 has no pixels"),
        (Image.new("RGB", (3, 0)), "3 × 0 has no pixels"),
        (np.array([["a"]]), "holds numbers, not <U1"),
        (np.zeros((5, 5, 3), complex), "holds numbers, not complex128"),
        (np.full((5, 5), np.nan), "run from nan to nan"),
    ],
)
def test_what_is_no_image_in_memory(value, message):
    with pytest.raises(InputError, match=message):
        as_image(value)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_of_a_cmyk_jpeg(tmp_path, orientation):
    upright = Image.fromarray(EIGHT_BIT[:, ::4]).convert("CMYK")  # dark left, light right
    upright.paste((0, 255, 255, 0), (0, 0, 64, 4))  # red at the top
    turned = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = upright
    for step in turned.get(orientation, ()):
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "x.jpg", exif=exif, quality=95)
    seen = np.asarray(read_image(tmp_path / "x.jpg")).astype(int)
    assert seen.shape == (16, 64, 3)
    np.testing.assert_allclose(seen[1, 30], (255, 0, 0), atol=12)
    assert seen[12, 2].max() < 40 < 200 < seen[12, 61].min()
