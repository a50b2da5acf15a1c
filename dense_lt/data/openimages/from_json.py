"""A JSON file in the format of LVIS or COCO -> the CSV files of Open Images."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

import msgspec
from tqdm import tqdm

from dense_lt.data.faults import raise_faults
from dense_lt.data.json_lists import JsonFile
from dense_lt.data.openimages.flags import FLAGS
from dense_lt.data.openimages.published import BOXES, CLASSES, LABELS, SIZES
from dense_lt.data.screening import scan
from dense_lt.utils.errors import DataError

BOX_HEADER = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax," + ",".join(FLAGS) + "\n"
LABEL_HEADER = "ImageID,Source,LabelName,Confidence\n"
SIZE_HEADER = "ImageID,width,height\n"

Record = TypeVar("Record", bound=msgspec.Struct)


class _Category(msgspec.Struct):
    id: int
    name: str
    freebase_id: str | None = None


class _Image(msgspec.Struct):
    id: int
    width: int
    height: int
    file_name: str = ""
    coco_url: str = ""
    neg_category_ids: list[int] = []
    pos_category_ids: list[int] = []


class _Annotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: bool | int = 0
    IsOccluded: int = -1
    IsTruncated: int = -1
    IsGroupOf: int | None = None
    IsDepiction: int = -1
    IsInside: int = -1


class _Known(NamedTuple):
    """What the rows of an image need of it."""

    name: str  # as a value of a CSV file
    width: int
    height: int


def write_csv_files(source: Path, folder: Path, split: str) -> list[Path]:
    """Write boxes, classes, sizes and verified labels under the names of the releases V4 to V7.

    Machine ids are taken from `freebase_id`, and where a category has none its id is; names of
    images are those of their files. Flags that the file does not give are -1 (unknown), but
    without `IsGroupOf` a crowd is a group. Boxes have six decimals, as published; masks are not
    written. Without lists of verified classes there is no file of labels.

    Args:
        source: JSON in the format of LVIS or COCO, such as `write_json` makes.
        folder: gets the files.
        split: train, validation or test.

    Returns:
        The files.

    Raises:
        DataError: `source` has faults, or images that would get one ImageID.
    """
    raise_faults(str(source), [one for one in scan(source, masks=False).faults if one.fatal])
    _refuse_shared_names(source)
    folder.mkdir(parents=True, exist_ok=True)
    boxes, classes, labels, sizes = (
        folder / role.releases[0].format(split=split) for role in (BOXES, CLASSES, LABELS, SIZES)
    )
    categories: dict[int, str] = {}
    with classes.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        for one in _read(source, "categories", _Category):
            categories[one.id] = one.freebase_id or str(one.id)
            rows.writerow((categories[one.id], one.name))
    images = _write_images(source, categories, labels, sizes)
    with boxes.open("w", encoding="utf-8") as file:
        file.write(BOX_HEADER)
        for one in tqdm(_read(source, "annotations", _Annotation), desc="boxes", delay=2):
            file.write(_box_line(one, images[one.image_id], categories[one.category_id]))
    return [path for path in (boxes, classes, labels, sizes) if path.is_file()]


def _refuse_shared_names(source: Path) -> None:
    """An ImageID is a bare name: `a/x.jpg` and `b/x.png` would become one image."""
    file_of: dict[str, str] = {}
    for image in _read(source, "images", _Image):
        file, name = image.file_name or image.coco_url, _image_id(image)
        if name in file_of:
            raise DataError(
                f"{source}: the images {file_of[name]!r} and {file!r} would both have the ImageID "
                f"{name!r}; give every file a name of its own, whatever its folder"
            )
        file_of[name] = file


def _image_id(image: _Image) -> str:
    return PurePosixPath(image.file_name or image.coco_url).stem


def _cell(text: str) -> str:
    """`text` as a value of a CSV file."""
    quoted = text.replace('"', '""')
    return f'"{quoted}"' if any(mark in text for mark in ',"\r\n') else text


def _write_images(
    source: Path, categories: dict[int, str], labels: Path, sizes: Path
) -> dict[int, _Known]:
    """Write verified labels, if there are any, and sizes."""
    images: dict[int, _Known] = {}
    verified = 0
    with (
        labels.open("w", encoding="utf-8") as label_file,
        sizes.open("w", encoding="utf-8") as size_file,
    ):
        label_file.write(LABEL_HEADER)
        size_file.write(SIZE_HEADER)
        for image in _read(source, "images", _Image):
            known = _Known(_cell(_image_id(image)), image.width, image.height)
            images[image.id] = known
            size_file.write(f"{known.name},{known.width},{known.height}\n")
            for confidence, ids in ((1, image.pos_category_ids), (0, image.neg_category_ids)):
                for own in ids:
                    label_file.write(f"{known.name},verification,{categories[own]},{confidence}\n")
                verified += len(ids)
    if not verified:
        labels.unlink()
    return images


def _read(source: Path, member: str, kind: type[Record]) -> Iterator[Record]:
    """The entries of one list; those of an unusual form are converted one by one."""
    decoder: Any = msgspec.json.Decoder(list[kind])
    with JsonFile(source) as file:
        for piece in file.pieces({member: decoder}):
            yield from (
                piece.records
                if piece.typed
                else (msgspec.convert(one, kind, strict=False) for one in piece.records)
            )


def _box_line(one: _Annotation, image: _Known, name: str) -> str:
    x, y, width, height = one.bbox
    corners = (
        _fraction(x, image.width),
        _fraction(x + width, image.width),
        _fraction(y, image.height),
        _fraction(y + height, image.height),
    )
    group = int(one.iscrowd) if one.IsGroupOf is None else one.IsGroupOf
    flags = (one.IsOccluded, one.IsTruncated, group, one.IsDepiction, one.IsInside)
    return f"{image.name},,{name},1,{','.join(corners)},{','.join(map(str, flags))}\n"


def _fraction(pixels: float, side: int) -> str:
    return f"{min(max(pixels / side, 0.0), 1.0):.6f}"
