"""Folders of images by class: sound ones become a data set, every other is one clear error."""

import warnings

import numpy as np
import pytest
from PIL import Image

from droplab.data.files import load_dataset
from droplab.data.images import MOST_PIXELS, read_image
from droplab.errors import ConfigError, DataError

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (4, 5), np.uint8)
COLOUR = RANDOM.integers(0, 256, (4, 5, 3), np.uint8)


def save(path, pixels=GREY, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def folder(path, classes=("cat", "dog"), each=10, pixels=None):
    for number, label in enumerate(classes):
        for k in range(each):
            save(path / label / f"{k}.png", np.full((4, 5), 20 * number + k, np.uint8) if pixels is None else pixels)
    return path


def load(path, **given):
    return load_dataset(path, notify=lambda _: None, **given)


def test_a_folder_of_images_becomes_a_data_set(tmp_path):
    dataset = load(folder(tmp_path / "pets"), test="0.3")
    assert (dataset.name, dataset.classes, dataset.image_shape) == ("pets", ("cat", "dog"), (4, 5))
    assert (len(dataset.train_y), len(dataset.test_y), dataset.scale) == (14, 6, 1 / 255)
    for x, y, places in (
        (dataset.train_x, dataset.train_y, dataset.places[0]),
        (dataset.test_x, dataset.test_y, dataset.places[1]),
    ):
        assert [dataset.classes[k] for k in y] == [place.split("/")[0] for place in places]
        np.testing.assert_array_equal(x, [read_image(tmp_path / "pets" / place).ravel() for place in places])


def test_train_and_test_may_be_folders(tmp_path):
    folder(tmp_path / "pets/train")
    folder(tmp_path / "pets/test", each=2)
    dataset = load(tmp_path / "pets")
    assert (len(dataset.train_y), len(dataset.test_y)) == (20, 4)
    with pytest.raises(ConfigError, match="test part of its own"):
        load(tmp_path / "pets", test="0.5")
    apart = load(tmp_path / "pets/train", test=str(tmp_path / "pets/test"))
    assert apart.fingerprint == dataset.fingerprint


def test_numbers_as_names_are_in_their_order(tmp_path):
    assert load(folder(tmp_path / "n", ["10", "9", "2"])).classes == ("2", "9", "10")
    assert load(folder(tmp_path / "t", ["10", "9", "x"])).classes == ("10", "9", "x")


def test_images_may_lie_deeper_and_beside_other_files(tmp_path):
    path, told = folder(tmp_path / "pets"), []
    (path / "cat/0.png").rename(save(path / "cat/more/away.png"))
    (path / "cat/notes.txt").write_text("mine")
    (path / ".DS_Store").write_bytes(b"\0")
    dataset = load_dataset(path, notify=told.append)
    assert len(dataset.train_y) + len(dataset.test_y) == 20
    assert any("1 files that are no images" in line and "notes.txt" in line for line in told)


@pytest.mark.parametrize("form", ["png", "bmp", "tif", "pgm"])
def test_grey_images_come_back_as_they_were_saved(tmp_path, form):
    np.testing.assert_array_equal(read_image(save(tmp_path / f"a.{form}")), GREY)


@pytest.mark.parametrize("form", ["png", "bmp", "tif", "ppm"])
def test_colours_come_back_as_they_were_saved(tmp_path, form):
    np.testing.assert_array_equal(read_image(save(tmp_path / f"a.{form}", COLOUR)), COLOUR)


def test_a_palette_is_one_of_colours(tmp_path):
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.gif")), np.repeat(GREY[:, :, None], 3, axis=2))


def test_images_in_colour_are_features_without_a_shape(tmp_path):
    dataset = load(folder(tmp_path / "c", pixels=COLOUR))
    assert (dataset.features, dataset.image_shape) == (60, None)
    np.testing.assert_array_equal(dataset.train_x[0], COLOUR.ravel())


def film(path):
    Image.fromarray(GREY).save(path.with_suffix(".gif"), save_all=True, append_images=[Image.fromarray(GREY[::-1])])
    path.unlink()


def truncated(path):
    content = save(path, RANDOM.integers(0, 256, (90, 90), np.uint8)).read_bytes()
    path.write_bytes(content[: len(content) // 2])


FAULTS = {
    "transparent": (lambda path: save(path, RANDOM.integers(0, 256, (4, 5, 4), np.uint8)), "not be transparent"),
    "16 bit": (lambda path: save(path, GREY.astype(np.uint16) * 200), "8 bits a channel; found mode I;16"),
    "CMYK": (lambda path: Image.new("CMYK", (5, 4)).save(path, "TIFF"), "found mode CMYK"),
    "colour among grey": (lambda path: save(path, COLOUR), "5 × 4 in colour, and 5 × 4 grey in .*cat/0.png"),
    "another size": (lambda path: save(path, GREY[:3]), "5 × 3 grey, and 5 × 4 grey in .*cat/0.png"),
    "over the limit": (lambda path: save(path, np.zeros((1001, 1000), np.uint8)), f"may have {MOST_PIXELS:,} pixels"),
    "a bomb": (lambda path: Image.new("1", (20_000, 20_000)).save(path), "may have 1,000,000 pixels; it has far more"),
    "truncated": (truncated, "sound image; found: image file is truncated"),
    "a film": (film, "one picture; found 2"),
    "a page": (lambda path: path.write_text("<html>"), "must be an image"),
    "empty": (lambda path: path.write_bytes(b""), "must be an image"),
    "a dangling link": (lambda path: (path.unlink(), path.symlink_to("nowhere")), "nowhere, which does not exist"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_image_is_one_clear_error_that_names_it(tmp_path, name):
    spoil, words = FAULTS[name]
    path = folder(tmp_path / "pets")
    spoil(path / "dog/3.png")
    with warnings.catch_warnings(), pytest.raises(DataError, match=rf"dog/3\.(png|gif): .*{words}") as found:
        load(path)
    assert str(found.value).count("3.") == 1


def test_a_class_without_images_is_an_error(tmp_path):
    path = folder(tmp_path / "pets")
    (path / "eel").mkdir()
    with pytest.raises(DataError, match=r"eel: the folder of a class must hold images .* found none"):
        load(path)
    (path / "eel/list.txt").write_text("")
    with pytest.raises(DataError, match="found 1 other files"):
        load(path)


def test_one_class_is_an_error(tmp_path):
    with pytest.raises(DataError, match="at least 2 classes; found only cat"):
        load(folder(tmp_path / "pets", ["cat"]))


def test_a_test_folder_that_is_none_is_an_error(tmp_path):
    with pytest.raises(DataError, match="nowhere: must be a folder with a folder of images"):
        load(folder(tmp_path / "pets"), test="nowhere")
