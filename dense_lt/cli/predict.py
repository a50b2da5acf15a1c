"""`dense-lt predict`: what does a trained detector find in these images?"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from itertools import chain, count
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dense_lt.utils.errors import ConfigError, DataError
from dense_lt.utils.writing import require_writable, whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dense_lt.inference.trained import FoundObjects, TrainedDetector

HELP = "detect objects in images: pictures with boxes, and JSON"

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
RESULTS = "predictions.json"
BOX = "x1, y1, x2, y2 in pixels of the image"
"""Begins the file of results; other programs, and evaluations, name theirs the same."""

MAX_LISTED = 20
"""Images that cannot be read, in a message."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        help="image files, or folders of them (their sub-folders are left out)",
    )
    parser.add_argument("--run", required=True, type=Path, dest="run_folder", metavar="RUN")
    parser.add_argument("--checkpoint", type=Path, help="instead of the newest of the run")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("predictions"),
        metavar="FOLDER",
        help="for the pictures and predictions.json (default: predictions)",
    )
    parser.add_argument(
        "--min-score", type=_score, default=0.3, help="leave out what scores lower (default: 0.3)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--no-pictures", action="store_true", help="write the JSON alone")


def run(arguments: argparse.Namespace) -> int:
    """Predict, draw, write; the JSON has one entry an image, and lists its objects.

    Raises:
        ConfigError: an argument is wrong, or a file would be lost; nothing has been written.
        DataError: the run cannot be read; or images cannot, and all others are done.
    """
    from tqdm import tqdm

    from dense_lt.inference.build import load_run, run_config

    run_config(arguments.run_folder)  # a wrong --run is told first
    paths, out = _images(arguments.images), arguments.out
    names = [None] * len(paths) if arguments.no_pictures else _picture_names(paths)
    require_writable(out, out.absolute())
    _refuse_loss(out, names, paths)
    trained = load_run(
        arguments.run_folder, checkpoint=arguments.checkpoint, device=arguments.device
    )
    out.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    unreadable: dict[str, str] = {}
    todo = zip(tqdm(paths, desc="predict", unit="image"), names, strict=True)
    try:
        _predict(todo, out, trained, arguments.min_score, entries, unreadable)
    except KeyboardInterrupt:  # the pictures that are there keep their objects beside them
        _write(out, arguments, trained, entries, unreadable, interrupted=True)
        sys.stderr.write(
            f"\ninterrupted; {out / RESULTS} has {len(entries)} of {len(paths)} images\n"
        )
        raise
    _write(out, arguments, trained, entries, unreadable)
    _report(out, entries, arguments.min_score)
    if unreadable:
        raise DataError(_unreadable_told(unreadable, len(paths), out))
    return 0


def _predict(
    todo: Iterable[tuple[Path, str | None]],
    out: Path,
    trained: TrainedDetector,
    min_score: float,
    entries: list[dict[str, Any]],
    unreadable: dict[str, str],
) -> None:
    """Fill `entries` and `unreadable`, and draw the pictures that have a name."""
    from dense_lt.data.upright import read_upright

    for path, name in todo:
        try:
            pixels = read_upright(path)
        except DataError as error:
            unreadable[str(path)] = str(error)
            continue
        (found,) = trained.predict([pixels], min_score=min_score)
        if name is not None:
            _draw(pixels, found, out / name)
        entries.append({"file_name": str(path), "picture": name, **_objects(found)})


def _images(given: list[Path]) -> list[Path]:
    """Files as given, and those of folders in order of their names.

    Raises:
        ConfigError: a path does not exist, or a folder holds no image.
    """
    paths: list[Path] = []
    for path in given:
        if path.is_dir():
            files = [own for own in sorted(path.iterdir()) if not own.is_dir()]  # broken links too
            inside = [own for own in files if own.suffix.lower() in SUFFIXES]
            if not inside:
                raise ConfigError(
                    f"{path}: no image in this folder; looked for {', '.join(sorted(SUFFIXES))}, "
                    "and not into its sub-folders: name those that hold images"
                )
            paths += inside
        elif path.is_file():
            paths.append(path)
        else:
            raise ConfigError(f"{path}: there is no such file or folder")
    return paths


