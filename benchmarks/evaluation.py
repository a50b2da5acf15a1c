"""What does scoring cost? CPU seconds and peak memory against the `lvis` package, from one run.

Every measurement is a fresh process with one thread. "core" is everything after the files are
loaded. Ratios are package : ours.

    python benchmarks/evaluation.py            # 2,000 images of boxes and masks, and the large sets
    python benchmarks/evaluation.py --images 500 --large 0 --open-images 0   # a quick look
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from simulated_lvis import document_of, masks_of, simulate
from simulated_openimages import write_open_images

from dense_lt.evaluation.json_files import no_garbage_collection
from dense_lt.evaluation.lvis import match_detections
from dense_lt.evaluation.prediction_files import write_predictions
from dense_lt.evaluation.rules import LVIS
from dense_lt.evaluation.shards import write_columns


class Cost(NamedTuple):
    """CPU seconds and peak MB of one process."""

    total: float
    core: float
    peak: float
    number: float | None
    """AP, to see that all computed the same."""


def ours(folder: Path, predictions: str, iou_type: str) -> Cost:
    """From files to numbers."""
    from dense_lt.evaluation.score import ScoreSettings, score
    from dense_lt.evaluation.score_files import read_inputs

    settings = ScoreSettings(iou_type=iou_type, mask_area="mask")  # type: ignore[arg-type]
    start = time.process_time()
    truth, found = read_inputs(folder / "gt.json", folder / predictions, settings)
    loaded = time.process_time()
    result = score(truth, found, settings)
    return _cost(start, loaded, result.metrics["AP"])


def package(folder: Path, iou_type: str) -> Cost:
    """The same with `lvis` 0.5.3, as it is published: with the garbage collector."""
    from dense_lt.evaluation.official import import_lvis

    lvis = import_lvis()
    start = time.process_time()
    document = json.loads((folder / "gt.json").read_bytes())
    records = json.loads((folder / "found.json").read_bytes())
    loaded = time.process_time()
    truth = lvis.LVIS.__new__(lvis.LVIS)
    truth.logger, truth.dataset = lvis.eval.logging.getLogger("lvis"), document
    truth._create_index()
    evaluation = lvis.LVISEval(truth, lvis.LVISResults(truth, records), iou_type)
    evaluation.run()
    return _cost(start, loaded, float(evaluation.results["AP"]))


def bootstrap_cost(images: int) -> Cost:
    """1,000 resamples with two threads; `total` is wall-clock time here."""
    from dense_lt.evaluation.bootstrap import bootstrap

    truth, found = simulate(images)
    matched = match_detections(truth, found, LVIS, caps=(300,))
    start, wall = time.process_time(), time.perf_counter()
    samples = bootstrap(matched, truth, cap=300, resamples=1000, threads=2)
    cost = _cost(start, start, float(samples.values["AP"].std()))
    return cost._replace(total=time.perf_counter() - wall)


def open_images(folder: Path) -> Cost:
    """From CSV to numbers."""
    from dense_lt.evaluation.openimages_score import OpenImagesFiles, score_openimages

    start = time.process_time()
    result = score_openimages(
        OpenImagesFiles(
            predictions=folder / "found.csv",
            boxes=folder / "boxes.csv",
            classes=folder / "classes.csv",
            labels=folder / "labels.csv",
            hierarchy=folder / "hierarchy.json",
        )
    )
    return _cost(start, start, result.metrics["mAP"])


def _cost(start: float, loaded: float, number: float | None) -> Cost:
    now = time.process_time()
    return Cost(now - start, now - loaded, _peak_mb(), number)


def _peak_mb() -> float:
    """Of this program; what getrusage says includes the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


MEASURES: dict[str, Callable[..., Cost]] = {
    "json": lambda folder, iou_type: ours(Path(folder), "found.json", iou_type),
    "columns": lambda folder, iou_type: ours(Path(folder), "found.npz", iou_type),
    "lvis": lambda folder, iou_type: package(Path(folder), iou_type),
    "bootstrap": lambda images: bootstrap_cost(int(images)),
    "openimages": lambda folder: open_images(Path(folder)),
}


def measure(name: str, *arguments: object, rounds: int = 1) -> Cost:
    """The cheapest of `rounds` fresh processes."""
    command = [sys.executable, __file__, "--measure", name, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    costs = []
    for _ in range(rounds):
        output = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
        costs.append(Cost(*json.loads(output)))
    return min(costs)


def write_files(folder: Path, images: int, *, masks: bool, as_json: bool) -> None:
    """gt.json, found.npz and, if wanted, found.json."""
    truth, found = simulate(images)
    if masks:
        found = masks_of(found)
    with no_garbage_collection():
        (folder / "gt.json").write_text(json.dumps(document_of(truth)), encoding="utf-8")
    write_columns(found, truth.image_ids.tolist(), folder / "found.npz")
    if as_json:
        write_predictions(found, folder / "found.json")


def compare(images: int, iou_type: str, rounds: int) -> None:
    """Ours from JSON and from columns, and the package."""
    with tempfile.TemporaryDirectory() as name:
        write_files(Path(name), images, masks=iou_type == "segm", as_json=True)
        costs = {"lvis": measure("lvis", name, iou_type)}
        for own in ("json", "columns"):
            costs[own] = measure(own, name, iou_type, rounds=rounds)
    print(f"\n{iou_type}, {images:,} images x 300 detections, 1,203 categories")
    print("| | total s | core s | peak MB | total x | core x | memory x | AP |")
    print("|---|---|---|---|---|---|---|---|")
    reference = costs["lvis"]
    for own, cost in costs.items():
        times = [reference[i] / cost[i] for i in range(3)]
        numbers = [f"{cost.total:.2f}", f"{cost.core:.2f}", f"{cost.peak:.0f}"]
        shown = [*numbers, *(f"{value:.1f}" for value in times), f"{cost.number:.12f}"]
        print(f"| {own} | {' | '.join(shown)} |")


def large(images: int) -> None:
    """Columns alone: the package would take a quarter of an hour and tens of gigabytes."""
    with tempfile.TemporaryDirectory() as name:
        write_files(Path(name), images, masks=False, as_json=False)
        cost = measure("columns", name, "bbox")
    print(
        f"\nbbox from columns, {images:,} images: {cost.total:.2f} s, core {cost.core:.2f} s, "
        f"{cost.peak:.0f} MB"
    )
    cost = measure("bootstrap", images)
    print(
        f"1,000 resamples of it: {cost.total:.1f} s on two threads, {cost.core:.1f} s of CPU, "
        f"{cost.peak:.0f} MB"
    )


def large_open_images(images: int) -> None:
    """From CSV files."""
    with tempfile.TemporaryDirectory() as name:
        write_open_images(Path(name), images)
        cost = measure("openimages", name)
    print(
        f"\nOpen Images from CSV, {images:,} images x 300 detections, 500 classes: "
        f"{cost.total:.1f} s of CPU, {cost.peak:.0f} MB, mAP {cost.number}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="*", default=[2000])
    parser.add_argument("--mask-images", type=int, nargs="*", default=[2000])
    parser.add_argument("--large", type=int, default=19809)
    parser.add_argument("--open-images", type=int, default=41620)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, *values = arguments.measure
        print(json.dumps(MEASURES[name](*values)))
        return
    for images in arguments.images:
        compare(images, "bbox", arguments.rounds)
    for images in arguments.mask_images:
        compare(images, "segm", arguments.rounds)
    if arguments.large:
        large(arguments.large)
    if arguments.open_images:
        large_open_images(arguments.open_images)


if __name__ == "__main__":
    main()
