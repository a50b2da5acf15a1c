from itertools import islice

import numpy as np
import pytest
from helpers.annotation_files import coco_content, write_json
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.data.lvis import read_annotations
from dense_lt.data.sampling import BatchSampler, EpochOrder, repeat_factors
from dense_lt.data.table import AnnotationTable, Names, Ragged, offsets_of


def _order(factors, **options) -> EpochOrder:
    return EpochOrder(np.asarray(factors, dtype=np.float64), **{"seed": 3, **options})


def _indices(order: EpochOrder, count: int, start: int = 0) -> list[int]:
    return [draw.index for draw in islice(order.draws(start), count)]


def test_repeat_factors_are_those_of_the_formula(tmp_path):
    """Image fractions: class 7 is in 2 of 3, class 40 in 1 of 3, class -3 in none.

    Threshold 0.9, exponent 1/2: r(7) = sqrt(0.9 * 3 / 2) = 1.162, r(40) = sqrt(2.7) = 1.643.
    The first image has both, the second only class 7, the third is empty.
    """
    table, categories = read_annotations(write_json(tmp_path / "a.json", coco_content()))
    factors = repeat_factors(table, len(categories), threshold=0.9)
    assert factors == pytest.approx([2.7**0.5, 1.35**0.5, 1.0])
    assert len(factors) == len(table)


def test_a_threshold_below_every_fraction_repeats_nothing(tmp_path):
    table, categories = read_annotations(write_json(tmp_path / "a.json", coco_content()))
    assert repeat_factors(table, len(categories), threshold=1e-3).tolist() == [1, 1, 1]


def test_crowds_do_not_count(tmp_path):
    content = coco_content()
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    table, categories = read_annotations(write_json(tmp_path / "a.json", content))
    assert repeat_factors(table, len(categories), threshold=1.0).tolist() == [1, 1, 1]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.floats(1e-4, 1), st.floats(0.1, 1))
def test_repeat_factors_are_at_least_one_and_fall_with_the_count(counts, threshold, exponent):
    images = max(counts)
    labels = [[label for label, count in enumerate(counts) if count > i] for i in range(images)]
    flat = np.array([label for one in labels for label in one], dtype=np.int32)
    none = Ragged.from_lists([[]] * images)
    table = AnnotationTable(
        source="",
        image_ids=np.arange(images),
        heights=np.ones(images, np.int32),
        widths=np.ones(images, np.int32),
        file_names=Names([""] * images),
        url_names=Names([""] * images),
        offsets=offsets_of([len(one) for one in labels]),
        annotation_ids=np.arange(len(flat)),
        boxes=np.zeros((len(flat), 4), np.float32),
        labels=flat,
        areas=np.zeros(len(flat)),
        crowd=np.zeros(len(flat), bool),
        negatives=None,
        not_exhaustive=none,
    )
    factors = repeat_factors(table, len(counts), threshold=threshold, exponent=exponent)
    assert (factors >= 1).all()
    assert (np.diff(factors) <= 0).all()  # image i holds the classes with more than i images
    assert factors[0] == pytest.approx(max(1, (threshold * images / min(counts)) ** exponent))


def test_an_epoch_holds_every_image_once():
    order = _order([1] * 10)
    first, second = _indices(order, 20)[:10], _indices(order, 20)[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_positions_count_up_without_end():
    order = _order([1, 2.5, 1])
    assert [draw.position for draw in islice(order.draws(), 40)] == list(range(40))


@given(st.integers(0, 60), st.sampled_from(["stochastic", "ceil", "floor", "round"]))
def test_the_stream_goes_on_from_any_position(start, rounding):
    order = _order([1, 2.5, 1, 1.2, 3.7], rounding=rounding)
    assert list(islice(order.draws(start), 30)) == list(islice(order.draws(), start, start + 30))


@pytest.mark.parametrize(
    ("rounding", "counts"), [("ceil", [1, 3, 2]), ("floor", [1, 2, 1]), ("round", [1, 2, 1])]
)
def test_rounded_factors_give_the_same_counts_every_epoch(rounding, counts):
    order = _order([1, 2.4, 1.2], rounding=rounding)
    length = sum(counts)
    assert order.mean_length() == length
    for epoch in range(2):
        indices = _indices(order, length, start=epoch * length)
        assert np.bincount(indices, minlength=3).tolist() == counts


def test_stochastic_counts_are_right_on_average_and_differ_by_less_than_one():
    """Over 2000 epochs the mean count has a standard deviation of 0.5 / sqrt(2000) = 0.011."""
    factors = [1.0, 2.5, 1.1, 3.0]
    order = _order(factors)
    counts = np.array([np.bincount(order.epoch(e, 0), minlength=4) for e in range(2000)])
    assert np.abs(counts.mean(axis=0) - factors).max() < 0.05
    assert (counts >= np.floor(factors)).all()
    assert (counts <= np.ceil(factors)).all()
    assert order.mean_length() == pytest.approx(7.6)


def test_another_seed_gives_another_order():
    assert _indices(_order([1] * 50), 50) != _indices(_order([1] * 50, seed=4), 50)


def _batches(order, number, *, world_size=1, batch_size=4, start=0, rank=0):
    sampler = BatchSampler(
        order, batch_size=batch_size, start=start, rank=rank, world_size=world_size
    )
    return list(islice(sampler, number))


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 50))
def test_processes_share_the_stream_without_loss_or_repetition(world_size, batch_size, start):
    order = _order([1, 1.5, 2.2] * 7)
    by_rank = [
        _batches(order, 3, world_size=world_size, batch_size=batch_size, start=start, rank=rank)
        for rank in range(world_size)
    ]
    seen = [draw.position for batches in by_rank for batch in batches for draw in batch]
    assert sorted(seen) == list(range(start, start + 3 * world_size * batch_size))


def test_two_processes_see_in_a_step_what_one_process_sees():
    order = _order([1.3] * 11)
    alone = _batches(order, 5, batch_size=6)
    together = [
        [draw for batch in batches for draw in batch]
        for batches in zip(
            *(_batches(order, 5, batch_size=3, world_size=2, rank=rank) for rank in range(2)),
            strict=True,
        )
    ]
    assert alone == together


GROUPED = {"portrait": np.arange(23) % 3 == 0, "group": 4}


def test_grouped_batches_hold_one_kind_except_at_the_seams():
    order = _order([1] * 23, **GROUPED)
    portrait = GROUPED["portrait"]
    mixed = [
        len({bool(portrait[draw.index]) for draw in batch}) > 1 for batch in _batches(order, 60)
    ]
    # 23 images are 5.75 batches: at most the last one or two of an epoch are mixed
    assert sum(mixed) <= 60 * 2 / 5.75


def test_grouping_keeps_every_image_once_an_epoch():
    order = _order([1] * 23, **GROUPED)
    for epoch in range(3):
        assert sorted(_indices(order, 23, start=23 * epoch)) == list(range(23))


@given(st.integers(0, 70))
def test_grouped_order_goes_on_from_any_position(start):
    order = _order([1, 1.5] * 10 + [1] * 3, **GROUPED)
    assert list(islice(order.draws(start), 30)) == list(islice(order.draws(), start, start + 30))