def _picture_names(paths: list[Path]) -> list[str]:
    """A name for each; of two images of one name, the second gets a number."""
    names: dict[str, None] = {}  # ordered, and quick to look into
    for path in paths:
        numbered = (f"{path.stem}_{number}.png" for number in count(1))
        names[next(own for own in chain([f"{path.stem}.png"], numbered) if own not in names)] = None
    return list(names)


def _refuse_loss(out: Path, names: Sequence[str | None], images: list[Path]) -> None:
    """Never write over the images themselves, nor over a file that another program has made.

    Raises:
        ConfigError: that would happen.
    """
    from dense_lt.report.found import is_found_picture

    given = {realpath(path) for path in images}  # unlike `resolve`, it bears links in a circle
    pictures = [out / name for name in names if name is not None]
    lost = [
        path
        for path in pictures
        if realpath(path) in given or (path.exists() and not is_found_picture(path))
    ]
    results = out / RESULTS
    if results.exists():
        with results.open("rb") as file:
            if BOX.encode() not in file.read(200):
                lost.append(results)
    if lost:
        shown = ", ".join(map(str, lost[:5])) + (", ..." if len(lost) > 5 else "")
        raise ConfigError(
            f"--out {out}: files that are not of an earlier `dense-lt predict` would be lost, "
            f"{len(lost)} in all: {shown}. Give a folder of its own"
        )


def _objects(found: FoundObjects) -> dict[str, Any]:
    """Size and objects of one image, for JSON."""
    columns = zip(found.names, found.category_ids, found.scores, found.boxes, strict=True)
    return {
        "height": found.size[0],
        "width": found.size[1],
        "objects": [
            {
                "name": name,
                "category_id": category.item(),
                "score": round(float(score), 5),
                "box": [round(float(side), 2) for side in box],
            }
            for name, category, score, box in columns
        ],
    }


def _draw(pixels: NDArray[np.uint8], found: FoundObjects, path: Path) -> None:
    from dense_lt.report.found import draw_found, save_found

    named = zip(found.names, found.scores, strict=True)
    captions = [f"{name} {score:.2f}" for name, score in named]
    save_found(draw_found(pixels, found.boxes, found.labels, captions), path)


def _write(
    out: Path,
    arguments: argparse.Namespace,
    trained: TrainedDetector,
    entries: list[dict[str, Any]],
    unreadable: dict[str, str],
    *,
    interrupted: bool = False,
) -> None:
    """What was found, and with what, as JSON."""
    results = {
        "box": BOX,
        "run": str(arguments.run_folder),
        "checkpoint": str(trained.checkpoint),
        "step": trained.step,
        "min_score": arguments.min_score,
        "interrupted": interrupted,
        "images": entries,
        "unreadable": unreadable,
    }
    with whole(out / RESULTS) as draft:
        draft.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _report(out: Path, entries: list[dict[str, Any]], min_score: float) -> None:
    """Say what was found, and what lies in `out` from before."""
    from dense_lt.report.found import is_found_picture

    objects = sum(len(entry["objects"]) for entry in entries)
    lines = [
        f"{objects} objects of score {min_score:g} or more in {len(entries)} images; see {out}"
    ]
    new = {entry["picture"] for entry in entries}
    old = [path for path in out.glob("*.png") if path.name not in new and is_found_picture(path)]
    if old:
        lines.append(
            f"{len(old)} pictures of an earlier `dense-lt predict` are left there, such as "
            f"{min(old).name}; {RESULTS} names those of now"
        )
    print("\n".join(lines))  # noqa: T201 - the command's output


def _unreadable_told(unreadable: dict[str, str], images: int, out: Path) -> str:
    shown = list(unreadable.values())[:MAX_LISTED]
    more = [f"... ({RESULTS} lists all)"] if len(unreadable) > MAX_LISTED else []
    first = f"{len(unreadable)} of {images} images could not be read; what the others hold is in"
    return "\n  ".join([f"{first} {out}:", *shown, *more])


def _score(text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a score is a number in [0, 1]")
    return score
