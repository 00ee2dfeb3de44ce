"""Folders of images by class: sound ones become a data set, every other is one clear error."""

import os
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from droplab.config import RunSettings
from droplab.data.files import load_dataset
from droplab.data.images import MOST_PIXELS, read_image
from droplab.data.npz import write_npz
from droplab.errors import ConfigError, DataError, ModelFileError
from droplab.inputs import features_of
from droplab.study.plan import plan_run
from droplab.study.records import model_info
from droplab.train.outcome import Way

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


def test_images_in_colour_keep_rows_columns_and_channels(tmp_path):
    dataset = load(folder(tmp_path / "c", pixels=COLOUR))
    assert (dataset.features, dataset.image_shape, dataset.background) == (60, (4, 5, 3), None)
    np.testing.assert_array_equal(dataset.train_x[0], COLOUR.ravel())


def test_a_data_set_in_colour_comes_back_from_an_npz_in_its_form(tmp_path):
    dataset = load(folder(tmp_path / "c", pixels=COLOUR))
    write_npz(dataset, tmp_path / "c.npz")
    again = load(tmp_path / "c.npz")
    assert again.image_shape == (4, 5, 3)
    np.testing.assert_allclose(again.train_x[0] * 255, COLOUR.ravel(), atol=1e-4)


@pytest.mark.parametrize("shape", [(20, 4, 5, 1), (20, 3, 4, 5), (20, 4, 5, 4), (20, 4, 5, 3, 1)])
def test_arrays_of_images_in_another_form_are_refused(tmp_path, shape):
    np.savez(tmp_path / "a.npz", x=np.zeros(shape, np.uint8), y=np.arange(20) % 2)
    with pytest.raises(DataError, match=r"\(examples, rows, columns, 3\)"):
        load(tmp_path / "a.npz")


def test_other_proportions_or_channels_of_as_many_features_are_refused(tmp_path):
    path = folder(tmp_path / "c", pixels=np.zeros((4, 4, 3), np.uint8))
    for name, pixels in (("wide", np.zeros((2, 8, 3), np.uint8)), ("grey", np.zeros((4, 12), np.uint8))):
        with pytest.raises(DataError, match="must have the same features"):
            load(path, test=str(folder(tmp_path / name, pixels=pixels)))


def test_colour_that_is_all_grey_is_said_to_be(tmp_path):
    path = folder(tmp_path / "pets")
    save(path / "dog/3.png", np.repeat(GREY[..., None], 3, axis=2))
    with pytest.raises(DataError, match="found 5 × 4 in colour, though all its pixels are grey, and 5 × 4 grey"):
        load(path)


def test_the_background_is_that_of_most_borders(tmp_path):
    for number, level in enumerate((0, 255, 130)):
        pixels = np.full((6, 7), level, np.uint8)
        pixels[2:4, 2:4] = 90
        pixels[0, 0] = 17
        assert load(folder(tmp_path / str(number), pixels=pixels)).background == level
    digits = load_dataset("digits")  # its white is 16
    assert (digits.scale, digits.background) == (1 / 16, 0)
    assert replace(digits, train_x=16 - digits.train_x).background == 255
    assert replace(digits, image_shape=None).background is None


def film(path):
    Image.fromarray(GREY).save(path.with_suffix(".gif"), save_all=True, append_images=[Image.fromarray(GREY[::-1])])
    path.unlink()


def test_a_model_takes_colour_in_its_own_form_and_an_older_one_any_of_its_features(tmp_path):
    dataset = load(folder(tmp_path / "c", pixels=COLOUR))
    run = plan_run(RunSettings(widths=()), dataset.fingerprint, Way("cpu", "fp32"))
    info = model_info(run, dataset)
    own, wide, grey = (
        str(save(tmp_path / f"{name}.png", pixels))
        for name, pixels in (
            ("own", COLOUR),
            ("wide", COLOUR.reshape(2, 10, 3)),
            ("grey", COLOUR.reshape(6, 10)),
        )
    )
    np.testing.assert_array_equal(features_of(info, own, print), COLOUR.reshape(1, -1))
    for other in (wide, grey):
        with pytest.raises(ModelFileError, match="must hold images of 4 × 5"):
            features_of(info, other, print)
    older = info.model_copy(update={"image_shape": None})
    for one in (own, wide, grey):
        assert features_of(older, one, print).shape == (1, 60)


