from collections import Counter
from itertools import islice

import numpy as np
import pytest
from helpers.tables import table_of
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from dense_lt.config.sampling import SamplerConfig
from dense_lt.data.epochs.build import build_epochs
from dense_lt.data.sampling import BatchSampler, EpochOrder
from dense_lt.utils.errors import DataError

KINDS = (
    {"kind": "random"},
    {"kind": "repeat_factor", "threshold": 0.3},
    {"kind": "repeat_factor", "threshold": 0.3, "rounding": "ceil"},
    {"kind": "instance_aware_repeat_factor", "threshold": 0.3},
    {"kind": "class_aware"},
    {"kind": "square_root"},
)
LABELS = [[0]] * 12 + [[0, 1, 1]] * 3 + [[2], [], [1, 2]]


def _epochs(settings, labels=LABELS, seed=0):
    config = TypeAdapter(SamplerConfig).validate_python(settings)
    return build_epochs(config, table_of(labels), 3, seed=seed)


@pytest.mark.parametrize("settings", KINDS, ids=str)
@given(st.integers(0, 90), st.integers(1, 3), st.integers(1, 4))
def test_every_kind_is_shared_without_loss_and_goes_on_from_any_position(
    settings, start, world_size, batch_size
):
    order = EpochOrder(_epochs(settings), seed=0)
    whole = list(islice(order.draws(), start, start + 2 * world_size * batch_size))
    by_rank = [
        islice(
            BatchSampler(
                order, batch_size=batch_size, start=start, rank=rank, world_size=world_size
            ),
            2,
        )
        for rank in range(world_size)
    ]
    seen = [draw for batches in by_rank for batch in batches for draw in batch]
    images = {draw.position: draw.index for draw in seen}
    assert len(seen) == len(whole)
    assert images == {draw.position: draw.index for draw in whole}


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_images_come_as_often_as_expected(settings):
    """Over 400 epochs a mean count deviates by at most 0.5 / sqrt(400) = 0.025, mostly."""
    epochs = _epochs(settings)
    drawn = Counter(int(index) for epoch in range(400) for index in epochs.indices(epoch))
    means = np.array([drawn[image] / 400 for image in range(len(LABELS))])
    assert means == pytest.approx(epochs.expected(), abs=0.1)


def test_every_other_kind_shows_the_rare_class_more_often_than_chance():
    chance, *others = (_epochs(settings).expected()[15] for settings in KINDS)
    assert chance == 1
    assert all(times > 1 for times in others)


@pytest.mark.parametrize("kind", ["class_aware", "square_root"])
def test_drawing_classes_without_an_object_is_told(kind):
    with pytest.raises(DataError, match=f"a.json: data.sampler.kind={kind} draws classes"):
        _epochs({"kind": kind}, labels=[[], []])
