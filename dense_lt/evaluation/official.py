"""The `lvis` package and pycocotools beside current NumPy: `--backend`, and oracle of the tests."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import sys
import types
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.curves import Curves
from dense_lt.evaluation.masks import box_as_polygon, encode_segmentation, mask_tools
from dense_lt.evaluation.rules import IouType
from dense_lt.evaluation.score import Backend, ScoreSettings
from dense_lt.utils.errors import DataError

Document = dict[str, Any]
Records = list[dict[str, Any]]

PACKAGE_OF = {"lvis": "lvis", "coco": "pycocotools"}
"""Protocol -> the package that defines it."""


def import_lvis() -> types.ModuleType:
    """The `lvis` package 0.5.3 without its three side effects.

    It uses `np.float`, which NumPy removed; it imports OpenCV and matplotlib for drawing; it puts a
    handler on the root logger.

    Raises:
        DataError: it is not installed.
    """
    if not hasattr(np, "float"):
        np.float = float  # type: ignore[attr-defined]
    drawing = types.ModuleType("lvis.vis")
    drawing.LVISVis = None  # type: ignore[attr-defined]
    sys.modules.setdefault("lvis.vis", drawing)
    handlers = list(logging.root.handlers)
    try:
        import lvis
    except ImportError as error:
        raise DataError(
            f"--backend lvis needs the lvis package: {error}. Install it with `pip install "
            "--no-deps lvis pycocotools`"
        ) from error
    logging.root.handlers[:] = handlers
    logging.getLogger("lvis").setLevel(logging.ERROR)
    return lvis


def evaluate_lvis(
    document: Document, records: Records, iou_type: IouType, max_detections: int = 300
) -> Any:
    """Run the `lvis` package; returns its LVISEval, with `results` and `eval` filled.

    The package changes what it is given, so it gets copies. An empty list of `records` is an
    IndexError in it.
    """
    lvis = import_lvis()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        truth = lvis.LVIS.__new__(lvis.LVIS)  # its constructor wants a file
        truth.logger = logging.getLogger("lvis.lvis")
        truth.dataset = copy.deepcopy(document)
        truth._create_index()
        results = lvis.LVISResults(truth, copy.deepcopy(records), max_dets=max_detections)
        evaluation = lvis.LVISEval(truth, results, iou_type)
        evaluation.params.max_dets = max_detections
        evaluation.run()
    return evaluation


def evaluate_coco(
    document: Document, records: Records, iou_type: IouType, caps: Sequence[int] = (1, 10, 100)
) -> Any:
    """Run pycocotools; returns its COCOeval, with `eval` filled. Prints nothing."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(document)  # type: ignore[assignment]
        truth.createIndex()
        found = truth.loadRes(copy.deepcopy(records))  # type: ignore[arg-type]
        evaluation = COCOeval(truth, found, iou_type)  # type: ignore[arg-type]
        evaluation.params.maxDets = sorted(caps)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def official_curves(
    document: Document, records: Records, settings: ScoreSettings, backend: Backend
) -> dict[int, Curves]:
    """Curves of each cap of `settings`, computed by the package `backend`.

    Raises:
        DataError: the package does not know the protocol, or cannot do without detections.
    """
    if PACKAGE_OF.get(settings.protocol) != backend:
        known = ", ".join(f"--backend {own} --protocol {name}" for name, own in PACKAGE_OF.items())
        raise DataError(
            f"--backend {backend} cannot compute --protocol {settings.protocol}; there are: {known}"
        )
    if settings.iou_type == "boundary":
        raise DataError(f"--backend {backend} does not know --iou-type boundary; leave it out")
    if not records:
        raise DataError(f"--backend {backend} fails on an empty list of detections; leave it out")
    document = _with_areas_and_ids(document, masks=settings.iou_type == "segm")
    if settings.iou_type == "segm" and settings.mask_area == "mask":
        records = _masks_alone(document, records)
    if backend == "pycocotools":
        caps = sorted(settings.all_caps)
        found = evaluate_coco(_with_crowd_flags(document), records, settings.iou_type, caps).eval
        return {
            cap: _curves(found["precision"][..., index], found["recall"][..., index])
            for index, cap in enumerate(caps)
        }
    complete = with_lvis_fields(document)
    return {
        cap: _curves(found["precision"], found["recall"])
        for cap in settings.all_caps
        for found in [evaluate_lvis(complete, records, settings.iou_type, cap).eval]
    }


def _with_areas_and_ids(document: Document, *, masks: bool) -> Document:
    """A document with the fields that we do without: `area`, as we fill it in, and ids."""
    annotations = document["annotations"]
    sizes = {image["id"]: (image.get("height"), image.get("width")) for image in document["images"]}
    complete = []
    for annotation in annotations:
        if annotation.get("area") is None:
            if masks:
                mask = encode_segmentation(
                    annotation["segmentation"], sizes[annotation["image_id"]]
                )
                area = float(mask_tools().area(mask))
            else:
                area = annotation["bbox"][2] * annotation["bbox"][3]
            annotation = {**annotation, "area": area}
        complete.append(annotation)
    if any(annotation.get("id") is None for annotation in annotations):
        complete = [{**own, "id": index} for index, own in enumerate(complete, start=1)]
    return {**document, "annotations": complete}


def _masks_alone(document: Document, records: Records) -> Records:
    """Records without boxes, as detectron2 hands them over; then masks must be encoded."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    alone = []
    for record in records:
        mask = record.get("segmentation") or box_as_polygon(record["bbox"])
        encoded = encode_segmentation(mask, sizes[record["image_id"]])
        kept = {key: value for key, value in record.items() if key != "bbox"}
        alone.append({**kept, "segmentation": encoded})
    return alone


def _curves(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> Curves:
    """(T, R, C, A) and (T, C, A), -1 where undefined -> ours."""
    precision, recall = precision.transpose(3, 0, 2, 1), recall.transpose(2, 0, 1)
    return Curves(np.where(precision < 0, np.nan, precision), np.where(recall < 0, np.nan, recall))


def with_lvis_fields(document: Document) -> Document:
    """A plain COCO document with what the `lvis` package insists on: everything is looked for."""
    ids = [category["id"] for category in document["categories"]]
    federated = any("neg_category_ids" in image for image in document["images"])
    defaults = {"neg_category_ids": [] if federated else ids, "not_exhaustive_category_ids": []}
    return {
        **document,
        "images": [{**defaults, **image} for image in document["images"]],
        "categories": [{"frequency": "f", **category} for category in document["categories"]],
    }


def _with_crowd_flags(document: Document) -> Document:
    annotations = [{"iscrowd": 0, **annotation} for annotation in document["annotations"]]
    return {**document, "annotations": annotations}
