"""A picture is brought to a model's form as MNIST's digits were: geometry, background and contrast are exact."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from droplab.data.picture import fit_picture
from droplab.errors import DataError

SEVEN = [(70, 60), (150, 60), (110, 170)]
SHAPE = (28, 28)


def drawing(size=(280, 280), shift=(0, 0), width=22, ink=0, paper=255):
    """A thick 7, as wide as 102 and as high as about 132 pixels."""
    image = Image.new("L", size, paper)
    points = [(x + shift[0], y + shift[1]) for x, y in SEVEN]
    ImageDraw.Draw(image).line(points, fill=ink, width=width, joint="curve")
    return image


def fitted(tmp_path, image, shape=SHAPE, background=0, name="a.png", **options):
    image.save(tmp_path / name, **options)
    found = fit_picture(tmp_path / name, shape, background)
    assert (found.dtype, found.shape) == (np.uint8, shape)
    return found


def extent(frame):
    """Rows and columns that are not background 0."""
    rows, columns = (np.flatnonzero(frame.any(axis=axis)) for axis in (1, 0))
    return rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1


def centre(frame):
    """The centre of mass, in pixels counted from 0."""
    return np.array([(frame.sum(axis=1 - axis) * np.arange(frame.shape[axis])).sum() for axis in (0, 1)]) / frame.sum()


def alike(a, b, share=0.02):
    """Whether two frames differ by less than a share of full contrast, on average."""
    return np.abs(a.astype(int) - b).mean() < share * 255


@pytest.mark.parametrize(("shape", "side"), [((28, 28), 20), ((56, 56), 40), ((28, 56), 20), ((14, 14), 10)])
def test_a_drawing_fills_the_box_and_keeps_its_proportions(tmp_path, shape, side):
    frame = fitted(tmp_path, drawing(shift=(60, 80)), shape)
    rows, columns = extent(frame)
    drawn = np.argwhere(np.asarray(drawing()) < 128)
    height, width = np.ptp(drawn, axis=0) + 1
    assert rows == side
    assert columns == pytest.approx(side * width / height, abs=1)
    np.testing.assert_allclose(centre(frame), [shape[0] / 2, shape[1] / 2], atol=0.51)
    assert (frame.min(), frame.max()) == (0, 255)


def test_a_wide_drawing_fills_the_columns(tmp_path):
    frame = fitted(tmp_path, drawing().rotate(90))
    assert extent(frame)[1] == 20
    assert extent(frame)[0] < 20


def test_where_and_how_large_it_is_drawn_does_not_matter(tmp_path):
    first = fitted(tmp_path, drawing())
    assert alike(fitted(tmp_path, drawing(shift=(110, 90))), first)
    assert alike(fitted(tmp_path, drawing((560, 300), shift=(300, 20))), first)
    assert alike(fitted(tmp_path, drawing().resize((1400, 1400))), first, 0.04)
    assert alike(fitted(tmp_path, drawing().resize((70, 70), Image.Resampling.BOX)), first, 0.06)


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0), (60, 215), (30, 120), (200, 120), (90, 0)])
def test_light_and_dark_come_out_as_the_model_has_them(tmp_path, ink, paper):
    plain = fitted(tmp_path, drawing(ink=0, paper=255))
    picture = drawing(ink=ink, paper=paper)
    assert alike(fitted(tmp_path, picture), plain, 0.005)
    assert alike(255 - fitted(tmp_path, picture, background=255), plain, 0.005)
    on_grey = fitted(tmp_path, picture, background=40)
    assert (on_grey.min(), on_grey.max()) == (40, 255)
    assert ((on_grey == 40) >= (plain == 0)).all()


@pytest.mark.parametrize(("sd", "name", "options"), [(12, "a.png", {}), (12, "a.jpg", {"quality": 60})])
def test_noise_of_paper_and_camera_is_not_drawn(tmp_path, sd, name, options):
    plain = fitted(tmp_path, drawing())
    noise = np.random.default_rng(0).normal(0, sd, (280, 280))
    picture = np.clip(np.asarray(drawing(ink=60, paper=215)) + noise, 0, 255).astype(np.uint8)
    picture[5, 7] = picture[270:272, 200] = 0  # dirt
    frame = fitted(tmp_path, Image.fromarray(picture), name=name, **options)
    assert alike(frame, plain, 0.03)
    assert extent(frame)[0] == 20
    assert not frame[:3].any()


def test_what_is_as_mnist_has_it_stays_as_it_is(tmp_path):
    first = fitted(tmp_path, drawing(shift=(60, 80)))
    again = fitted(tmp_path, Image.fromarray(first))
    assert alike(again, first, 0.01)
    assert extent(again) == extent(first)
    assert (again[first == 0] == 0).all()


def test_transparent_pictures_are_laid_on_a_background_that_shows_them(tmp_path):
    plain, ink = fitted(tmp_path, drawing()), 255 - np.asarray(drawing())
    for colour in (0, 255):
        layers = np.dstack([np.full((280, 280, 3), colour, np.uint8), ink])
        assert alike(fitted(tmp_path, Image.fromarray(layers)), plain, 0.005)
    half = np.dstack([np.zeros((280, 280, 3), np.uint8), 255 - ink // 2])  # a border of opaque black: ink is clear
    half[..., :3][ink > 0] = 255
    assert alike(fitted(tmp_path, Image.fromarray(half)), plain, 0.02)


def test_a_picture_is_turned_as_its_orientation_says(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    lying = drawing().convert("RGB").rotate(90, expand=True)
    assert alike(fitted(tmp_path, lying, name="a.jpg", exif=exif, quality=95), fitted(tmp_path, drawing()))


BLANK = {
    "white": np.full((280, 280), 255),
    "black": np.zeros((280, 280)),
    "noise": 200 + np.random.default_rng(0).normal(0, 12, (280, 280)),
    "any grey": np.random.default_rng(0).integers(0, 256, (280, 280)),
    "a breath": np.asarray(drawing(ink=190, paper=200)),
    "one pixel": np.zeros((1, 1)),
}


@pytest.mark.parametrize("name", BLANK)
def test_a_picture_that_shows_nothing_is_an_error(tmp_path, name):
    with pytest.raises(DataError, match=r"a\.png: must show something drawn"):
        fitted(tmp_path, Image.fromarray(BLANK[name].clip(0, 255).astype(np.uint8)))


def test_what_read_image_refuses_is_refused_but_for_size_and_transparency(tmp_path):
    with pytest.raises(DataError, match="8 bits a channel"):
        fitted(tmp_path, Image.new("CMYK", (5, 4)), name="a.jpg")
    assert fitted(tmp_path, drawing().resize((1500, 1500))).max() == 255


def test_a_picture_in_colour_is_framed_whole(tmp_path):
    picture = np.full((100, 200, 3), (10, 200, 90), np.uint8)
    picture[40:60, 80:120] = (250, 0, 0)
    frame = fitted(tmp_path, Image.fromarray(picture), (32, 32, 3), None)
    assert (frame[:8] == (10, 200, 90)).all(), "above and below is what the border has"
    assert (frame[24:] == (10, 200, 90)).all()
    assert (frame[15:17, 15:17] == (250, 0, 0)).all()
    red = np.argwhere(frame[..., 0] > 130)
    np.testing.assert_allclose(np.ptp(red, axis=0) + 1, [3.2, 6.4], atol=1)
    grey = fitted(tmp_path, drawing(), (28, 28, 3), None)
    assert (grey == grey[..., :1]).all()
    same = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    np.testing.assert_array_equal(fitted(tmp_path, Image.fromarray(same), (8, 6, 3), None), same)


def test_for_a_grey_model_colours_are_greys(tmp_path):
    blue = Image.merge("RGB", [drawing(ink=20, paper=250), drawing(ink=30, paper=245), drawing(ink=160, paper=225)])
    assert alike(fitted(tmp_path, blue), fitted(tmp_path, drawing()), 0.01)
