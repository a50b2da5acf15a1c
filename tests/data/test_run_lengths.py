import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from dense_lt.data import run_lengths
from dense_lt.data.run_lengths import BROKEN, problem_of_runs, sums_of_runs

MASKS = array_shapes(min_dims=2, max_dims=2, max_side=70).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 1))
)


def _sums(texts: list[bytes]) -> list[int]:
    stops = np.cumsum([len(text) for text in texts])
    starts = stops - [len(text) for text in texts]
    return sums_of_runs(b"".join(texts), starts, stops).tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(MASKS, min_size=1, max_size=5), st.sampled_from([b"", b"\x01\x02zz", b"l", b"00O"]))
def test_masks_fill_their_image_and_what_is_broken_disturbs_no_neighbour(masks, broken):
    texts = [coco_mask.encode(np.asfortranarray(mask))["counts"] for mask in masks]
    sizes = [mask.size for mask in masks]
    assert _sums([*texts, broken, *texts]) == [*sizes, BROKEN, *sizes]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9))
def test_long_runs_are_added_up(counts):
    text = coco_mask.frPyObjects({"size": [5, 5], "counts": counts}, 5, 5)["counts"]
    assert _sums([text]) == [sum(counts)]


def test_a_run_below_zero_is_broken():
    assert _sums([b"5O", b"55"]) == [BROKEN, 10]


def test_a_number_of_too_many_letters_is_broken():
    assert _sums([b"P" * 80 + b"0"]) == [BROKEN]


@pytest.mark.parametrize("counts", [[5, 5], "55", b"55"])
def test_short_runs_are_told_with_what_is_needed(counts):
    told = problem_of_runs(counts, 200, 300)
    assert told == "the runs add up to 10 pixels, height x width = 60000 are needed"
    assert problem_of_runs(counts, 2, 5) is None


@pytest.mark.parametrize("counts", ["\x01\x02zz", "\ud800", "", [-1, 11], [1.5], None, 3, "P"])
def test_what_is_no_run_length_is_told(counts):
    assert problem_of_runs(counts, 2, 5) == "cannot be decoded as run lengths"


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 16])
def test_pieces_give_the_sums_of_the_whole(monkeypatch, block):
    monkeypatch.setattr(run_lengths, "_BLOCK", block)
    rng = np.random.default_rng(0)
    pictures = [rng.random((5, 1 + number % 9)) < 0.5 for number in range(40)]
    texts = [coco_mask.encode(np.asfortranarray(p, dtype=np.uint8))["counts"] for p in pictures]
    texts[7] = b""
    expected = [picture.size for picture in pictures]
    expected[7] = BROKEN
    assert _sums(texts) == expected
