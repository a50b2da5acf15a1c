"""The drawn data set as files: made once, completely or not at all, and never silently again."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from dense_lt.config.data import DrawnConfig
from dense_lt.data.drawn.annotations import SplitWriter, describe_categories
from dense_lt.data.drawn.layout import Span, choose_classes, spread_over_images
from dense_lt.data.drawn.png import encode_png
from dense_lt.data.drawn.randomness import RandomStream
from dense_lt.data.drawn.render import DrawnClass, render
from dense_lt.utils.errors import DataError

logger = logging.getLogger(__name__)

REVISION = 2
"""Goes up whenever the same settings give other bytes."""

SETTINGS = "settings.json"
DEFAULT_PARENT = Path("data/drawn")
CLASSES, TRAIN, VAL = 0, 1, 2
"""First part of the key of a random stream: what it is for."""

README = """# Drawn long-tailed data

Made by `dense-lt data draw` from the settings in `settings.json`; the same settings give the same
bytes. `annotations/train.json` and `annotations/val.json` are in LVIS format, with file names
relative to this folder and masks as run lengths. Frequencies come from the training images; every
validation class has the same number of images.
"""


def drawn_folder(config: DrawnConfig) -> Path:
    """Where the set lies: `config.folder`, or a folder below `data/drawn` named by the settings."""
    if config.folder is not None:
        return config.folder
    text = json.dumps(_settings(config), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return DEFAULT_PARENT / f"{config.image_size}px_seed{config.seed}_{digest}"


def annotation_paths(folder: Path) -> dict[str, Path]:
    """Annotation file of every split."""
    return {split: folder / "annotations" / f"{split}.json" for split in ("train", "val")}


def ensure_drawn(config: DrawnConfig) -> Path:
    """Folder of the set, which is drawn first if there is none.

    Processes that ask at the same time may all draw; one of the (equal) results is kept.

    Raises:
        DataError: the folder holds something else, or a set drawn with other settings.
    """
    folder = drawn_folder(config)
    if _is_drawn(folder, config):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        logger.info("drawing %s", folder)
        _draw_into(unfinished, config)
        unfinished.chmod(0o755)
        try:
            unfinished.rename(folder)
        except OSError:  # somebody else was faster
            if not _is_drawn(folder, config):
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _settings(config: DrawnConfig) -> dict[str, object]:
    return {"revision": REVISION, **config.model_dump(mode="json", exclude={"kind", "folder"})}


def _is_drawn(folder: Path, config: DrawnConfig) -> bool:
    """Whether `folder` holds the set of these settings.

    Raises:
        DataError: it holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        raise DataError(
            f"{folder}: is there already but is no drawn data set (it has no readable {SETTINGS}); "
            "name another folder or remove this one"
        ) from None
    differences = _describe_differences(found, _settings(config))
    if differences:
        raise DataError(
            f"{folder}: was drawn with other settings: {'; '.join(differences)}. Name another "
            "folder, or remove this one to draw it again"
        )
    return True


def _describe_differences(found: Mapping[str, object], wanted: Mapping[str, object]) -> list[str]:
    names = [*wanted, *(name for name in found if name not in wanted)]
    return [
        f"{name} was {found.get(name)}, now {wanted.get(name)}"
        for name in names
        if found.get(name) != wanted.get(name)
    ]


def _draw_into(folder: Path, config: DrawnConfig) -> None:
    spans = (
        Span(config.frequent, *config.frequent_images),
        Span(config.common, *config.common_images),
        Span(config.rare, *config.rare_images),
    )
    train_counts = [count for span in spans for count in span.counts()]
    stream = RandomStream(config.seed, CLASSES)
    classes = choose_classes(config.frequent, config.common + config.rare, stream)
    train = SplitWriter("train", first_image_id=1, side=config.image_size)
    val = SplitWriter("val", first_image_id=config.train_images + 1, side=config.image_size)
    val_counts = [config.val_images_per_class] * len(classes)
    with tqdm(
        total=config.train_images + config.val_images, desc="drawing", unit="image", mininterval=0.5
    ) as bar:
        for writer, key, counts, size in (
            (train, TRAIN, train_counts, config.train_images),
            (val, VAL, val_counts, config.val_images),
        ):
            (folder / writer.name).mkdir()
            images = spread_over_images(counts, size, RandomStream(config.seed, key))
            for index, labels in enumerate(images):
                stream = RandomStream(config.seed, key, index)
                _draw_image(folder, writer, labels, classes, config, stream)
                bar.update()
    categories = describe_categories(classes, *train.counts(len(classes)))
    (folder / "annotations").mkdir()
    for writer in (train, val):
        content = json.dumps(writer.content(categories), separators=(",", ":"))
        annotation_paths(folder)[writer.name].write_text(content + "\n", encoding="utf-8")
    (folder / "README.md").write_text(README, encoding="utf-8")
    text = json.dumps(_settings(config), indent=1)
    (folder / SETTINGS).write_text(text + "\n", encoding="utf-8")


def _draw_image(
    folder: Path,
    writer: SplitWriter,
    labels: Sequence[int],
    classes: Sequence[DrawnClass],
    config: DrawnConfig,
    stream: RandomStream,
) -> None:
    pixels, objects = render(
        labels, classes, side=config.image_size, diameters=config.object_diameters, stream=stream
    )
    file_name = writer.add(objects, config.negatives_per_image, len(classes), stream)
    (folder / file_name).write_bytes(encode_png(pixels))
