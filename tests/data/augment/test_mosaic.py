import numpy as np
from helpers.shapes import GREY, assert_in_step, color_of, ellipse, painted, rectangle

from dense_lt.data.augment.mosaic import mosaic
from dense_lt.data.outlines import Outlines
from dense_lt.data.transforms import Annotated


def _plain(level: int, size: tuple[int, int]) -> Annotated:
    """One grey, one object over all of it."""
    height, width = size
    ring = rectangle(0, 0, width, height)
    image = np.full((height, width, 3), level, dtype=np.uint8)
    outlines = Outlines.from_rings([[ring]])
    return Annotated(image, outlines.boxes(), np.array([level]), outlines)


def test_four_images_meet_at_a_point_in_the_middle_half():
    parts = [_plain(level, (64, 64)) for level in (1, 2, 3, 4)]
    for seed in range(20):
        canvas = mosaic(parts, (64, 64), np.random.default_rng(seed), fill=0)
        assert canvas.image.shape == (128, 128, 3)
        assert canvas.labels.tolist() == [1, 2, 3, 4]
        x, y = canvas.boxes[0, 2:]
        assert 32 <= x <= 96
        assert 32 <= y <= 96
        assert canvas.boxes[3, :2].tolist() == [x, y]
        assert canvas.boxes[1, [0, 3]].tolist() == [x, y]
        assert canvas.boxes[2, [2, 1]].tolist() == [x, y]
        for level, (x1, y1, x2, y2) in enumerate(canvas.boxes.astype(int).tolist(), 1):
            assert (canvas.image[y1:y2, x1:x2] == level).all()


def test_images_are_fitted_and_the_rest_is_filled():
    parts = [_plain(level, (20, 40)) for level in (1, 2, 3, 4)]
    canvas = mosaic(parts, (64, 64), np.random.default_rng(0), fill=9)
    assert (canvas.boxes[:, 3] - canvas.boxes[:, 1] <= 32).all()
    covered = sum(int((canvas.image[..., 0] == level).sum()) for level in (1, 2, 3, 4))
    assert covered + int((canvas.image[..., 0] == 9).sum()) == 128 * 128
    assert covered < 4 * 64 * 64


def test_objects_of_all_four_stay_in_step():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        parts = [
            painted(
                (int(rng.integers(40, 90)), int(rng.integers(40, 90))),
                [ellipse((20, 22), (14, 9), 0.3)],
                first_label=label,
            )
            for label in range(4)
        ]
        canvas = mosaic(parts, (80, 64), rng, fill=GREY)
        assert len(canvas.boxes) >= 2
        assert_in_step(canvas, tolerance=1.5)


def test_an_image_without_objects_takes_its_place():
    empty = painted((30, 30), [])
    canvas = mosaic([empty] * 4, (32, 32), np.random.default_rng(0), fill=0)
    assert canvas.boxes.shape == (0, 4)
    assert len(canvas.masks) == 0


def test_the_images_are_not_changed():
    part = painted((64, 64), [rectangle(5, 5, 30, 30)])
    before = part.image.copy()
    mosaic([part] * 4, (64, 64), np.random.default_rng(0), fill=0)
    assert (part.image == before).all()
    assert (part.image[10, 10] == color_of(0)).all()