def page_of_a_camera(path):
    """What cameras write: a JPEG with a smaller preview behind the picture."""
    Image.fromarray(GREY).save(path, "MPO", save_all=True, append_images=[Image.fromarray(GREY[:2])], quality=100)
    return path


def test_of_a_cameras_jpeg_the_first_picture_is_taken(tmp_path):
    taken = read_image(page_of_a_camera(tmp_path / "a.jpg"))
    assert taken.shape == GREY.shape
    np.testing.assert_allclose(taken.astype(int), GREY, atol=16)


def test_what_systems_leave_behind_is_passed_over_in_silence(tmp_path):
    path, told = folder(tmp_path / "pets"), []
    for file in ("Thumbs.db", "cat/Thumbs.db", "dog/desktop.ini", "__MACOSX/cat/0.png", "cat/@eaDir/0.png/x.jpg"):
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_bytes(b"junk")
    dataset = load_dataset(path, test="0.5", notify=told.append)
    assert (len(dataset.train_y) + len(dataset.test_y), dataset.classes, told) == (20, ("cat", "dog"), [])


@pytest.mark.parametrize("ending", ["JPG", "jpe", "jfif", "Jpeg"])
def test_other_endings_of_a_jpeg_are_images(tmp_path, ending):
    path = folder(tmp_path / "pets", each=5)
    for label in ("cat", "dog"):
        for file in sorted((path / label).iterdir()):
            Image.open(file).save(file, "JPEG")
            file.rename(file.with_suffix(f".{ending}"))
    assert len(load(path).train_y) == 8


def test_names_of_all_kinds_are_taken_and_links_to_folders_told(tmp_path):
    path, told = folder(tmp_path / "päts", ["a\nb", "日本", "c d"], each=5), []
    (path / "c d" / "more").symlink_to(path / "日本")
    (path / "c d" / "linked.png").symlink_to(path / "c d" / "0.png")
    save(path / "c d" / "new\nline\x07.png", GREY)
    dataset = load_dataset(path, notify=told.append)
    assert (dataset.classes, len(dataset.train_y) + len(dataset.test_y)) == (("a\nb", "c d", "日本"), 17)
    assert any("1 files that are no images" in line and "more" in line for line in told)


def test_a_name_that_is_no_text_is_an_error_of_a_class_and_none_of_an_image(tmp_path):
    path = folder(tmp_path / "pets")
    save(path / "cat" / os.fsdecode(b"\xff.png"))
    places = np.concatenate(load(path).places)
    assert "cat/\ufffd.png" in places
    (path / "dog").rename(path / os.fsdecode(b"do\xff"))
    with pytest.raises(DataError, match="class's name must be Unicode text"):
        load(path)


def truncated(path):
    content = save(path, RANDOM.integers(0, 256, (90, 90), np.uint8)).read_bytes()
    path.write_bytes(content[: len(content) // 2])


FAULTS = {
    "transparent": (
        lambda path: save(path, RANDOM.integers(0, 255, (4, 5, 4), np.uint8)),
        "not be transparent; found 20 of 20 pixels",
    ),
    "16 bit": (lambda path: save(path, GREY.astype(np.uint16) * 200), "8 bits a channel; found mode I;16"),
    "CMYK": (lambda path: Image.new("CMYK", (5, 4)).save(path, "TIFF"), "found mode CMYK"),
    "colour among grey": (lambda path: save(path, COLOUR), "5 × 4 in colour, and 5 × 4 grey in .*cat/0.png"),
    "another size": (lambda path: save(path, GREY[:3]), "5 × 3 grey, and 5 × 4 grey in .*cat/0.png"),
    "over the limit": (lambda path: save(path, np.zeros((1001, 1000), np.uint8)), f"may have {MOST_PIXELS:,} pixels"),
    "a bomb": (lambda path: Image.new("1", (20_000, 20_000)).save(path), "may have 1,000,000 pixels; it has far more"),
    "truncated": (truncated, "sound image; found image file is truncated"),
    "a film": (film, "one picture; found several"),
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
