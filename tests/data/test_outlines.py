import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from dense_lt.data.outlines import Outlines, concatenate

SIZE = (20, 30)
TRIANGLE = [4, 2, 24, 2, 4, 14]
SQUARE = [20, 10, 28, 10, 28, 18, 20, 18]


def _some(*segmentations) -> Outlines:
    return Outlines.from_segmentations(segmentations, SIZE)


def _bitmaps(seed: int, count: int = 3) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.random((count, *SIZE)) < random.random((count, 1, 1))).astype(np.uint8)


@given(st.integers(0, 1000))
def test_bitmaps_come_back_from_their_outlines(seed):
    bitmaps = _bitmaps(seed)
    outlines = Outlines.from_bitmaps(bitmaps)
    assert (outlines.to_bitmaps(SIZE) == bitmaps).all()
    assert outlines.areas() == pytest.approx(bitmaps.sum(axis=(1, 2)))


def test_run_lengths_become_outlines_of_the_same_pixels():
    bitmap = _bitmaps(1)[0]
    runs = coco_mask.encode(np.asfortranarray(bitmap))
    assert (_some(runs).to_bitmaps(SIZE)[0] == bitmap).all()


def test_polygons_cover_what_cocos_do_but_for_pixels_on_their_edge():
    """COCO's rounding of corners may move an edge by half a pixel: 12 + 20 + 23 pixels along it."""
    runs = coco_mask.merge(coco_mask.frPyObjects([TRIANGLE, SQUARE], *SIZE))
    ours = _some([TRIANGLE, SQUARE]).to_bitmaps(SIZE)[0]
    differ = ours != coco_mask.decode(runs)
    assert differ.sum() < 30
    inner = _some([TRIANGLE, SQUARE]).areas()[0]
    assert inner == 20 * 12 / 2 + 64
    assert abs(ours.sum() - inner) <= 12


def test_polygons_in_either_sense_add_up():
    backwards = np.array(SQUARE).reshape(-1, 2)[::-1].reshape(-1).tolist()
    shifted = [value - 2 for value in backwards]
    outlines = _some([SQUARE, shifted])
    assert outlines.to_bitmaps(SIZE).sum() == 64 + 64 - 36


def test_objects_without_an_outline_keep_their_place():
    outlines = _some(None, [SQUARE], [])
    assert len(outlines) == 3
    assert outlines.boxes().tolist() == [[0] * 4, [20, 10, 28, 18], [0] * 4]
    assert outlines.areas().tolist() == [0, 64, 0]
    assert outlines.to_bitmaps(SIZE).sum(axis=(1, 2)).tolist() == [0, 64, 0]


def test_no_objects_at_all_are_outlines_too():
    outlines = _some()
    assert len(outlines) == len(outlines.clipped((3, 3))) == len(outlines.boxes()) == 0
    assert outlines.to_bitmaps(SIZE).shape == (0, *SIZE)


def test_objects_are_chosen_and_joined():
    both = concatenate([_some([TRIANGLE, SQUARE]), _some([SQUARE])])
    assert len(both) == 2
    assert both.areas().tolist() == [184, 64]
    assert both.take(np.array([1, 0, 1])).areas().tolist() == [64, 184, 64]


def test_an_affine_map_moves_corners():
    turned = _some([SQUARE]).moved(np.array([[0, -1, 30], [2, 0, 0]]))
    assert turned.boxes().tolist() == [[12, 40, 20, 56]]
    assert turned.areas().tolist() == [128]


@given(st.integers(0, 1000), st.integers(1, 25), st.integers(1, 35))
def test_clipping_leaves_the_pixels_inside_and_no_others(seed, height, width):
    bitmaps = _bitmaps(seed)
    clipped = Outlines.from_bitmaps(bitmaps).clipped((height, width))
    bitmaps[:, height:] = 0
    bitmaps[:, :, width:] = 0
    assert (clipped.to_bitmaps(SIZE) == bitmaps).all()
    assert clipped.areas() == pytest.approx(bitmaps.sum(axis=(1, 2)))


@given(st.lists(st.tuples(st.floats(-40, 40), st.floats(-40, 40)), min_size=3, max_size=8))
def test_clipped_corners_lie_inside_and_cover_the_same(corners):
    whole = Outlines.from_rings([[np.array(corners, dtype=np.float32)]])
    clipped = whole.clipped(SIZE)
    if len(clipped.points):
        assert (clipped.points >= 0).all()
        assert (clipped.points <= SIZE[::-1]).all()
    # a cut moves an edge by the rounding of float32: a centre on it may change sides
    assert (clipped.to_bitmaps(SIZE) != whole.to_bitmaps(SIZE)).sum() <= 1


def test_clipping_what_is_inside_changes_nothing():
    outlines = _some([SQUARE])
    assert outlines.clipped(SIZE) is outlines


def test_a_box_does_not_reach_for_edges_that_only_join_what_was_cut_apart():
    """A bracket stands left of the image with its upper arm inside and its lower arm below it."""
    bracket = [(-9, 5), (10, 5), (10, 8), (-5, 8), (-5, 25), (10, 25), (10, 28), (-9, 28)]
    clipped = Outlines.from_rings([[np.array(bracket, dtype=np.float32)]]).clipped((20, 40))
    assert clipped.boxes().tolist() == [[0, 5, 10, 20]]
    assert clipped.boxes_within((20, 40)).tolist() == [[0, 5, 10, 8]]


def test_a_box_reaches_the_corners_of_the_image_that_lie_inside():
    around = np.array([(-5, -5), (50, -5), (50, 50), (-5, 50)], dtype=np.float32)
    clipped = Outlines.from_rings([[around], [around + 30], []]).clipped((30, 40))
    boxes = clipped.boxes_within((30, 40))
    assert boxes.tolist() == [[0, 0, 40, 30], [25, 25, 40, 30], [0, 0, 0, 0]]


@given(seed=st.integers(0, 10_000), x=st.integers(-60, 60), y=st.integers(-60, 60))
def test_boxes_of_cut_stars_are_those_of_their_pictures(seed, x, y):
    """Ten times as large, a picture shows all but the tips that are thinner than a tenth."""
    random = np.random.default_rng(seed)
    angle = np.sort(random.uniform(0, 2 * np.pi, 9))
    radius = random.uniform(5, 60, 9)
    star = np.stack([radius * np.cos(angle) + 40 + x, radius * np.sin(angle) + 30 + y], axis=1)
    outlines = Outlines.from_rings([[star.astype(np.float32)]])
    box = outlines.clipped((60, 80)).boxes_within((60, 80))[0]
    picture = outlines.moved(np.array([[10.0, 0, 0], [0, 10.0, 0]])).to_bitmaps((600, 800))[0]
    rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
    if len(rows):
        seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 10
        outwards = (box - seen) * [-1, -1, 1, 1]
        assert (outwards >= -0.1).all()
        assert (outwards <= 3).all()
