import tracemalloc

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from dense_lt.ops.mask_paste import paste_as_runs


def by_grid_sample(mask, box, size):
    """Over the whole image in float64, as detectron2 does it."""
    height, width = size
    x0, y0, x1, y1 = box
    y = ((torch.arange(height).double() + 0.5) - y0) / (y1 - y0) * 2 - 1
    x = ((torch.arange(width).double() + 0.5) - x0) / (x1 - x0) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    mask = torch.from_numpy(mask).double()[None, None]
    return functional.grid_sample(mask, grid, align_corners=False)[0, 0].numpy()


def decode(runs, size):
    flat = np.repeat(np.arange(len(runs)) % 2, runs).astype(bool)
    return flat.reshape(size[1], size[0]).T


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_pasting_is_grid_sample_over_the_image(seed):
    random = np.random.default_rng(seed)
    size = (int(random.integers(1, 40)), int(random.integers(1, 40)))
    mask = random.uniform(0, 1, (1, 7, 7)).astype(np.float32)
    corner = random.uniform(-10, 35, 2)
    box = np.concatenate([corner, corner + random.uniform(0.05, 40, 2)])
    (runs,) = paste_as_runs(mask, box[None], size)
    assert runs.sum() == size[0] * size[1]
    assert (runs[1:-1] > 0).all()
    expected = by_grid_sample(mask[0], box, size)
    differs = decode(runs, size) != (expected >= 0.5)
    assert (np.abs(expected[differs] - 0.5) < 1e-5).all()  # only where it is a draw


def test_a_full_mask_fills_its_box_and_runs_go_on_over_columns():
    ones = np.ones((2, 4, 4), np.float32)
    boxes = np.array([[1.0, 0, 3, 5], [0, 0, 4, 5]])
    first, second = paste_as_runs(ones, boxes, (5, 4))
    assert first.tolist() == [5, 10, 5]
    assert second.tolist() == [0, 20]


def test_300_masks_of_a_large_image_never_exist_at_once():
    """As bytes they would be 320 MB; the runs of 300 discs are small."""
    place = np.linspace(-1, 1, 28)
    disc = np.exp(-np.hypot(place, place[:, None])).astype(np.float32)  # 0.5 at a radius of ln 2
    random = np.random.default_rng(0)
    far = random.uniform(0.5, 1, (300, 2)) * (1333, 800)
    boxes = np.concatenate([far * random.uniform(0, 0.5, (300, 2)), far], axis=1)
    masks = np.broadcast_to(disc, (300, 28, 28))
    tracemalloc.start()
    try:
        runs = paste_as_runs(masks, boxes, (800, 1333))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(runs) == 300
    assert all(own.sum() == 800 * 1333 and own[1::2].sum() > 0 for own in runs)
    assert peak < 60e6


def test_a_mask_outside_of_the_image_is_empty():
    ones = np.ones((2, 4, 4), np.float32)
    boxes = np.array([[10.0, 10, 12, 12], [-9, -9, -5, -5]])
    assert [runs.tolist() for runs in paste_as_runs(ones, boxes, (5, 4))] == [[20], [20]]


def test_masks_below_the_threshold_are_empty():
    masks = np.full((1, 4, 4), 0.6, np.float32)
    box = np.array([[0.0, 0, 4, 5]])
    assert paste_as_runs(masks, box, (5, 4), threshold=0.7)[0].tolist() == [20]
