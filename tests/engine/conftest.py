"""Fixtures of the engine's tests: a tiny detector, batches for it, a class table."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from helpers.tiny_detector import TinyDetector, draw_batch, draw_batches

from dense_lt.data.categories import CategoryTable
from dense_lt.structures import Batch


@pytest.fixture
def tiny_detector() -> Callable[..., TinyDetector]:
    """Makes tiny detectors, each with the same weights."""

    def make(**options: float) -> TinyDetector:
        torch.manual_seed(0)
        return TinyDetector(**options)

    return make


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    return draw_batch


@pytest.fixture
def make_batches() -> Callable[..., Iterator[Batch]]:
    return draw_batches


@pytest.fixture
def categories() -> CategoryTable:
    """One class of each group."""
    return CategoryTable(
        names=("dog", "heron", "axolotl"),
        dataset_ids=(7, 2, 90),
        image_counts=(500, 40, 3),
        instance_counts=(800, 44, 3),
        groups=("frequent", "common", "rare"),
    )
