import io

import numpy as np
from PIL import Image

from dense_lt.report import pictures


def test_small_images_are_enlarged_by_whole_factors_and_large_ones_reduced():
    assert pictures.scale_for((80, 80)) == 4
    assert pictures.scale_for((361, 100)) == 360 / 361
    assert pictures.scale_for((720, 400)) == 0.5


def test_a_box_is_drawn_where_it_is_in_its_colour():
    image = Image.new("RGB", (80, 80), "black")
    picture = pictures.draw_boxes(image, np.array([[20.0, 30, 60, 70]]), ["#56b4e9"])
    assert picture.size == (320, 320)
    assert picture.getpixel((160, 121)) == (0x56, 0xB4, 0xE9)  # upper edge, y = 4 x 30 + 1
    assert picture.getpixel((160, 200)) == (0, 0, 0)  # inside


def test_numbers_of_equal_boxes_do_not_cover_each_other():
    image = Image.new("RGB", (80, 80))
    boxes = np.array([[30.0, 30, 50, 50]] * 3)
    picture = np.array(pictures.draw_boxes(image, boxes, ["#ff0000", "#00ff00", "#0000ff"]))
    # Each tag is a filled rectangle: hundreds of pixels of its colour, if nothing covers it.
    for channel in range(3):
        others = [other for other in range(3) if other != channel]
        own = (picture[..., channel] == 255) & (picture[..., others] == 0).all(axis=-1)
        assert own.sum() > 150


def test_boxes_that_leave_the_image_or_are_empty_are_drawn_at_its_edge():
    image = Image.new("L", (60, 40))
    boxes = np.array([[-50.0, -50, 500, 500], [10, 10, 10, 10], [59, 39, 60, 40]])
    assert pictures.draw_boxes(image, boxes, ["#ffffff"] * 3).mode == "RGB"


def test_an_image_without_boxes_stays_as_it_is():
    image = Image.new("RGB", (90, 90), (10, 20, 30))
    picture = pictures.draw_boxes(image, np.zeros((0, 4)), [])
    assert picture.getcolors() == [(360 * 360, (10, 20, 30))]


def test_a_picture_is_a_png_file_and_a_jpeg_for_the_page(tmp_path):
    jpeg = pictures.save_picture(Image.new("RGB", (9, 9)), tmp_path / "picture.png")
    assert Image.open(tmp_path / "picture.png").format == "PNG"
    assert Image.open(io.BytesIO(jpeg)).format == "JPEG"
