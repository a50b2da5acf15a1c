import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.data.outlines import Outlines
from dense_lt.data.transforms import (
    Annotated,
    ShortSide,
    Transform,
    drop_small,
    enlarged,
    fit_size,
    flip_horizontally,
    flip_vertically,
    resize,
    scale_objects,
    transpose,
    write_planes,
)
from dense_lt.utils.errors import ConfigError

CROP = ("RandomSizedBBoxSafeCrop", {"height": 48, "width": 40, "p": 1.0})
FREE_CROP = ("RandomCrop", {"height": 24, "width": 24, "p": 1.0})
TURN = ("RandomRotate90", {"p": 1.0})


@st.composite
def samples(draw, max_objects: int = 4) -> Annotated:
    """Rectangles, at least 3 pixels wide, as boxes and as masks; a label for each."""
    height, width = draw(st.integers(24, 60)), draw(st.integers(24, 60))
    boxes = []
    for _ in range(draw(st.integers(0, max_objects))):
        x1, y1 = draw(st.integers(0, width - 3)), draw(st.integers(0, height - 3))
        x2, y2 = draw(st.integers(x1 + 3, width)), draw(st.integers(y1 + 3, height))
        boxes.append((x1, y1, x2, y2))
    return rectangles((height, width), boxes)


def rectangles(size: tuple[int, int], boxes: list[tuple[int, int, int, int]]) -> Annotated:
    masks = np.zeros((len(boxes), *size), dtype=np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    boxes_array = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    labels = np.arange(len(boxes), dtype=np.int64) + 5
    return Annotated(image, boxes_array, labels, Outlines.from_bitmaps(masks))


def assert_boxes_bound_masks(sample: Annotated, tolerance: float = 1.0) -> None:
    """Box i holds mask i, and is no larger than it by more than `tolerance` on any side."""
    assert sample.masks is not None
    assert sample.image.dtype == np.uint8
    assert len(sample.boxes) == len(sample.labels) == len(sample.masks)
    bitmaps = sample.masks.to_bitmaps(sample.image.shape[:2])
    for box, mask in zip(sample.boxes, bitmaps, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        tight = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert np.abs(box - tight).max() <= tolerance, (box, tight)


@given(samples(), st.integers(0, 1000))
def test_boxes_bound_their_masks_after_flips_resizing_and_transposition(sample, seed):
    transform = Transform(
        resizer=ShortSide((30, 90), 120), horizontal_flip=0.5, vertical_flip=0.5, transpose=0.5
    )
    assert_boxes_bound_masks(transform(sample, (seed, 0)), tolerance=1.0)


@pytest.mark.parametrize("extra", [CROP, FREE_CROP, TURN], ids=lambda pair: pair[0])
@given(sample=samples(), seed=st.integers(0, 1000))
def test_boxes_bound_their_masks_after_crops(extra, sample, seed):
    changed = Transform(horizontal_flip=0.5, extra=[extra])(sample, (seed, 0))
    tolerance = 2.0 if extra is CROP else 0.01  # a crop that is resized interpolates masks
    assert_boxes_bound_masks(changed, tolerance)


def test_labels_stay_with_their_boxes_when_a_crop_drops_some():
    boxes = [(0, 0, 10, 10), (50, 50, 60, 60), (2, 40, 12, 50)]
    sample = rectangles((60, 60), boxes)
    transform = Transform(extra=[("Crop", {"x_max": 30, "y_max": 60, "p": 1.0})])
    changed = transform(sample, (0, 0))
    assert changed.labels.tolist() == [5, 7]
    assert_boxes_bound_masks(changed, 0)


@pytest.mark.parametrize("size", [(24, 36), (1, 36), (24, 1), (1, 1)])
@pytest.mark.parametrize("flipped", [False, True])
def test_planes_hold_the_image(size, flipped):
    sample = rectangles(size, [])
    if flipped:
        sample = sample._replace(image=sample.image[:, ::-1])
    planes = np.zeros((3, *size), dtype=np.uint8)
    write_planes(sample, planes)
    assert (planes == sample.image.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("size", [(31, 77), (90, 61), (25, 37)])
def test_enlarging_into_planes_gives_the_pixels_and_objects_of_resizing(size):
    sample = rectangles((24, 36), [(1, 2, 9, 20)])
    whole = resize(sample, size)
    later = scale_objects(sample._replace(enlarge_to=size), (24, 36))
    canvas = np.zeros((3, 99, 99), dtype=np.uint8)
    write_planes(later, canvas[:, : size[0], : size[1]])
    assert (canvas[:, : size[0], : size[1]] == whole.image.transpose(2, 0, 1)).all()
    assert not canvas[:, size[0] :].any()
    assert not canvas[:, :, size[1] :].any()
    assert (enlarged(later).image == whole.image).all()
    assert (later.boxes == whole.boxes).all()
    assert (later.masks.points == whole.masks.points).all()
    assert later.size == size


def test_what_follows_resizing_sees_the_enlarged_image():
    transform = Transform(resizer=ShortSide((90,), 200), extra=[("GaussNoise", {"p": 1.0})])
    sample = rectangles((24, 36), [(1, 2, 9, 20)])
    prepared = transform.prepare(sample, (0, 0))
    assert prepared.enlarge_to is None
    assert prepared.image.shape == (90, 135, 3)
    plain = Transform(resizer=ShortSide((90,), 200)).prepare(sample, (0, 0))
    assert plain.image.shape == (24, 36, 3)
    assert plain.size == (90, 135)


@pytest.mark.parametrize("flip", [flip_horizontally, flip_vertically, transpose])
def test_a_flip_twice_changes_nothing(flip):
    sample = rectangles((24, 36), [(1, 2, 9, 20), (30, 0, 36, 24)])
    twice = flip(flip(sample))
    for before, after in zip(sample[:3], twice[:3], strict=True):
        assert (before == after).all()
    assert (sample.masks.points == twice.masks.points).all()


def test_a_flip_moves_a_box_to_the_other_side():
    sample = rectangles((20, 30), [(1, 2, 5, 8)])
    assert flip_horizontally(sample).boxes.tolist() == [[25, 2, 29, 8]]
    assert flip_vertically(sample).boxes.tolist() == [[1, 12, 5, 18]]
    assert transpose(sample).boxes.tolist() == [[2, 1, 8, 5]]


@pytest.mark.parametrize(
    ("size", "short", "long", "expected"),
    [
        ((480, 640), 800, 1333, (800, 1067)),  # 640 * 800 / 480 = 1066.7
        ((300, 900), 800, 1333, (444, 1333)),  # the long side binds: 300 * 1333 / 900 = 444.3
        ((80, 80), 80, 80, (80, 80)),
        ((1, 5000), 10, 100, (1, 100)),  # never below one pixel
    ],
)
def test_the_short_side_is_fitted_and_the_long_one_capped(size, short, long, expected):
    assert fit_size(size, short, long) == expected
    assert fit_size(size[::-1], short, long) == expected[::-1]


def test_resizing_scales_each_axis_by_what_it_really_became():
    sample = rectangles((300, 900), [(0, 0, 900, 300)])
    assert resize(sample, (444, 1333)).boxes.tolist() == [[0, 0, 1333, 444]]


def test_the_same_key_gives_the_same_sample_and_another_key_another():
    transform = Transform(
        resizer=ShortSide((20, 40, 60), 100),
        horizontal_flip=0.5,
        vertical_flip=0.5,
        extra=[("ColorJitter", {"p": 1.0}), ("GaussNoise", {"p": 0.5}), TURN],
    )
    sample = rectangles((40, 40), [(3, 4, 20, 30)])
    first, other = transform(sample, (7, 1)), transform(sample, (7, 2))
    again = transform(sample, (7, 1))
    assert (first.image == again.image).all()
    assert (first.boxes == again.boxes).all()
    assert first.image.shape != other.image.shape or (first.image != other.image).any()


@pytest.mark.parametrize("masks", [True, False])
def test_an_image_without_objects_goes_through_everything(masks):
    sample = rectangles((40, 50), [])
    if not masks:
        sample = sample._replace(masks=None)
    transform = Transform(
        resizer=ShortSide((30,), 1333), horizontal_flip=1, extra=[FREE_CROP, TURN]
    )
    changed = transform(sample, (0, 0))
    assert changed.boxes.shape == (0, 4)
    assert changed.labels.shape == (0,)
    assert (changed.masks is None) == (not masks)
    assert changed.masks is None or len(changed.masks) == 0


def test_a_crop_that_leaves_nothing_gives_an_image_without_objects():
    transform = Transform(extra=[("Crop", {"x_max": 10, "y_max": 10, "p": 1.0})])
    changed = transform(rectangles((40, 40), [(20, 20, 30, 30)]), (0, 0))
    assert changed.boxes.shape == (0, 4)
    assert changed.masks is not None
    assert len(changed.masks) == 0


@pytest.mark.parametrize(
    "box", [(0, 0, 40.0005, 30.0004), (-1e-4, -1e-4, 40, 30), (39.99999, 0, 40, 30), (5, 5, 5, 9)]
)
def test_a_box_on_or_over_the_edge_kills_nothing(box):
    sample = rectangles((30, 40), [(1, 1, 20, 20)])
    sample = sample._replace(boxes=np.array([box], dtype=np.float32))
    changed = Transform(horizontal_flip=0.5, extra=[TURN])(sample, (0, 0))
    assert len(changed.boxes) == len(changed.labels) == len(changed.masks)


def test_boxes_thinner_than_a_pixel_are_left_out():
    sample = rectangles((30, 40), [(1, 1, 20, 20), (1, 1, 20, 20)])
    boxes = np.array([[1, 1, 1.5, 20], [1, 1, 20, 20]], dtype=np.float32)
    assert drop_small(sample._replace(boxes=boxes)).labels.tolist() == [6]


def test_hundreds_of_objects_stay_in_step():
    random = np.random.default_rng(0)
    corners = random.integers(0, 90, (400, 2))
    boxes = [(int(x), int(y), int(x) + 9, int(y) + 8) for x, y in corners]
    changed = Transform(extra=[("RandomCrop", {"height": 60, "width": 60, "p": 1.0})])(
        rectangles((100, 100), boxes), (3, 0)
    )
    assert 0 < len(changed.boxes) < 400
    assert_boxes_bound_masks(changed, 0.01)


def test_an_unknown_transform_is_told_with_its_nearest_names():
    with pytest.raises(ConfigError, match=r"no transform 'HorizontalFilp'; did you mean Horizont"):
        Transform(extra=[("HorizontalFilp", {})])


@pytest.mark.parametrize("name", ["Compose", "BboxParams", "os", "BasicTransform"])
def test_what_is_no_transform_is_refused(name):
    with pytest.raises(ConfigError, match=r"data\.train_transforms\.extra"):
        Transform(extra=[(name, {})])


@pytest.mark.parametrize(
    "arguments", [{"height": "tall", "width": 3}, {"height": 3}, {"height": 3, "width": 3, "x": 1}]
)
def test_arguments_that_a_transform_refuses_are_told(arguments):
    with pytest.raises(ConfigError, match=r"extra: RandomCrop refuses \{'height'"):
        Transform(extra=[("RandomCrop", arguments)])


def test_a_transform_that_fails_names_the_size_of_the_image():
    transform = Transform(extra=[("RandomCrop", {"height": 50, "width": 50})])
    with pytest.raises(ConfigError, match=r"RandomCrop: failed on an image of 40 x 30 pixels"):
        transform(rectangles((30, 40), []), (0, 0))


@pytest.mark.parametrize(("name", "left"), [("Normalize", "float32"), ("ToTensorV2", "Tensor")])
def test_pixels_must_stay_bytes(name, left):
    with pytest.raises(ConfigError, match=f"left {left}.*the detector does both"):
        Transform(extra=[(name, {"p": 1.0})])(rectangles((30, 40), []), (0, 0))
