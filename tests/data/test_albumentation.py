import numpy as np
import pytest
from helpers.shapes import COLORS, assert_in_step, ellipse, painted, rectangle
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.data.albumentation import Pipeline
from dense_lt.data.transforms import Annotated, Transform

IMAGE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
BOXES = np.array([[0, 0, 10, 10], [5, 5, 35, 25]], dtype=np.float32)


def test_the_numbers_of_the_boxes_that_are_left_come_back():
    pipeline = Pipeline([("Crop", {"x_min": 12, "y_min": 0, "x_max": 40, "y_max": 30, "p": 1.0})])
    image, boxes, kept, masks = pipeline(IMAGE, BOXES, None, seed=0)
    assert image.shape == (30, 28, 3)
    assert kept.tolist() == [1]
    assert np.abs(boxes - [[0, 5, 23, 25]]).max() < 1e-4
    assert masks is None


def test_a_seed_gives_the_same_again_whatever_came_between():
    pipeline = Pipeline([("ColorJitter", {"p": 1.0}), ("GaussNoise", {"p": 1.0})])
    first = pipeline(IMAGE, BOXES, None, seed=3)[0]
    other = pipeline(IMAGE, BOXES, None, seed=4)[0]
    assert (first != other).any()
    assert (pipeline(IMAGE, BOXES, None, seed=3)[0] == first).all()


def test_the_given_image_is_not_changed():
    before = IMAGE.copy()
    Pipeline([("CoarseDropout", {"p": 1.0}), ("InvertImg", {"p": 1.0})])(IMAGE, BOXES, None, seed=0)
    assert (before == IMAGE).all()


GEOMETRY = [
    ("HorizontalFlip", {}),
    ("VerticalFlip", {}),
    ("Transpose", {}),
    ("D4", {}),
    ("RandomRotate90", {}),
    ("Rotate", {"limit": 40}),
    ("SafeRotate", {"limit": 40}),
    ("Affine", {"rotate": (-20, 20), "shear": (-8, 8), "scale": (0.8, 1.3)}),
    ("Perspective", {"scale": (0.03, 0.08)}),
    ("OpticalDistortion", {"distort_limit": (-0.2, 0.2)}),
    ("Resize", {"height": 70, "width": 130}),
    ("RandomScale", {"scale_limit": 0.3}),
    ("LongestMaxSize", {"max_size": 90}),
    ("PadIfNeeded", {"min_height": 120, "min_width": 130}),
    ("CropAndPad", {"percent": (-0.2, 0.2)}),
    ("RandomCrop", {"height": 60, "width": 70, "pad_if_needed": True}),
    ("RandomSizedCrop", {"min_max_height": (50, 60), "size": (80, 80)}),
    ("RandomResizedCrop", {"size": (64, 96), "scale": (0.3, 1.0)}),
    ("RandomSizedBBoxSafeCrop", {"height": 80, "width": 70}),
    ("BBoxSafeRandomCrop", {}),
    ("RandomCropFromBorders", {}),
    ("RandomGridShuffle", {"grid": (2, 2)}),
    ("CropNonEmptyMaskIfExists", {"height": 40, "width": 40}),
]
COLOURS = [
    ("RandomBrightnessContrast", {"brightness_limit": 0.1, "contrast_limit": 0.1}),
    ("GaussianBlur", {"blur_limit": 3}),
    ("GaussNoise", {"std_range": (0.01, 0.03)}),
]


def _scene(seed: int, *, masks: bool = True) -> Annotated:
    """Two ellipses and two rectangles that do not touch."""
    turns = np.random.default_rng(seed).uniform(0, np.pi, 2)
    rings = [
        ellipse((25, 25), (18, 10), turns[0]),
        ellipse((75, 60), (12, 18), turns[1]),
        rectangle(60, 8, 85, 28),
        rectangle(8, 50, 26, 74),
    ]
    return painted((90, 110), rings, masks=masks)


def _pipelines(*kinds):
    steps = st.lists(
        st.sampled_from([*kinds]), min_size=1, max_size=4, unique_by=lambda one: one[0]
    )
    chance = st.sampled_from([0.5, 1.0])
    return st.builds(
        lambda chosen, p: Transform(
            horizontal_flip=0.5, extra=[(name, {**given, "p": p}) for name, given in chosen]
        ),
        steps,
        chance,
    )


@given(transform=_pipelines(*GEOMETRY, *COLOURS), seed=st.integers(0, 10_000))
def test_boxes_labels_and_outlines_stay_in_step_through_any_pipeline(transform, seed):
    assert_in_step(transform(_scene(seed), (seed, 0)), tolerance=2.0, purity=0.7)


@given(transform=_pipelines(*GEOMETRY[:9], *GEOMETRY[10:21], *COLOURS), seed=st.integers(0, 10_000))
def test_boxes_hold_their_objects_through_any_pipeline_without_outlines(transform, seed):
    """Turned boxes grow, so they need not be tight; but what has the object's colour is inside."""
    changed = transform(_scene(seed, masks=False), (seed, 0))
    assert changed.masks is None
    assert len(set(changed.labels.tolist())) == len(changed.labels)
    distance = np.abs(changed.image[:, :, None].astype(int) - COLORS.astype(int)).sum(axis=-1)
    for label, (x1, y1, x2, y2) in zip(changed.labels, changed.boxes, strict=True):
        rows, columns = np.nonzero(distance[..., label] < 60)
        inside = (columns + 2.5 >= x1) & (columns - 1.5 <= x2) & (rows + 2.5 >= y1)
        assert (inside & (rows - 1.5 <= y2)).all()


@pytest.mark.parametrize(("name", "given"), GEOMETRY, ids=lambda value: str(value)[:20])
def test_every_transform_keeps_objects_in_step(name, given):
    transform = Transform(extra=[(name, {**given, "p": 1.0})])
    for seed in range(3):
        assert_in_step(transform(_scene(seed), (seed, 0)), tolerance=2.0, purity=0.7)


def test_an_object_that_is_cut_into_several_boxes_stays_one_object():
    transform = Transform(extra=[("RandomGridShuffle", {"grid": (3, 3), "p": 1.0})])
    changed = transform(_scene(0), (1, 0))
    assert changed.labels.tolist() == sorted(set(changed.labels.tolist()))
