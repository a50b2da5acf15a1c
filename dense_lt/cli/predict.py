"""`dense-lt predict`: what does a trained detector find in these images?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dense_lt.utils.errors import ConfigError

HELP = "detect objects in images: pictures with boxes, and JSON"

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("images", nargs="+", type=Path, help="image files, or folders of them")
    parser.add_argument("--run", required=True, type=Path, dest="run_folder", metavar="RUN")
    parser.add_argument("--checkpoint", type=Path, help="instead of the newest of the run")
    parser.add_argument("--out", type=Path, default=Path("predictions"))
    parser.add_argument(
        "--min-score", type=float, default=0.3, help="leave out what scores lower (default: 0.3)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--no-pictures", action="store_true", help="write the JSON alone")


def run(arguments: argparse.Namespace) -> int:
    """Predict, draw, write; the JSON has one entry an image, and lists its objects."""
    from tqdm import tqdm

    from dense_lt.data.upright import read_upright
    from dense_lt.inference.build import load_run
    from dense_lt.report.found import draw_found

    paths = _images(arguments.images)
    trained = load_run(
        arguments.run_folder, checkpoint=arguments.checkpoint, device=arguments.device
    )
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    entries = []
    found_in = trained.stream(paths, min_score=arguments.min_score)
    for path, found in zip(tqdm(paths, desc="predict", unit="image"), found_in, strict=True):
        entries.append(
            {
                "file_name": str(path),
                "height": found.size[0],
                "width": found.size[1],
                "objects": [
                    {
                        "name": name,
                        "category_id": int(category),
                        "score": round(float(score), 5),
                        "box": [round(float(side), 2) for side in box],
                    }
                    for name, category, score, box in zip(
                        found.names, found.category_ids, found.scores, found.boxes, strict=True
                    )
                ],
            }
        )
        if not arguments.no_pictures:
            captions = [
                f"{name} {score:.2f}" for name, score in zip(found.names, found.scores, strict=True)
            ]
            picture = draw_found(read_upright(path), found.boxes, found.labels, captions)
            picture.save(_free_name(out, path, entries))
    results = {"box": "x1, y1, x2, y2 in pixels of the image", "images": entries}
    (out / "predictions.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    objects = sum(len(entry["objects"]) for entry in entries)
    print(  # noqa: T201 - the command's output
        f"{objects} objects of score {arguments.min_score:g} or more in {len(entries)} images; "
        f"see {out}"
    )
    return 0


def _images(given: list[Path]) -> list[Path]:
    """Files as given, and those of folders in order of their names.

    Raises:
        ConfigError: a path does not exist, or a folder holds no image.
    """
    paths: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = [own for own in sorted(path.iterdir()) if own.suffix.lower() in SUFFIXES]
            if not inside:
                raise ConfigError(
                    f"{path}: no image in this folder; looked for {', '.join(sorted(SUFFIXES))}"
                )
            paths += inside
        elif path.is_file():
            paths.append(path)
        else:
            raise ConfigError(f"{path}: there is no such file or folder")
    return paths


def _free_name(out: Path, path: Path, entries: list[dict[str, object]]) -> Path:
    """Two images of one name, from two folders, keep a picture each."""
    names = [Path(str(entry["file_name"])).stem for entry in entries]
    again = names.count(path.stem) - 1
    return out / (f"{path.stem}_{again}.png" if again else f"{path.stem}.png")
