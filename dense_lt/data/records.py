"""Images and annotations of LVIS and COCO files as growing columns, a piece of the file at a time.

Records of the usual form are decoded straight into their fields; what else they hold is passed
over, and segmentations stay text. A record of another form still gets its row, marked as odd: what
is wrong in it is told later, from the file (screening.py). No torch import: scoring needs this.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, BinaryIO, NamedTuple

import msgspec
import numpy as np

from dense_lt.data.json_lists import Decoder, Piece
from dense_lt.data.outline_texts import outline_texts
from dense_lt.data.table import Ragged, offsets_of
from dense_lt.data.validate import LARGEST_ID, Record, is_box, is_integer, is_length, is_number

MISSING = -LARGEST_ID - 1
"""Stands for an id that is no integer."""

NOT_SAID, NEITHER = -1, 2
"""Values of `crowd` beside 0 and 1: the field is left out, or is something else."""

_CROWD: dict[object, int] = {msgspec.UNSET: NOT_SAID, 0: 0, 1: 1}
_Integer = Annotated[int, msgspec.Meta(ge=-LARGEST_ID, le=LARGEST_ID)]


class ImageRecord(msgspec.Struct, gc=False):
    """An entry of `images`."""

    id: _Integer
    width: _Integer
    height: _Integer
    file_name: str | None = None
    coco_url: str | None = None
    neg_category_ids: list[_Integer] | msgspec.UnsetType = msgspec.UNSET
    not_exhaustive_category_ids: list[_Integer] = []


class AnnotationRecord(msgspec.Struct, gc=False):
    """An entry of `annotations`."""

    id: _Integer
    image_id: _Integer
    category_id: _Integer
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: bool | int | msgspec.UnsetType = msgspec.UNSET
    segmentation: msgspec.Raw = msgspec.Raw()


DECODERS: dict[str, Decoder] = {
    "images": msgspec.json.Decoder(list[ImageRecord]),
    "annotations": msgspec.json.Decoder(list[AnnotationRecord]),
    "categories": msgspec.json.Decoder(list[Any]),
}


class Span(NamedTuple):
    """Where rows `first`, `first + 1`, ... of a list are in the file."""

    first: int
    start: int
    stop: int


class Rows:
    """Columns that grow; `odd` marks the rows of an unusual form."""

    def __init__(self) -> None:
        self.count = 0
        self.spans: list[Span] = []
        self._parts: dict[str, list[np.ndarray]] = {}

    def column(self, name: str, dtype: type = np.int64) -> np.ndarray:
        """All that was added under a name, end to end."""
        parts = self._parts.get(name, [])
        if len(parts) > 1:
            parts[:] = [np.concatenate(parts)]
        return parts[0] if parts else np.zeros(0, dtype)

    def _add(self, piece: Piece, **columns: np.ndarray) -> None:
        self.spans.append(Span(self.count, piece.start, piece.stop))
        rows = len(piece.records)
        self.count += rows
        columns["odd"] = columns.get("odd", np.zeros(rows, dtype=bool)) | (not piece.typed)
        for name, values in columns.items():
            self._parts.setdefault(name, []).append(values)


class ImageRows(Rows):
    """Columns `id`, `height`, `width`; names and lists of category ids are `ragged`."""

    def __init__(self) -> None:
        super().__init__()
        self.say_negatives = False  # whether any image has `neg_category_ids`

    def add(self, piece: Piece) -> None:
        """Rows of the records of a piece."""
        given = piece.records
        records: list[ImageRecord] = given if piece.typed else [_image_of(one) for one in given]
        negatives = [one.neg_category_ids for one in records]
        self.say_negatives |= any(own is not msgspec.UNSET for own in negatives)
        urls = [_url_name(one.coco_url) for one in records]
        self._add(
            piece,
            id=_integers(one.id for one in records),
            height=_integers(one.height for one in records),
            width=_integers(one.width for one in records),
            **_texts("url_names", urls),
            **_texts("file_names", [r.file_name or u for r, u in zip(records, urls, strict=True)]),
            **_lists("negatives", [own or () for own in negatives]),
            **_lists("not_exhaustive", [one.not_exhaustive_category_ids for one in records]),
        )

    def ragged(self, name: str) -> Ragged:
        """`file_names` and `url_names` as UTF-8, `negatives` and `not_exhaustive` as ids."""
        return Ragged(self.column(f"{name}.values"), offsets_of(self.column(f"{name}.lengths")))


class AnnotationRows(Rows):
    """Columns `id`, `image_id`, `category_id`, `bbox` (xywh), `area` (NaN: not given), `crowd`.

    With masks also `text.start` and `text.end`, where the segmentation is in what `content` gets;
    and for run lengths `runs.row`, `runs.size` (height, width).

    Args:
        content: where the texts of segmentations are written; None looks at none.
    """

    def __init__(self, content: BinaryIO | None) -> None:
        super().__init__()
        self._content = content
        self._written = 0

    def add(self, piece: Piece) -> None:
        """Rows of the records of a piece."""
        given = piece.records
        records: list[AnnotationRecord] = (
            given if piece.typed else [_annotation_of(one) for one in given]
        )
        boxes = (side for one in records for side in one.bbox)
        areas = (np.nan if one.area is None else one.area for one in records)
        columns = {
            "id": _integers(one.id for one in records),
            "image_id": _integers(one.image_id for one in records),
            "category_id": _integers(one.category_id for one in records),
            "bbox": np.fromiter(boxes, np.float64, 4 * len(records)).reshape(-1, 4),
            "area": np.fromiter(areas, np.float64, len(records)),
            "crowd": np.array([_CROWD.get(one.iscrowd, NEITHER) for one in records], np.int8),
        }
        if self._content is not None:
            columns |= self._outlines(records, self._content)
        self._add(piece, **columns)

    def _outlines(
        self, records: Sequence[AnnotationRecord], content: BinaryIO
    ) -> dict[str, np.ndarray]:
        texts = outline_texts([one.segmentation for one in records])
        first, self._written = self._written, self._written + len(texts.joined)
        content.write(texts.joined)
        return {
            "text.start": first + texts.starts,
            "text.end": first + texts.ends,
            "odd": texts.odd,
            "runs.row": self.count + texts.runs_row,
            "runs.size": texts.runs_size,
        }


def _image_of(record: object) -> ImageRecord:
    """The row of an image that has something wrong, or merely unusual."""
    own: Record = record if isinstance(record, dict) else {}
    lists = {}
    for field in ("neg_category_ids", "not_exhaustive_category_ids"):
        if field in own:
            values = own[field] if isinstance(own[field], list) else []
            lists[field] = [value for value in values if is_integer(value)]
    names = [own.get(field) for field in ("file_name", "coco_url")]
    file_name, coco_url = (name if isinstance(name, str) else None for name in names)
    width, height = (own.get(side) for side in ("width", "height"))
    return ImageRecord(
        id=_integer(own.get("id")),
        width=width if is_length(width) else 0,
        height=height if is_length(height) else 0,
        file_name=file_name,
        coco_url=coco_url,
        **lists,
    )


def _annotation_of(record: object) -> AnnotationRecord:
    """The row of an annotation that has something wrong, or merely unusual."""
    own: Record = record if isinstance(record, dict) else {}
    box, area, crowd = own.get("bbox"), own.get("area"), own.get("iscrowd", msgspec.UNSET)
    text = json.dumps(own.get("segmentation"), separators=(",", ":"))
    return AnnotationRecord(
        id=_integer(own.get("id")),
        image_id=_integer(own.get("image_id")),
        category_id=_integer(own.get("category_id")),
        bbox=(box[0], box[1], box[2], box[3]) if is_box(box) else (0, 0, 0, 0),
        area=area if is_number(area) else None,
        iscrowd=bool(crowd) if crowd in (0, 1) else msgspec.UNSET,
        segmentation=msgspec.Raw(text.encode()),
    )


def _integer(value: object) -> int:
    return value if is_integer(value) else MISSING


def _integers(values: Iterable[int]) -> np.ndarray:
    return np.fromiter(values, np.int64)


def _texts(name: str, texts: Sequence[str]) -> dict[str, np.ndarray]:
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return _ragged(name, np.frombuffer(b"".join(encoded), np.uint8), encoded)


def _lists(name: str, lists: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    return _ragged(name, _integers(value for own in lists for value in own), lists)


def _ragged(name: str, values: np.ndarray, lists: Sequence[Any]) -> dict[str, np.ndarray]:
    return {f"{name}.values": values, f"{name}.lengths": _integers(map(len, lists))}


def _url_name(url: str | None) -> str:
    """Split folder and name, such as "val2017/000000000139.jpg"; LVIS v1 gives no other name."""
    return "/".join((url or "").partition("?")[0].split("/")[-2:])
