"""The section of example images: ground truth and each run's detections side by side.

It needs the validation images and the runs' predictions; where they are not there, it says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dense_lt.config.load import load_config
from dense_lt.data.categories import CategoryTable
from dense_lt.data.segmentations import to_mask
from dense_lt.data.table import AnnotationTable
from dense_lt.evaluation.masks import decode_mask
from dense_lt.evaluation.prediction_files import read_predictions
from dense_lt.report import examples, pictures
from dense_lt.report.comparison import BY_GROUP, Comparison
from dense_lt.report.document import Block, Example, Gallery, Panel, Paragraph, Section
from dense_lt.report.runs import Run
from dense_lt.utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from dense_lt.data.dataset import DetectionDataset


MOST_RUNS = 5
"""Runs shown beside each other; more make the page large and the pictures small."""


@dataclass(frozen=True)
class ExampleOptions:
    """How many examples, and which detections are shown in them."""

    count: int = 2
    """Images per rule; 0 leaves the section out."""

    threshold: float = 0.2
    """Detections below this score are not shown."""

    most: int = 10
    """Detections, or objects, shown of one image."""

    seed: int = 0
    """Of the random choice."""


@dataclass(frozen=True)
class _Shown:
    """One run in the gallery."""

    label: str
    run: Run
    detections: Mapping[int, examples.Shown]


def example_section(comparison: Comparison, figures: Path, options: ExampleOptions) -> Section:
    """Chosen images as pictures in `figures`, or the reason why there are none."""
    try:
        blocks = _blocks(comparison, figures, options)
    except (ConfigError, DataError, OSError) as error:
        blocks = [Paragraph(f"There are no example images: {error}")]
    return Section("examples", "Example images", tuple(blocks))


def _blocks(comparison: Comparison, figures: Path, options: ExampleOptions) -> list[Block]:
    reference = comparison.data_sets[0].runs[0][0]
    runs, left_out = _runs_to_show(comparison)
    with_masks = any(run.mask_results is not None for _, run in runs)
    dataset, categories = _validation_data(reference, masks=with_masks)
    table = _scored_images(dataset.table, reference)
    shown = [_Shown(label, run, _read_shown(run, categories, options)) for label, run in runs]
    choices = examples.choose(
        table,
        categories,
        [own.detections for own in shown],
        [own.label for own in shown],
        count=options.count,
        seed=options.seed,
    )
    chosen = {int(table.image_ids[index]) for choice in choices for index in choice.images}
    shown = [_with_masks(own, categories, options, chosen) for own in shown]
    artist = _Artist(dataset, categories, shown, figures, options.most, with_masks)
    galleries = [
        Gallery(choice.rule, tuple(artist.example(index) for index in choice.images))
        for choice in choices
    ]
    reasons = [Paragraph(reason) for reason in left_out]
    return [Paragraph(_explanation(options)), *reasons, *galleries]


def _explanation(options: ExampleOptions) -> str:
    return (
        f"Shown are detections with a score of at least {options.threshold:g}, at most "
        f"{options.most} an image, the best first. Right (blue): of the class of an object that it "
        f"overlaps with an IoU of at least {examples.MATCH_IOU:g}; wrong (orange): not so; not "
        "judged (grey): nobody checked whether the image holds that class, or marked all of it."
    )


def _runs_to_show(comparison: Comparison) -> tuple[list[tuple[str, Run]], list[str]]:
    """First run of every experiment on the reference's data: reference, then best APr first."""
    data = comparison.data_sets[0]
    runs: list[tuple[str, Run]] = []
    left_out: list[str] = []
    for experiment, own in zip(comparison.experiments, data.runs, strict=True):
        if not own:
            left_out.append(f"{experiment.label} is left out: it has other classes or data.")
        elif own[0].predictions is None:
            left_out.append(f"{experiment.label} is left out: {own[0].folder} has no predictions.")
        else:
            runs.append((experiment.label, own[0]))
    if not runs or runs[0][1] is not data.runs[0][0]:
        raise DataError(f"{data.runs[0][0].folder} has no evaluation/predictions.json")

    def rare_score(entry: tuple[str, Run]) -> float:
        return entry[1].metric(BY_GROUP["rare"], entry[1].cap) or 0.0

    runs[1:] = sorted(runs[1:], key=rare_score, reverse=True)
    if len(runs) > MOST_RUNS:
        left_out.append(
            f"Left out to save room: {', '.join(name for name, _ in runs[MOST_RUNS:])}."
        )
    return runs[:MOST_RUNS], left_out


