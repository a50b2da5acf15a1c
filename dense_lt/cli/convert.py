"""`dense-lt data convert`: Open Images CSV files -> LVIS-style JSON, and back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dense_lt.utils.errors import ConfigError
from dense_lt.utils.writing import require_writable

HELP = "turn Open Images CSV files into LVIS-style JSON, or JSON into CSV files"
ROLES = {
    "boxes": "CSV of boxes",
    "classes": "CSV without a header: class id, name",
    "labels": "CSV of verified image labels",
    "hierarchy": "JSON of the classes above each other",
    "sizes": "CSV of ImageID, width, height",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source", type=Path, help="folder of the CSV files as published, or a JSON file"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON file, or folder for CSV files"
    )
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="default: the one whose boxes are there; for CSV files, train",
    )
    files = parser.add_argument_group("files under other names or elsewhere (CSV to JSON)")
    for name, meaning in ROLES.items():
        files.add_argument(f"--{name}", type=Path, metavar="FILE", help=meaning)
    files.add_argument(
        "--images", type=Path, nargs="+", default=[], metavar="FOLDER", help="folders of images"
    )
    rules = parser.add_argument_group("how boxes become annotations (CSV to JSON)")
    rules.add_argument(
        "--group-of",
        choices=("ignore", "use", "drop"),
        default="ignore",
        help="boxes around many objects: iscrowd 1 (the default), iscrowd 0, or left out",
    )
    rules.add_argument(
        "--expand-boxes", action="store_true", help="copy boxes to all ancestors of their class"
    )
    rules.add_argument(
        "--no-expand-labels",
        action="store_true",
        help="take verified labels for their own class alone, not for those above or below it",
    )
    rules.add_argument(
        "--drop-invalid-boxes",
        action="store_true",
        help="leave boxes without area out; clip others",
    )


def run(arguments: argparse.Namespace) -> int:
    """Convert in the direction that the source asks for."""
    if arguments.source.is_dir():
        return _to_json(arguments)
    return _to_csv(arguments)


def _to_json(arguments: argparse.Namespace) -> int:
    from dense_lt.data.openimages.assemble import Options
    from dense_lt.data.openimages.published import find_files, find_split
    from dense_lt.data.openimages.read import read_open_images
    from dense_lt.data.openimages.to_json import write_json
    from dense_lt.data.store import cache_folder

    if arguments.out.is_dir() or arguments.out.suffix != ".json":
        raise ConfigError(f"--out {arguments.out}: CSV files become one file; name it FILE.json")
    require_writable(arguments.out, arguments.out.absolute().parent)
    given = {name: getattr(arguments, name) for name in ROLES}
    split = arguments.split or ("train" if given["boxes"] else find_split(arguments.source))
    files, lines = find_files(arguments.source, split, given, arguments.images)
    _say("\n".join(lines))
    if arguments.expand_boxes and files.hierarchy is None:
        raise ConfigError("--expand-boxes needs the hierarchy; give it with --hierarchy")
    table, categories = read_open_images(
        files,
        Options(
            group_of=arguments.group_of,
            expand_boxes=arguments.expand_boxes,
            expand_labels=not arguments.no_expand_labels,
        ),
        drop_invalid_boxes=arguments.drop_invalid_boxes,
        sizes_folder=cache_folder(),
    )
    write_json(table, categories, arguments.out, training=split == "train")
    _say(
        f"{arguments.out}: {len(table):,} images, {table.num_instances:,} annotations, "
        f"{len(categories):,} categories"
    )
    return 0


def _to_csv(arguments: argparse.Namespace) -> int:
    from dense_lt.data.openimages.from_json import write_csv_files

    require_writable(arguments.out, arguments.out.absolute())
    for path in write_csv_files(arguments.source, arguments.out, arguments.split or "train"):
        _say(str(path))
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
