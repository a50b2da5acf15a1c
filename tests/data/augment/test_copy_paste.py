from types import SimpleNamespace

import numpy as np
import pytest
from helpers.shapes import GREY, assert_in_step, color_of, ellipse, painted, rectangle

from dense_lt.data.augment.copy_paste import CopyPaste, cut_out, region_of

SMALL = rectangle(10, 10, 30, 20)
ALONG = np.array([True, False])


def _source(masks=True):
    """A disc, with a class that nothing else has, and a rectangle far away from it."""
    rings = [ellipse((40, 40), (15, 15), 0.0), rectangle(75, 5, 95, 25)]
    return painted((80, 100), rings, masks=masks, first_label=2)


def _copy_paste(source, number=0, **options) -> tuple[CopyPaste, SimpleNamespace]:
    instances = SimpleNamespace(draw=lambda rng: (0, number))
    return CopyPaste(instances, **options), SimpleNamespace(raw=lambda index: source)


def test_an_object_is_cut_out_along_its_outline():
    piece = cut_out(_source(), ALONG, outlined=True)
    assert piece.labels.tolist() == [2]
    assert piece.image.shape == (30, 30, 3)
    assert piece.boxes.tolist() == [[0, 0, 30, 30]]
    region = region_of(piece, outlined=True)
    assert (piece.image[region] == color_of(2)).all()
    assert (piece.image[~region] == GREY).all()


def test_an_object_is_cut_out_as_a_box_without_masks():
    piece = cut_out(_source(masks=False), ALONG, outlined=False)
    assert region_of(piece, outlined=False).all()
    assert (piece.image[0, 0] == GREY).all()


def test_pasted_objects_lie_where_their_boxes_and_outlines_say():
    base = painted((120, 90), [SMALL])
    for seed in range(25):
        copy_paste, dataset = _copy_paste(_source(), images=(1, 3), companions=0.5)
        pasted = copy_paste(base, dataset, np.random.default_rng(seed))
        assert len(pasted.boxes) >= 1
        assert_in_step(pasted, tolerance=1.5, purity=0.8)


def test_the_size_is_relative_to_images_of_equal_area():
    """A disc of 30 pixels in 80 x 100 has the same share of a picture of twice the sides."""
    copy_paste, dataset = _copy_paste(_source(), images=(1, 1), scale=(1, 1), flip=0)
    pasted = copy_paste(painted((160, 200), []), dataset, np.random.default_rng(0))
    assert (pasted.boxes[0, 2:] - pasted.boxes[0, :2]).tolist() == [60, 60]


def test_what_is_pasted_is_never_larger_than_the_image():
    copy_paste, dataset = _copy_paste(_source(), images=(1, 1), scale=(50, 50))
    pasted = copy_paste(painted((40, 60), []), dataset, np.random.default_rng(0))
    assert (pasted.boxes[0, 2:] - pasted.boxes[0, :2]).tolist() == [40, 40]


def test_it_can_be_anywhere_and_turned_to_the_other_side():
    source = painted((40, 40), [np.array([[0, 0], [20, 0], [0, 20]], dtype=np.float32)])
    copy_paste, dataset = _copy_paste(source, images=(1, 1), scale=(1, 1), flip=0.5)
    base, corners, leaning = painted((40, 40), []), set(), set()
    for seed in range(80):
        pasted = copy_paste(base, dataset, np.random.default_rng(seed))
        x1, y1, _, y2 = pasted.boxes[0].tolist()
        corners.add((x1 < 7, y1 < 7))
        leaning.add(bool((pasted.image[int(y2) - 3, int(x1)] == color_of(0)).all()))
    assert len(corners) == 4
    assert leaning == {True, False}


def test_companions_come_along_in_their_places():
    copy_paste, dataset = _copy_paste(_source(), images=(1, 1), scale=(1, 1), companions=1, flip=0)
    pasted = copy_paste(painted((80, 100), []), dataset, np.random.default_rng(0))
    assert pasted.labels.tolist() == [2, 3]
    apart = pasted.boxes[1] - pasted.boxes[0]
    assert apart.tolist() == [50, -20, 40, -30]  # as in the source: 75 - 25, 5 - 25, 95 - 55, ...


def test_the_same_generator_pastes_the_same():
    copy_paste, dataset = _copy_paste(_source(), companions=0.5)
    one, two = (
        copy_paste(painted((60, 60), [SMALL]), dataset, np.random.default_rng(5)) for _ in range(2)
    )
    assert (one.image == two.image).all()
    assert (one.boxes == two.boxes).all()


def test_neither_image_is_changed():
    source, base = _source(), painted((60, 60), [SMALL])
    before = source.image.copy(), base.image.copy()
    copy_paste, dataset = _copy_paste(source, images=(3, 3))
    copy_paste(base, dataset, np.random.default_rng(5))
    assert (source.image == before[0]).all()
    assert (base.image == before[1]).all()


def test_boxes_are_pasted_and_covered_without_any_outline():
    base = painted((60, 60), [rectangle(0, 0, 60, 60)], masks=False)
    copy_paste, dataset = _copy_paste(
        _source(masks=False), outlined=False, images=(1, 1), scale=(50, 50), min_visible=0.1
    )
    pasted = copy_paste(base, dataset, np.random.default_rng(0))
    assert pasted.masks is None
    assert pasted.labels.tolist() == [2]  # the other is covered completely


@pytest.mark.parametrize(
    ("outlined", "known", "expected"),
    [
        # nobody looked for class 2 in the source, but along its outline there is nothing else
        (True, [True, False, False, True], [True, False, True, True]),
        # in the box around it there may be more of class 2
        (False, [True, False, False, True], [True, False, False, True]),
    ],
)
def test_what_is_known_of_a_piece_is_what_is_known_of_its_image(outlined, known, expected):
    source = _source()._replace(checked=np.array(known))
    piece = cut_out(source, ALONG, outlined=outlined)
    assert piece.checked.tolist() == expected
    assert source.checked.tolist() == known


def test_a_piece_with_part_of_an_unmarked_object_is_not_checked_for_its_class():
    rings = [ellipse((40, 40), (15, 15), 0.0), rectangle(30, 30, 36, 36)]
    source = painted((80, 100), rings)._replace(checked=np.array([True, True, True]))
    assert cut_out(source, ALONG, outlined=True).checked.tolist() == [True, False, True]
    both = cut_out(source, np.array([True, True]), outlined=True)
    assert both.checked.tolist() == [True, True, True]


def test_a_class_is_absent_from_the_result_only_if_it_is_from_all_pieces():
    """Class 0 is known in both; 1 only in the base; 2 is pasted where nobody looked for it."""
    base = painted((60, 60), [SMALL])._replace(checked=np.array([True, True, False, True]))
    source = _source()._replace(checked=np.array([True, False, True, True]))
    copy_paste, dataset = _copy_paste(source, images=(1, 1))
    pasted = copy_paste(base, dataset, np.random.default_rng(0))
    assert pasted.checked.tolist() == [True, False, False, True]