def _validation_data(run: Run, *, masks: bool) -> tuple[DetectionDataset, CategoryTable]:
    """The run's validation split and classes."""
    from dense_lt.data.build import build_datasets  # late: it imports torch

    if run.config is None or not (run.folder / "config.yaml").is_file():
        raise DataError(f"{run.folder} has no config.yaml, which says where the images are")
    config = load_config(run.folder / "config.yaml")
    stored = run.folder / "categories.json"
    known = CategoryTable.load(stored) if stored.is_file() else None
    splits = build_datasets(
        config.data, seed=config.seed, categories=known, splits=("val",), masks=masks
    )
    assert splits.val is not None, "build_datasets was asked for val"
    return splits.val, splits.categories


def _scored_images(table: AnnotationTable, run: Run) -> AnnotationTable:
    """The images that the run was scored on: all, or the first few by `evaluation.images`."""
    number = (run.config or {}).get("evaluation", {}).get("images")
    return table if number is None else table.select(range(min(int(number), len(table))))


def _with_masks(
    shown: _Shown, categories: CategoryTable, options: ExampleOptions, images: set[int]
) -> _Shown:
    """With the masks of what it shows in `images`, if the run has made any; all would be many."""
    if shown.run.mask_results is None:
        return shown
    return replace(shown, detections=_read_shown(shown.run, categories, options, images))


def _read_shown(
    run: Run, categories: CategoryTable, options: ExampleOptions, images: set[int] | None = None
) -> dict[int, examples.Shown]:
    """Boxes of all images; or, of `images`, masks too."""
    assert run.predictions is not None, "only runs with predictions are shown"
    predictions = read_predictions(run.predictions, masks=images is not None, images=images)
    return examples.shown_detections(
        predictions, categories, threshold=options.threshold, most=options.most
    )


@dataclass(frozen=True)
class _Artist:
    """Draws the panels of one image."""

    dataset: DetectionDataset
    categories: CategoryTable
    shown: Sequence[_Shown]
    figures: Path
    most: int  # boxes of one picture
    with_masks: bool  # of objects

    def example(self, index: int) -> Example:
        """Image `index` of the validation set: ground truth, then every run."""
        image = self.dataset.table.image(index)
        pixels = Image.fromarray(self.dataset[index]["image"].permute(1, 2, 0).numpy())  # (H, W, 3)
        scale = np.array([pixels.width / image.width, pixels.height / image.height] * 2)
        panels = [self._truth_panel(index, pixels, scale)]
        for place, own in enumerate(self.shown, start=1):
            found = own.detections.get(image.image_id, examples.NOTHING)
            judged = examples.judge(self.dataset.table, index, len(self.categories), found)
            lines = [
                f"{self.categories.names[label]} {score:.2f} {judgement}"
                for label, score, judgement in zip(found.labels, found.scores, judged, strict=True)
            ]
            colours = [pictures.COLOURS[judgement] for judgement in judged]
            name = f"example_{image.image_id}_{place}"
            masks = [decode_mask(own) for own in found.masks or ()]
            boxes = found.boxes * scale
            panels.append(self._panel(name, own.label, pixels, boxes, colours, lines, masks))
        return Example(f"Image {image.image_id}: {image.file_name}", tuple(panels))

    def _truth_panel(self, index: int, pixels: Image.Image, scale: NDArray[np.floating]) -> Panel:
        """The objects of the rarest classes, as many as detections are shown at most."""
        image = self.dataset.table.image(index)
        objects = np.flatnonzero(~image.crowd)
        counts = np.array(self.categories.image_counts)[image.labels[objects]]
        drawn = objects[np.argsort(counts, kind="stable")][: self.most]
        names, groups = self.categories.names, self.categories.groups
        lines = [f"{names[label]} ({groups[label]})" for label in image.labels[drawn]]
        masks = self._masks_of(index, drawn) if self.with_masks else []
        left = "" if len(drawn) == len(objects) else f", {len(drawn)} rarest of {len(objects)}"
        return self._panel(
            f"example_{image.image_id}_truth",
            f"ground truth{left}",
            pixels,
            image.boxes[drawn] * scale,
            [pictures.COLOURS["truth"]] * len(drawn),
            lines,
            masks,
        )

    def _masks_of(self, index: int, objects: NDArray[np.integer]) -> list[NDArray[np.uint8]]:
        """Of some objects of image `index`, on disk."""
        table = self.dataset.table
        height, width = int(table.heights[index]), int(table.widths[index])
        outlines = [table.segmentation(int(table.offsets[index]) + int(own)) for own in objects]
        return [to_mask(own, height, width) for own in outlines]

    def _panel(
        self,
        name: str,
        title: str,
        pixels: Image.Image,
        boxes: NDArray[np.floating],
        colours: Sequence[str],
        lines: Sequence[str],
        masks: Sequence[NDArray[np.integer]],
    ) -> Panel:
        picture = pictures.draw_boxes(pixels, boxes, colours, masks)
        jpeg = pictures.save_picture(picture, self.figures / f"{name}.png")
        return Panel(name, jpeg, (picture.height, picture.width), title, tuple(lines))
