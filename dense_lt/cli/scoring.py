"""`dense-lt eval score`: score predictions files; needs no model and no torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dense_lt.cli import calibrations
from dense_lt.utils.errors import ConfigError

if TYPE_CHECKING:
    from dense_lt.evaluation.calibration import Calibration
    from dense_lt.evaluation.results import EvaluationResult
    from dense_lt.evaluation.rules import IouType
    from dense_lt.evaluation.score import ScoreSettings

OPEN_IMAGES = ("openimages", "openimages-expanded")
"""Protocols that read other files."""

ONLY_OPEN_IMAGES: tuple[str, ...] = ("boxes", "labels", "hierarchy", "classes", "train_counts")
ONLY_ANNOTATIONS: dict[str, object] = {
    **dict.fromkeys(("gt", "train_annotations", "categories", "max_dets", "classifier")),
    **dict.fromkeys(("norcal", "logit_adjustment", "temperature", "tau_norm", "fracal")),
    **{"iou_type": ["bbox"], "mask_area": "mask", "backend": "ours"},
}
"""Options that the protocols of annotation files read, and what they are if not given."""

FEWEST_DRAWS = 100
"""The ends of a 95% interval need some draws beyond them."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--gt", type=Path, help="LVIS or COCO annotation file")
    parser.add_argument(
        "--predictions",
        type=Path,
        required=True,
        nargs="+",
        metavar="FILE",
        help="JSON lists of detections, npz files or folders of them, CSV for Open Images; of "
        "several, differences to the first are shown with intervals",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for results.json and CSV")
    _configure_rules(parser)
    _configure_training(parser)
    _configure_open_images(parser)
    parser.add_argument(
        "--backend",
        choices=("ours", "lvis", "pycocotools"),
        default="ours",
        help="which code computes; the numbers are the same",
    )
    parser.add_argument(
        "--resamples",
        type=_draws,
        default=1000,
        metavar="N",
        help=f"draws of the images for intervals, at least {FEWEST_DRAWS}; 0 for none "
        "(default: 1000)",
    )
    calibrations.configure(parser)
    parser.add_argument("--name", default="", help="name over the numbers; default: the file's")


def _configure_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--iou-type",
        nargs="+",
        choices=("bbox", "segm", "boundary"),
        default=["bbox"],
        help="boxes, masks, or masks together with their outlines (boundary AP)",
    )
    parser.add_argument(
        "--max-dets",
        nargs="+",
        type=_positive,
        default=[],
        metavar="N",
        help="caps of detections, the first for the headline; default: the protocol's",
    )
    parser.add_argument(
        "--protocol",
        nargs="+",
        choices=("lvis", "fixed", "pool", "coco", *OPEN_IMAGES),
        default=["lvis"],
        help="lvis (the default): 300 detections per image; fixed: 10,000 per category instead; "
        "pool: the same, ranked over all categories; coco: 100, 10 and 1 per image and category; "
        "openimages: the challenge's, from the CSV files below; openimages-expanded: with "
        "detections copied to all ancestors",
    )
    parser.add_argument(
        "--mask-area",
        choices=("mask", "box"),
        default="mask",
        help="size of a detected mask: its own area, or its box's as in the lvis package",
    )


def _configure_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--train-annotations", type=Path, help="training annotations: frequency groups and counts"
    )
    parser.add_argument("--categories", type=Path, help="categories.json of a run: the same")


