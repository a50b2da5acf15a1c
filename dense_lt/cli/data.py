"""`dense-lt data draw --out DIR`, `check CONFIG`, `preview CONFIG`, `convert SOURCE --out PATH`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
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
    from dense_lt.utils.errors import DataError

    config = load_config(arguments.config, arguments.overrides)
    if _list_faults(config.data):
        _say("images are looked at when no fault of the annotation files must be mended")
        return FAULTY
    going_on = config.data.model_copy(update={"on_bad_image": "skip"})
    try:
        train, val, categories = build_datasets(going_on, seed=config.seed, masks=True)
        assert train is not None, "both splits are built"
        assert val is not None, "both splits are built"
        for dataset in (train, val):
            table = dataset.table
            _say(f"{table.source}: {len(table):,} images, {table.num_instances:,} instances")
        for line in _classes(categories):
            _say(line)
        must_be_there = config.data.on_bad_image == "error" or arguments.images
        to_mend = sum([_list_images(own, decode=arguments.images) for own in (train, val)])
        shared = train.shared or val.shared
        going_on = config.model_copy(update={"data": going_on})
        _draw_samples(train, going_on, arguments.out, NUM_SAMPLES)
    except DataError as error:
        _say(str(error))
        return FAULTY
    return FAULTY if shared or (to_mend and must_be_there) else 0


def _list_images(dataset: DetectionDataset, *, decode: bool) -> int:
    """List images that are missing, have another's file, or cannot be used; returns how many."""
    from dense_lt.data.check import check_images, missing_images, shared_images

    count = 0
    decoded = check_images(dataset) if decode else ()
    for message in chain(missing_images(dataset), shared_images(dataset), decoded):
        _say(message)
        count += 1
    return count


def _list_faults(config: DataConfig) -> int:
    """List the faults of every file; returns how many must be mended."""
    from dense_lt.data.faults import summarize

    to_mend = 0
    for path, faults in _faults(config):
        if isinstance(faults, str):  # it cannot be read at all
            _say(faults)
            to_mend += 1
            continue
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


def _faults(
    config: DataConfig, splits: Sequence[str] = ("train", "val")
) -> Iterator[tuple[Path, list[Fault] | str]]:
    """Of every annotation file, and of all parts of a mixture; a text says what is unreadable."""
    from dense_lt.config.data import MixtureConfig
    from dense_lt.config.openimages import OpenImagesConfig
    from dense_lt.data.build import annotation_files
    from dense_lt.data.check import check_annotations
    from dense_lt.data.openimages.build import open_images_faults
    from dense_lt.utils.errors import DataError

    if isinstance(config.dataset, MixtureConfig):
        for number, part in enumerate(config.dataset.parts):
            own = config.model_copy(update={"dataset": part.dataset})
            yield from _faults(own, splits=("train",) if number else splits)
        return
    drop, skip = config.drop_invalid_boxes, config.on_bad_image == "skip"
    if isinstance(config.dataset, OpenImagesConfig):
        try:
            yield from open_images_faults(config.dataset, drop_invalid_boxes=drop).items()
        except DataError as error:
            yield config.dataset.root, str(error)
        return
    files = annotation_files(config)
    for path in (files[name] for name in splits):
        try:
            yield path, check_annotations(path, drop_invalid_boxes=drop, skip=skip)
        except DataError as error:
            yield path, str(error)


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
    captions: dict[int, str] = {}
    for index, own in enumerate(train.table.image_ids.tolist()):
        name = train.table.file_names[index]
        captions[own] = f"{captions[own]} or {name}" if own in captions else name  # of a mixture
    contact_sheet(batch, train.categories.names, captions).save(out, format="PNG")
    _say(f"{out}: the first {count} training samples, after augmentation")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
