"""`dense-lt data draw --out DIR`, `check CONFIG`, `preview CONFIG`, `convert SOURCE --out PATH`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pydantic import ValidationError

from dense_lt.cli import convert
from dense_lt.config.data import DrawnConfig
from dense_lt.utils.errors import ConfigError

if TYPE_CHECKING:
    from dense_lt.config.data import DataConfig
    from dense_lt.config.experiment import ExperimentConfig
    from dense_lt.data.categories import CategoryTable
    from dense_lt.data.dataset import DetectionDataset
    from dense_lt.data.faults import Fault

HELP = "draw the embedded data set, check or preview your own, convert Open Images"
NUM_SAMPLES = 16
MOST_CLASSES = 12
"""Classes that `check` names in each group, those with the most training images."""

FAULTY = 1
MANY = 10
"""More faults than this in a file are also counted by kind."""

OPTIONS = tuple(name for name in DrawnConfig.model_fields if name not in ("kind", "folder"))


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    draw = actions.add_parser("draw", help="draw the long-tailed data set into a folder")
    draw.add_argument("--out", type=Path, required=True, help="folder of the set")
    for name in OPTIONS:
        field = DrawnConfig.model_fields[name]
        count = len(get_args(field.annotation))
        default = " ".join(map(str, field.default)) if count else field.default
        draw.add_argument(
            f"--{name.replace('_', '-')}",
            nargs=count or None,
            metavar="N",
            help=f"{field.description or ''} Default: {default}.".strip(),
        )
    check = actions.add_parser(
        "check", help="list every fault of the annotation files, draw sixteen training samples"
    )
    preview = actions.add_parser(
        "preview", help="draw training samples after augmentation, without checking files"
    )
    for action, name in ((check, "data_check.png"), (preview, "data_preview.png")):
        action.add_argument("config", type=Path, help="YAML file of a run")
        action.add_argument(
            "overrides",
            nargs="*",
            metavar="section.key=value",
            help="settings that replace the file's",
        )
        action.add_argument(
            "--out",
            type=Path,
            default=Path(name),
            help=f"picture of the samples after augmentation (default: {name})",
        )
    preview.add_argument(
        "--samples", type=int, default=NUM_SAMPLES, metavar="N", help="how many (default: 16)"
    )
    check.add_argument("--images", action="store_true", help="decode every image as well")
    convert.configure(actions.add_parser("convert", help=convert.HELP))


def run(arguments: argparse.Namespace) -> int:
    """Draw, check, preview or convert; 1 when `check` finds what must be mended."""
    from dense_lt.utils.logs import set_up_logs

    set_up_logs()
    actions = {"draw": _draw, "check": _check, "preview": _preview, "convert": convert.run}
    return actions[arguments.action](arguments)


def _draw(arguments: argparse.Namespace) -> int:
    from dense_lt.data.drawn.build import ensure_drawn

    given = {name: getattr(arguments, name) for name in OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    try:
        config = DrawnConfig.model_validate({**given, "folder": arguments.out})
    except ValidationError as error:
        raise ConfigError("; ".join(_describe(error))) from None
    _say(str(ensure_drawn(config)))
    return 0


def _describe(error: ValidationError) -> Iterator[str]:
    for finding in error.errors():
        message = finding["msg"].removeprefix("Value error, ")
        if finding["loc"]:
            option = str(finding["loc"][0]).replace("_", "-")
            message = f"--{option} {finding['input']}: {message}"
        yield message


def _check(arguments: argparse.Namespace) -> int:
    from dense_lt.config.load import load_config
    from dense_lt.data.build import build_datasets
    from dense_lt.data.check import check_images

    config = load_config(arguments.config, arguments.overrides)
    to_mend = _list_faults(config.data)
    if to_mend:
        return FAULTY
    train, val, categories = build_datasets(config.data, seed=config.seed, masks=True)
    assert train is not None, "both splits are built"
    assert val is not None, "both splits are built"
    for dataset in (train, val):
        table = dataset.table
        _say(f"{table.source}: {len(table):,} images, {table.num_instances:,} instances")
    for line in _classes(categories):
        _say(line)
    for dataset in (train, val) if arguments.images else ():
        for message in check_images(dataset):
            _say(message)
            to_mend += 1
    _draw_samples(train, config, arguments.out, NUM_SAMPLES)
    return FAULTY if to_mend else 0


def _list_faults(config: DataConfig) -> int:
    """List the faults of every file; returns how many must be mended."""
    from dense_lt.data.faults import summarize

    to_mend = 0
    for path, faults in _faults(config).items():
        counts = summarize(faults) if len(faults) > MANY else []
        for line in [*map(str, faults), *counts]:
            _say(f"{path}: {line}")
        own = sum(fault.fatal for fault in faults)
        _say(f"{path}: {own} faults that must be mended, {len(faults) - own} that need not be")
        to_mend += own
    return to_mend


def _preview(arguments: argparse.Namespace) -> int:
    from dense_lt.config.load import load_config
    from dense_lt.data.build import build_datasets

    if arguments.samples < 1:
        raise ConfigError(f"--samples {arguments.samples}: must be at least 1")
    config = load_config(arguments.config, arguments.overrides)
    train, _, _ = build_datasets(config.data, seed=config.seed, splits=("train",), masks=True)
    assert train is not None, "the training split is built"
    _draw_samples(train, config, arguments.out, arguments.samples)
    return 0


def _faults(config: DataConfig) -> dict[Path, list[Fault]]:
    """Of every annotation file."""
    from dense_lt.config.openimages import OpenImagesConfig
    from dense_lt.data.build import annotation_files
    from dense_lt.data.check import check_annotations
    from dense_lt.data.openimages.build import open_images_faults

    drop = config.drop_invalid_boxes
    if isinstance(config.dataset, OpenImagesConfig):
        return open_images_faults(config.dataset, drop_invalid_boxes=drop)
    return {
        path: check_annotations(path, drop_invalid_boxes=drop)
        for path in annotation_files(config).values()
    }


def _classes(categories: CategoryTable) -> Iterator[str]:
    """Every group with its most frequent classes."""
    for group, size in reversed(categories.group_sizes().items()):
        labels = categories.labels_in_group(group)
        labels.sort(key=lambda label: -categories.image_counts[label])
        named = [f"{categories.names[k]} {categories.image_counts[k]}" for k in labels]
        more = ", ..." if size > MOST_CLASSES else ""
        names = ", ".join(named[:MOST_CLASSES]) + more
        yield f"{size} {group} classes" + (f" (training images): {names}" if named else "")


def _draw_samples(train: DetectionDataset, config: ExperimentConfig, out: Path, count: int) -> None:
    from dense_lt.data.build import build_train_loader
    from dense_lt.data.preview import contact_sheet

    data = config.data.model_copy(update={"workers": 0})
    loader = build_train_loader(train, data, batch_size=count, seed=config.seed)
    batch = next(iter(loader))
    out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(batch, train.categories.names).save(out, format="PNG")
    _say(f"{out}: the first {count} training samples, after augmentation")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
