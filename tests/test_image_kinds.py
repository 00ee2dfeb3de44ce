"""Every kind of image that a format knows is read as it is meant to be seen, or refused; none is read wrong."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from droplab.data.files import load_dataset
from droplab.data.images import read_image
from droplab.errors import DataError

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (6, 8, 3), np.uint8)
FOUR = [0, 85, 170, 255]  # what four even steps are in bytes


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, bits, kind, row, *chunks) -> bytes:
    """A PNG of one row; `kind` is 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0))
    content = (head, *(chunk(*one) for one in chunks), chunk(b"IDAT", zlib.compress(b"\0" + row)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(content)


def tiff(width, bits, samples, photometric, data, *more) -> bytes:
    """A TIFF of one row; `more` are tags of one short."""
    tags = [(256, width), (257, 1), (259, 1), (262, photometric), (277, samples), (278, 1), (279, len(data)), *more]
    end = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = [(tag, struct.pack("<HHIHH", tag, 3, 1, value, 0)) for tag, value in tags]
    entries.append((273, struct.pack("<HHIHH", 273, 3, 1, end + 2 * samples, 0)))
    of_bits = struct.pack("<HHI", 258, 3, samples)
    entries.append((258, of_bits + (struct.pack("<HH", bits, 0) if samples == 1 else struct.pack("<I", end))))
    listed = b"".join(entry for _, entry in sorted(entries))
    depths = struct.pack(f"<{samples}H", *[bits] * samples)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + listed + struct.pack("<I", 0) + depths + data


PALETTE = (b"PLTE", bytes([0, 0, 0, 10, 20, 30, 255, 255, 255]))
READ = {
    "1 bit": (png(4, 1, 0, b"\x50"), [0, 255, 0, 255]),
    "2 bits": (png(4, 2, 0, b"\x1b"), FOUR),
    "4 bits": (png(4, 4, 0, b"\x05\xaf"), FOUR),
    "gamma is left": (png(2, 8, 0, b"\x09\xff", (b"gAMA", struct.pack(">I", 100_000))), [9, 255]),
    "grey, opaque alpha": (png(2, 8, 4, b"\x09\xff\x08\xff"), [9, 8]),
    "RGB, opaque alpha": (png(1, 8, 6, b"\x01\x02\x03\xff"), [[1, 2, 3]]),
    "an unused grey is transparent": (png(4, 4, 0, b"\x05\xaf", (b"tRNS", b"\0\x07")), FOUR),
    "as a byte it would be used": (png(4, 4, 0, b"\x05\xaf", (b"tRNS", b"\0\x55")), FOUR),
    "unused white is transparent": (png(4, 1, 0, b"\x00", (b"tRNS", b"\0\x01")), [0] * 4),
    "an unused colour is transparent": (png(1, 8, 2, b"\1\2\3", (b"tRNS", b"\0\1\0\2\0\4")), [[1, 2, 3]]),
    "an unused entry is transparent": (png(1, 2, 3, b"\x40", PALETTE, (b"tRNS", b"\0")), [[10, 20, 30]]),
    "PGM up to 15": (b"P5\n4 1\n15\n\0\5\12\17", FOUR),
    "plain PGM up to 3": (b"P2\n4 1\n3\n0 1 2 3\n", FOUR),
    "PPM up to 15": (b"P6\n1 1\n15\n\5\12\17", [[85, 170, 255]]),
    "TIFF of 2 bits": (tiff(4, 2, 1, 1, b"\x1b"), FOUR),
    "TIFF whose 0 is white": (tiff(4, 8, 1, 0, bytes([0, 85, 170, 255])), FOUR[::-1]),
    "TIFF, opaque alpha": (tiff(1, 8, 4, 2, b"\1\2\3\xff", (338, 2)), [[1, 2, 3]]),
    "TIFF in colour": (tiff(1, 8, 3, 2, b"\1\2\3"), [[1, 2, 3]]),
}
REFUSED = {
    "grey of 16 bits": (png(1, 16, 0, b"\0\xff"), "found mode I;16"),
    "RGB of 16 bits": (png(1, 16, 2, b"\0\xff" * 3), "found 16"),
    "RGBA of 16 bits": (png(1, 16, 6, b"\0\xff" * 4), "found 16"),
    "grey and alpha of 16 bits": (png(1, 16, 4, b"\0\xff" * 2), "found 16"),
    "TIFF in colour of 16 bits": (tiff(1, 16, 3, 2, b"\xff\0" * 3), "found 16"),
    "TIFF of 16 bits": (tiff(1, 16, 1, 1, b"\xff\0"), "found mode I;16"),
    "TIFF with signs": (tiff(2, 8, 1, 1, b"\x05\xc8", (339, 2)), "found numbers with a sign"),
    "PPM up to 1,000": (b"P6\n1 1\n1000\n\0\5\3\xe8\0\5", "found a largest value of 1,000"),
    "PPM up to 65,535": (b"P6\n1 1\n65535\n\0\5\3\xe8\0\5", "found a largest value of 65,535"),
    "plain PPM up to 65,535": (b"P3\n1 1\n65535\n5 500 60000\n", "found a largest value of 65,535"),
    "PGM up to 1,000": (b"P5\n1 1\n1000\n\3\xe8", "found mode I"),
    "a map of floats": (b"Pf\n1 1\n-1.0\n\0\0\x80\x3f", "found mode F"),
    "grey, alpha below 255": (png(2, 8, 4, b"\x09\xff\x08\xfe"), "transparent; found 1 of 2 pixels"),
    "a used grey is transparent": (png(4, 4, 0, b"\x05\xaf", (b"tRNS", b"\0\x05")), "found 1 of 4 pixels"),
    "used black is transparent": (png(4, 1, 0, b"\x50", (b"tRNS", b"\0\0")), "found 2 of 4 pixels"),
    "a used colour is transparent": (png(1, 8, 2, b"\1\2\3", (b"tRNS", b"\0\1\0\2\0\3")), "found 1 of 1 pixels"),
    "a used entry is half transparent": (png(1, 2, 3, b"\x40", PALETTE, (b"tRNS", b"\xff\x80")), "found 1 of 1 pixels"),
    "no pixels": (png(0, 8, 0, b""), "must be an image|must have pixels"),
    "no image data": (png(1, 8, 0, b"\0").replace(b"IDAT", b"oops"), "must be an image"),
}
MODES = {"CMYK": ("jpg", "tif"), "YCbCr": ("tif",), "LAB": ("tif",), "F": ("tif",), "I": ("tif",)}


@pytest.mark.parametrize("name", READ)
def test_an_image_is_read_as_it_is_seen(tmp_path, name):
    content, pixels = READ[name]
    (tmp_path / "a.png").write_bytes(content)
    assert read_image(tmp_path / "a.png").tolist() == [pixels]


@pytest.mark.parametrize("name", REFUSED)
def test_an_image_that_would_be_read_wrong_is_refused(tmp_path, name):
    content, words = REFUSED[name]
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.png: .*({words})"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("mode", "form"), [(mode, form) for mode, forms in MODES.items() for form in forms])
def test_other_colours_than_rgb_are_refused(tmp_path, mode, form):
    Image.new(mode, (5, 4)).save(tmp_path / f"a.{form}")
    with pytest.raises(DataError, match=f"8 bits a channel; found mode {mode}|must be a sound image"):
        read_image(tmp_path / f"a.{form}")


def turned(x, orientation):
    """An array as EXIF says that it is meant to be seen."""
    turns = [
        lambda x: x,
        lambda x: x[:, ::-1],
        lambda x: x[::-1, ::-1],
        lambda x: x[::-1],
        lambda x: x.swapaxes(0, 1),
        lambda x: np.rot90(x, -1),
        lambda x: x[::-1, ::-1].swapaxes(0, 1),
        np.rot90,
    ]
    return turns[orientation - 1](x) if 1 <= orientation <= 8 else x


@pytest.mark.parametrize("form", ["png", "webp", "tif", "jpg", "mpo"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_an_image_is_turned_as_its_orientation_says(tmp_path, form, mode):
    pixels = np.asarray(Image.fromarray(COLOUR).convert(mode)).repeat(16, axis=0).repeat(16, axis=1)
    path = tmp_path / f"a.{form}"
    for orientation in range(10):
        exif = Image.Exif()
        exif[274] = orientation
        lossy = {"quality": 100, "subsampling": 0} if form in ("jpg", "mpo") else {}
        Image.fromarray(pixels).save(path, exif=exif, **({"lossless": True} if form == "webp" else lossy))
        seen = turned(pixels, orientation)
        if form == "webp" and mode == "L":  # which it does not know
            seen = np.repeat(seen[..., None], 3, axis=2)
        found = read_image(path)
        assert found.shape == seen.shape
        assert np.abs(found.astype(int) - seen).max() <= (8 if lossy else 0), (form, orientation)


def test_images_that_are_stored_turned_are_the_same_data(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    for number in range(10):
        for label in ("cat", "dog"):
            (tmp_path / "plain" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "mixed" / label).mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(RANDOM.integers(0, 256, (6, 8), np.uint8))
            image.save(tmp_path / "plain" / label / f"{number}.png")
            lying, told = (image.rotate(90, expand=True), {"exif": exif}) if number % 2 else (image, {})
            lying.save(tmp_path / "mixed" / label / f"{number}.png", **told)
    plain, mixed = (load_dataset(tmp_path / name, test="0.3", notify=print) for name in ("plain", "mixed"))
    assert mixed.image_shape == (6, 8)
    assert mixed.fingerprint == plain.fingerprint


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\xff\xff", b"Exif\0\0" + b"\xff" * 90, b"nothing"])
@pytest.mark.parametrize("form", ["png", "webp", "jpg"])
def test_a_damaged_exif_block_turns_nothing(tmp_path, form, exif):
    path = tmp_path / f"a.{form}"
    Image.fromarray(COLOUR).save(path, exif=exif)
    assert read_image(path).shape == COLOUR.shape


@pytest.mark.parametrize("form", ["png", "jpg", "gif", "tif", "webp", "bmp", "ppm"])
def test_damaged_bytes_are_one_error_or_an_image(tmp_path, form):
    path = tmp_path / f"a.{form}"
    Image.fromarray(COLOUR).save(path)
    sound, random = bytearray(path.read_bytes()), np.random.default_rng(1)
    for _ in range(150):
        damaged = sound.copy()
        for place in random.integers(0, len(sound), 3):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged[: random.integers(1, len(sound) + 1)])
        try:
            found = read_image(path)
        except DataError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017 - most raise, some do not
        else:
            assert found.dtype == np.uint8
            assert found.ndim in (2, 3)