def _configure_open_images(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("for --protocol openimages, instead of --gt")
    group.add_argument("--boxes", type=Path, help="CSV of boxes")
    group.add_argument("--labels", type=Path, help="CSV of verified image labels")
    group.add_argument("--hierarchy", type=Path, help="JSON; none if boxes are expanded already")
    group.add_argument("--classes", type=Path, help="CSV without a header: machine id, name")
    group.add_argument(
        "--train-counts",
        type=Path,
        help="JSON or CSV of training instances: AP1 (fewest) to AP5",
    )


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _draws(text: str) -> int:
    draws = _whole(text)
    if draws != 0 and draws < FEWEST_DRAWS:
        raise argparse.ArgumentTypeError(
            f"{draws}: it must be at least {FEWEST_DRAWS}, or 0 for no intervals"
        )
    return draws


def _positive(text: str) -> int:
    if (number := _whole(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number}: it must be at least 1")
    return number


def run(arguments: argparse.Namespace) -> int:
    """Score every file, write the results, print the table."""
    from dense_lt.evaluation.results import remove_results, save_results

    check_out(arguments.out)
    results, paths = [], []
    single = len(arguments.predictions) == 1
    measure = _score_open_images if _is_open_images(arguments) else _score_annotations
    for name, own in measure(arguments).items():
        paths += save_results(own, arguments.out if single else arguments.out / name)
        results += own
    if not single:
        remove_results(arguments.out)
    report(results, paths)
    return 0


def check_out(folder: Path) -> None:
    """Before anything is computed.

    Raises:
        ConfigError: `folder`, or a part of its path, is a file.
    """
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise ConfigError(f"--out {folder}: {path} is a file; give a folder")


def _is_open_images(arguments: argparse.Namespace) -> bool:
    """Which kind of files is given; complains when the two are mixed or one is missing."""
    kinds = {protocol in OPEN_IMAGES for protocol in arguments.protocol}
    if len(kinds) > 1:
        raise ConfigError("--protocol: Open Images has other files; score it apart")
    needed = ("boxes", "classes") if True in kinds else ("gt",)
    missing = [name for name in needed if getattr(arguments, name) is None]
    if missing:
        raise ConfigError(f"--protocol {arguments.protocol[0]} needs --{' and --'.join(missing)}")
    if arguments.train_annotations and arguments.categories:
        raise ConfigError("--train-annotations and --categories say the same; give one of them")
    _refuse_unused(arguments, True in kinds)
    return True in kinds


def _refuse_unused(arguments: argparse.Namespace, open_images: bool) -> None:
    names = ONLY_ANNOTATIONS if open_images else dict.fromkeys(ONLY_OPEN_IMAGES)
    given = [name for name in names if getattr(arguments, name) not in (None, [], names[name])]
    if given:
        option, others = given[0].replace("_", "-"), ("lvis, fixed, pool and coco", "openimages")
        raise ConfigError(
            f"--{option} is for --protocol {others[not open_images]}; --protocol "
            f"{arguments.protocol[0]} does not read it: leave it out"
        )


def _score_annotations(arguments: argparse.Namespace) -> dict[str, list[EvaluationResult]]:
    from dense_lt.evaluation.score_files import FilesToScore

    training = calibrations.read_training(arguments)
    results = {}
    for name, path in _names(arguments).items():
        files = FilesToScore(arguments.gt, path, training.categories, training.notes)
        methods = calibrations.wanted(arguments, training, path)
        results[name] = [
            files.score(
                _settings(arguments, protocol, iou_type, method),
                backend=arguments.backend,
                run=name,
            )
            for protocol in dict.fromkeys(arguments.protocol)
            for iou_type in dict.fromkeys(arguments.iou_type)
            for method in (None, *methods)
        ]
    return results


def _score_open_images(arguments: argparse.Namespace) -> dict[str, list[EvaluationResult]]:
    from dense_lt.evaluation.openimages_score import OpenImagesFiles, score_openimages

    return {
        name: [
            score_openimages(
                OpenImagesFiles(
                    predictions=path,
                    boxes=arguments.boxes,
                    classes=arguments.classes,
                    labels=arguments.labels,
                    hierarchy=arguments.hierarchy,
                    train_counts=arguments.train_counts,
                ),
                protocol=protocol,
                resamples=arguments.resamples,
                run=name,
            )
            for protocol in dict.fromkeys(arguments.protocol)
        ]
        for name, path in _names(arguments).items()
    }


def _names(arguments: argparse.Namespace) -> dict[str, Path]:
    """What each predictions file is called, unless --name says otherwise.

    Its stem; where several have the same, the nearest folder that tells them apart.
    """
    paths: list[Path] = arguments.predictions
    if arguments.name and len(paths) > 1:
        raise ConfigError("--name is for a single predictions file")
    full = [path.resolve() for path in paths]  # a `..` is no name of a folder
    if len(set(full)) < len(full):
        raise ConfigError("--predictions: a file is given twice; give each once")
    alike = [[other for other in full if other.stem == path.stem] for path in full]
    names = [
        path.stem if len(others) == 1 else _folder_name(path, others)
        for path, others in zip(full, alike, strict=True)
    ]
    if len(set(names)) < len(names):
        raise ConfigError(
            "--predictions: two files have the same name, and so have their folders; rename one"
        )
    return {arguments.name: paths[0]} if arguments.name else dict(zip(names, paths, strict=True))


def _folder_name(path: Path, alike: Sequence[Path]) -> str:
    """Name of the nearest folder over `path` whose like is different for all of `alike`."""
    depth = min(len(other.parents) for other in alike)
    for level in range(depth):
        if len({other.parents[level].name for other in alike}) == len(alike):
            return path.parents[level].name or path.stem
    return path.stem


def _settings(
    arguments: argparse.Namespace,
    protocol: str,
    iou_type: IouType,
    calibration: Calibration | None,
) -> ScoreSettings:
    from dense_lt.evaluation.score import ScoreSettings

    return ScoreSettings(
        protocol=protocol,
        iou_type=iou_type,
        caps=tuple(arguments.max_dets),
        mask_area=arguments.mask_area,
        calibration=calibration,
        resamples=arguments.resamples,
    )


def report(results: Sequence[EvaluationResult], paths: Sequence[Path]) -> None:
    """Print the table and where the results are."""
    from dense_lt.evaluation.tables import format_results

    written = "\n".join(map(str, paths))
    sys.stdout.write(f"{format_results(results)}\n{written}\n")
