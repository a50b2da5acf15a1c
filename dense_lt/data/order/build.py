"""Data section -> the stream of images."""

from __future__ import annotations

from dense_lt.config.data import DataConfig
from dense_lt.data.dataset import DetectionDataset
from dense_lt.data.epochs.build import build_epochs
from dense_lt.data.epochs.interleaved import Interleaved
from dense_lt.data.mixture.dataset import ConcatenatedDataset
from dense_lt.data.sampling import EpochOrder


def build_order(
    dataset: DetectionDataset, config: DataConfig, *, seed: int, batch_size: int
) -> EpochOrder:
    """The order in which training sees the images.

    Args:
        dataset: training split.
        config: data section.
        seed: of the order.
        batch_size: images of one batch in one process; matters to `aspect_grouping` only.
    """
    table, num_classes = dataset.table, len(dataset.categories)
    if isinstance(dataset, ConcatenatedDataset) and dataset.weights is not None:
        parts = [
            build_epochs(config.sampler, part.table, num_classes, seed=seed + number)
            for number, part in enumerate(dataset.parts)
        ]
        sizes = [len(part) for part in dataset.parts]
        epochs = Interleaved(parts, sizes, dataset.weights, seed=seed)
    else:
        epochs = build_epochs(config.sampler, table, num_classes, seed=seed)
    return EpochOrder(
        epochs,
        seed=seed,
        portrait=table.heights > table.widths if config.aspect_grouping else None,
        group=batch_size,
    )
