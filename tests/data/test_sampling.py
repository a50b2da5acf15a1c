from itertools import islice

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.data.epochs.repeated import RepeatedImages
from dense_lt.data.sampling import BatchSampler, EpochOrder, chance_at


def _order(factors, *, rounding="stochastic", seed=3, **grouping) -> EpochOrder:
    factors = np.asarray(factors, dtype=np.float64)
    return EpochOrder(RepeatedImages(factors, rounding=rounding, seed=seed), seed=seed, **grouping)


def _indices(order: EpochOrder, count: int, start: int = 0) -> list[int]:
    return [draw.index for draw in islice(order.draws(start), count)]


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


def test_chance_of_the_model_depends_on_seed_and_position_alone():
    seeds = [int(chance_at(3, position)) for position in range(100)]
    assert seeds == [int(chance_at(3, position)) for position in range(100)]
    assert len(set(seeds)) == 100
    assert seeds[0] != int(chance_at(4, 0))
    assert all(0 <= own < 2**31 for own in seeds)
