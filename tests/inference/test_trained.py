"""What a trained detector takes, and what it says of all else; no training is needed for that."""

from itertools import count

import numpy as np
import pytest
import torch
from helpers.oracle_detector import CATEGORIES, OracleDetector
from PIL import Image

from dense_lt.data.transforms import Transform
from dense_lt.inference.trained import TrainedDetector
from dense_lt.utils.errors import ConfigError, DataError

DETECTOR = TrainedDetector(OracleDetector(), CATEGORIES, Transform(), device=torch.device("cpu"))
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
PIXELS[0, :4, 0] = 2, 3, 12, 13  # where the object is


@pytest.fixture
def photographs(tmp_path):
    for name, height in (("a", 20), ("b", 24), ("c", 28)):
        pixels = np.zeros((height, 30, 3), dtype=np.uint8)
        pixels[:20] = PIXELS
        Image.fromarray(pixels).save(tmp_path / f"{name}.tif")
    return sorted(tmp_path.iterdir())


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_anything_that_yields_images_is_taken(photographs, batch_size):
    folder = photographs[0].parent
    found = DETECTOR.predict(sorted(folder.glob("*.tif")), batch_size=batch_size)
    assert [one.size for one in found] == [(20, 30), (24, 30), (28, 30)]
    lazily = DETECTOR.stream((path for path in photographs), batch_size=batch_size)
    assert [one.size for one in lazily] == [one.size for one in found]
    assert DETECTOR.predict(path for path in ()) == []


def test_a_stream_asks_for_no_more_images_than_a_batch_holds():
    asked = count()
    endless = (PIXELS for _ in iter(lambda: next(asked), None))
    stream = DETECTOR.stream(endless, batch_size=3)
    for _ in range(4):
        next(stream)
    assert next(asked) == 6


def test_one_image_alone_is_a_list_of_one(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    for image in (path, str(path), PIXELS, Image.fromarray(PIXELS)):
        (found,) = DETECTOR.predict(image)
        assert found.boxes[0].tolist() == [2, 3, 12, 13]
        assert found.names == ("cup", "owl")
        assert found.category_ids.tolist() == [70, 30]


@pytest.mark.parametrize(
    ("mode", "name"),
    [("RGB", "a.png"), ("RGB", "a.jpg"), ("RGB", "a.tif"), ("L", "a.png"), ("L", "a.jpg")],
)
def test_an_image_of_pillow_is_taken_as_its_file(tmp_path, monkeypatch, name, mode):
    seen = []
    forward = OracleDetector.forward
    monkeypatch.setattr(
        OracleDetector,
        "forward",
        lambda self, images: (seen.append(images), forward(self, images))[1],
    )
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(PIXELS).convert(mode).save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as image:
        found = DETECTOR.predict([tmp_path / name, image])
    assert [one.size for one in found] == [(30, 20)] * 2
    assert (seen[0].pixels == seen[1].pixels).all()


def test_sixteen_bits_of_an_image_of_pillow_become_eight():
    grey = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    (found,) = DETECTOR.predict(grey)
    assert found.boxes[0].tolist() == [2, 3, 12, 13]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            [PIXELS, np.zeros((8, 8), np.uint8)],
            r"image 1: an array of shape \(8, 8\) and type uint8",
        ),
        ([PIXELS.astype(float)], "type float64 was given; give the path of a file, an array"),
        ([np.zeros((0, 5, 3), np.uint8)], r"image 0: an array of shape \(0, 5, 3\) has no pixels"),
        (np.zeros((0, 5, 3), np.uint8), "has no pixels; leave it out"),
        ([Image.new("RGB", (5, 0))], "image 0: an image of 5 x 0 has no pixels"),
        ([Image.new("F", (5, 5))], "image 0: cannot be decoded: its pixels are floating-point"),
        ([None], "image 0: an object of type NoneType was given; give the path of a file"),
        (7, "images: an object of type int was given; give the path of a file"),
        ("nowhere.jpg", "nowhere.jpg: there is no such image"),
    ],
)
def test_what_is_no_image_is_one_clear_error(images, message):
    with pytest.raises(DataError, match=message):
        DETECTOR.predict(images)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5])
def test_a_batch_has_at_least_one_image(batch_size):
    with pytest.raises(ConfigError, match=r"batch_size is .*: give a whole number of at least 1"):
        DETECTOR.stream([PIXELS], batch_size=batch_size)  # at once, not with the first image


@pytest.mark.parametrize("min_score", [2, -0.1, float("nan")])
def test_a_score_outside_its_range_is_refused(min_score):
    with pytest.raises(ConfigError, match=r"min_score is .*: a score is a number in \[0, 1\]"):
        DETECTOR.predict([PIXELS], min_score=min_score)
