"""Run a detector over a loader: detections of every image, in pixels of the image on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from dense_lt.data.categories import CategoryTable
from dense_lt.evaluation.candidates import CandidateWatch
from dense_lt.evaluation.masks import PackedMasks, mask_tools
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.shards import ShardWriter, predicted_images, read_columns
from dense_lt.evaluation.streaming import (
    Keep,
    RisingThresholds,
    by_image,
    read_kept,
    without_image_cap,
)
from dense_lt.models.detector import Detector
from dense_lt.models.one_stage import OneStageDetector
from dense_lt.ops.mask_paste import paste_as_runs
from dense_lt.structures import Batch, Detections, ImageInfo
from dense_lt.utils import distributed

logger = logging.getLogger(__name__)

SOURCE = "the detector"
"""Where predictions come from that were not read from a file."""

GRID = 128
"""Corners are rounded to 1/128 pixel, which float32 and short decimals hold exactly.

So the columns and the JSON file of the same predictions score alike, to the last bit.
"""


@dataclass(frozen=True)
class PredictionRun:
    """Predictions and what they cost."""

    predictions: Predictions
    seconds_per_image: float
    """Of one process, waiting for data included."""
    image_ids: NDArray[np.int64]
    """All images that were predicted, now and before."""
    candidates: NDArray[np.int64] | None = None
    """Place of the first candidate on each object; see `CandidateWatch`."""


@torch.no_grad()
def predict(  # noqa: PLR0913 - what a run of predictions is made of
    detector: Detector,
    loader: Iterable[Batch],
    *,
    categories: CategoryTable,
    device: torch.device,
    precision: str = "fp32",
    folder: Path | None = None,
    keep: Keep | None = None,
    image_cap: bool = True,
    watch: CandidateWatch | None = None,
) -> PredictionRun:
    """Detections of all images of `loader`.

    Args:
        detector: on `device`; left in evaluation mode.
        loader: each image once over all processes.
        categories: labels -> ids of the data set.
        device: where to compute.
        precision: "fp32", or "bf16" for autocast.
        folder: every process writes what it predicts there, piece by piece, and only the main one
            reads it all at the end; None keeps it in memory and hands it from process to process.
        keep: leave out what is beyond these caps, for AP-fixed; detections come by image id then.
        image_cap: whether the detector's own cap of detections in an image holds.
        watch: is shown what the detector chooses among.
    """
    detector.eval()
    sink = _Memory() if folder is None else ShardWriter(folder, rank=distributed.rank())
    thresholds = None if keep is None else RisingThresholds(keep)
    if thresholds is not None and folder is not None and any(folder.glob("*.npz")):
        thresholds.look_at(folder)
    images, start = 0, time.perf_counter()
    bar = tqdm(loader, desc="predict", unit="batch", disable=not distributed.is_main())
    with (
        nullcontext() if image_cap else without_image_cap(detector),
        nullcontext([]) if watch is None else watch.listen(detector) as candidates,
    ):
        for batch in bar:
            with autocast(device, precision):
                detections = detector(batch.images.to(device))
            if watch is not None and candidates:
                with watch.timed():
                    for boxes, info in zip(candidates.pop(), batch.infos, strict=True):
                        watch.note(info.image_id, original_boxes(boxes.float().cpu().numpy(), info))
            found = to_predictions(detections, batch.infos, categories)
            found = found if thresholds is None else thresholds.filter(found)
            sink.add(found, [info.image_id for info in batch.infos])
            images += len(batch.infos)
    seconds = time.perf_counter() - start - (0.0 if watch is None else watch.seconds)
    found, image_ids = _collect(sink, folder, keep)
    places = None if watch is None else watch.gathered(image_ids)
    return PredictionRun(found, seconds / max(images, 1), image_ids, places)


class _Memory:
    """Keeps detections; the other kind of sink is a ShardWriter."""

    def __init__(self) -> None:
        self.parts: list[Predictions] = []
        self.images: list[int] = []

    def add(self, predictions: Predictions, image_ids: Sequence[int]) -> None:
        self.parts.append(predictions)
        self.images += image_ids


def _collect(
    sink: _Memory | ShardWriter, folder: Path | None, keep: Keep | None
) -> tuple[Predictions, NDArray[np.int64]]:
    """Everything that all processes found, and in which images they looked.

    With a folder only the main process gets it.
    """
    if isinstance(sink, _Memory):
        own = Predictions.join(sink.parts, SOURCE)
        found = Predictions.join(distributed.gather_objects(own), SOURCE)
        images = np.concatenate(distributed.gather_objects(np.array(sink.images, np.int64)))
        return found if keep is None else by_image(found), images
    assert folder is not None, "a ShardWriter has one"
    sink.flush()
    distributed.barrier()
    if not distributed.is_main():
        return Predictions.empty(SOURCE), np.zeros(0, np.int64)
    images = predicted_images(folder)
    if not len(images):
        return Predictions.empty(SOURCE), images
    return read_columns(folder) if keep is None else read_kept(folder, keep), images


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The arithmetic of a forward pass: "fp32" as it is, or "bf16"."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def to_predictions(
    detections: Sequence[Detections], infos: Sequence[ImageInfo], categories: CategoryTable
) -> Predictions:
    """Columns of a batch: boxes back in the image on disk, labels back to ids of the files."""
    ids = np.array(categories.file_ids)
    counts = [len(found.scores) for found in detections]
    labels = torch.cat([found.labels for found in detections]).cpu().numpy()
    boxes = [
        original_boxes(found.boxes.cpu().numpy(), info)
        for found, info in zip(detections, infos, strict=True)
    ]
    return Predictions(
        source=SOURCE,
        image_ids=np.repeat([info.image_id for info in infos], counts).astype(np.int64),
        category_ids=ids[labels].astype(np.int64),
        scores=torch.cat([found.scores for found in detections]).float().cpu().numpy(),
        boxes=np.concatenate(boxes).astype(np.float32),
        masks=_pack_masks(detections, infos),
    )


def _pack_masks(detections: Sequence[Detections], infos: Sequence[ImageInfo]) -> PackedMasks | None:
    """Masks of all detections in their image on disk; None from a detector without masks."""
    if any(found.masks is None for found in detections):
        return None
    parts = []
    for found, info in zip(detections, infos, strict=True):
        assert found.masks is not None, "looked at above"
        boxes = found.boxes.cpu().numpy() * _factor(info)
        runs = paste_as_runs(found.masks.cpu().numpy(), boxes, info.original_size)
        size = list(info.original_size)
        uncompressed = [{"size": size, "counts": own.tolist()} for own in runs]
        parts += mask_tools().frPyObjects(uncompressed, *size) if uncompressed else []
    return PackedMasks.pack(parts)


def original_boxes(boxes: NDArray[np.floating], info: ImageInfo) -> NDArray[np.float64]:
    """Boxes xyxy (D, 4) of the network input -> xywh in the image on disk, clipped to it.

    Each axis has its own factor, because resizing rounds height and width separately.
    """
    height, width = info.original_size
    corners = np.clip(boxes * _factor(info), 0, [width, height] * 2)
    corners = np.round(corners * GRID) / GRID
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _factor(info: ImageInfo) -> NDArray[np.float64]:
    """(4,) from xyxy of the network input to the image on disk."""
    (height, width), (input_height, input_width) = info.original_size, info.input_size
    return np.array([width / input_width, height / input_height] * 2)


def why_nothing(detector: Detector, loader: Iterable[Batch], device: torch.device) -> str:
    """Why there may be no detection at all, with the best score that the first batch reaches."""
    hint = "there are no detections at all"
    batch = next(iter(loader), None)
    if batch is None or not isinstance(detector, OneStageDetector):
        return hint
    inference, limits = detector.inference, detector.inference.limits
    inference.limits = limits._replace(score_threshold=0.0)
    try:
        with torch.no_grad():
            found = detector(batch.images.to(device))
    finally:
        inference.limits = limits
    best = max((float(own.scores.max()) for own in found if len(own.scores)), default=0.0)
    return (
        f"{hint}: the best score in the first {len(found)} images is {best:.2g} and "
        f"model.inference.score_threshold is {limits.score_threshold:.2g}. Lower the threshold, or "
        "train longer: scores start at model.head.prior_probability"
    )


def note_of_unread(names: Sequence[object], images: int) -> str:
    """What the results say of images that could not be read."""
    shown = ", ".join(map(str, names[:5])) + (", ..." if len(names) > 5 else "")
    return (
        f"{len(names)} of {images:,} images could not be read ({shown}; the log says why) and are "
        "left out of the evaluation, with their objects"
    )
