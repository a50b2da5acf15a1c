import json
import re

import numpy as np
import pytest
from helpers.evaluation_cases import make_case

from dense_lt.evaluation.masks import PackedMasks, encode_segmentation
from dense_lt.evaluation.prediction_files import (
    predictions_from,
    read_predictions,
    write_predictions,
)
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.ranking import check_runs
from dense_lt.utils.errors import DataError

GOOD = {"image_id": 1, "category_id": 2, "bbox": [1.5, 2, 3, 4], "score": 0.5}


def _write(tmp_path, content):
    path = tmp_path / "found.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_columns_hold_what_the_entries_say(tmp_path):
    _, records = make_case(0, images=20)
    found = read_predictions(_write(tmp_path, records), piece=300)
    assert found.image_ids.tolist() == [record["image_id"] for record in records]
    assert found.category_ids.tolist() == [record["category_id"] for record in records]
    assert found.scores.tolist() == [record["score"] for record in records]
    assert found.boxes is not None
    assert found.boxes.tolist() == [record["bbox"] for record in records]


def test_what_is_written_reads_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    rle = encode_segmentation([[1, 1, 1, 5, 5, 5]], (9, 9))
    found = Predictions(
        "detector",
        np.arange(7),
        np.arange(7) + 1,
        rng.random(7, dtype=np.float32),
        (rng.integers(0, 9999, (7, 4)) / 128).astype(np.float32),
        PackedMasks.pack([rle] * 7),
    )
    path = tmp_path / "found.json"
    write_predictions(found, path)
    again = read_predictions(path, masks=True)
    assert again.boxes is not None
    assert again.masks is not None
    np.testing.assert_array_equal(again.scores, found.scores)
    np.testing.assert_array_equal(again.boxes, found.boxes)
    assert again.masks.take(np.arange(7)) == [rle] * 7


def test_no_predictions_are_written_and_read(tmp_path):
    path = tmp_path / "found.json"
    write_predictions(Predictions.empty(), path)
    assert len(read_predictions(path)) == 0


def test_masks_are_packed_alike_one_by_one_and_all_at_once():
    """An uncompressed mask among them makes the reader look at each."""
    compressed = [encode_segmentation([[1, 1, 1, 5, 5, x]], (9, 9)) for x in (4, 5, 6)]
    masks = [{**rle, "counts": rle["counts"].decode()} for rle in compressed]
    records = [{**GOOD, "segmentation": mask} for mask in masks]
    plain = {"size": [9, 9], "counts": [40, 3, 38]}
    together = predictions_from(records, "found.json", masks=True)
    apart = predictions_from([*records, {**GOOD, "segmentation": plain}], "found.json", masks=True)
    assert together.masks is not None
    assert apart.masks is not None
    assert together.masks.take(np.arange(3)) == compressed
    assert apart.masks.take(np.arange(3)) == compressed


def test_an_entry_without_a_mask_gets_its_rectangle():
    found = predictions_from([GOOD], "found.json", masks=True, sizes={1: (20, 20)})
    assert found.masks is not None
    assert found.masks[0]["size"] == [20, 20]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 1.5}, "score 1.5; scores must be in [0, 1]"),
        ({"score": -0.1}, "score -0.1"),
        ({"score": float("nan")}, "score nan"),
        ({"score": None}, "`score` is None"),
        ({"score": "0.5"}, "`score` is '0.5'"),
        ({"bbox": [1, 2, -3, 4]}, "bbox [1.0, 2.0, -3.0, 4.0]"),
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox [1.0, 2.0, nan, 4.0]"),
        ({"bbox": [1, 2, float("inf"), 4]}, "bbox [1.0, 2.0, inf, 4.0]"),
        ({"bbox": [1, 2, 3]}, "`bbox` is [1, 2, 3]"),
        ({"bbox": [1, 2, 3, "4"]}, "`bbox` is [1, 2, 3, '4']"),
        ({"bbox": None}, "`bbox` is None"),
        ({"image_id": "a"}, "`image_id` is 'a'"),
        ({"image_id": 1.5}, "`image_id` is 1.5; an integer is needed"),
        ({"category_id": [1]}, "`category_id` is [1]"),
    ],
)
def test_a_broken_entry_is_named_with_its_index(tmp_path, change, message):
    path = _write(tmp_path, [GOOD] * 60 + [{**GOOD, **change}] + [GOOD] * 3)
    with pytest.raises(DataError, match=f"found.json: entry 60.*{re.escape(message)}"):
        read_predictions(path, piece=100)


@pytest.mark.parametrize("key", ["image_id", "category_id", "score", "bbox"])
def test_a_missing_key_is_named(tmp_path, key):
    broken = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(DataError, match=f"entry 1: `{key}` is missing"):
        read_predictions(_write(tmp_path, [GOOD, broken]))


def test_entries_that_are_no_detections_are_named(tmp_path):
    with pytest.raises(DataError, match="entry 1 is not an object: 5"):
        read_predictions(_write(tmp_path, [GOOD, 5]))
    with pytest.raises(DataError, match="entry 0 has neither `bbox` nor `segmentation`"):
        read_predictions(_write(tmp_path, [{"image_id": 1, "category_id": 1, "score": 1}]))


def test_a_broken_mask_is_named(tmp_path):
    path = _write(tmp_path, [{**GOOD, "segmentation": [[1, 2, 3]]}])
    with pytest.raises(DataError, match="entry 0: `segmentation` cannot be used: polygons"):
        read_predictions(path, masks=True, sizes={1: (9, 9)})


@pytest.mark.parametrize("counts", ["55", [5, 5], "\x01\x02zz"])
def test_runs_that_do_not_fill_their_image_name_the_entry(tmp_path, counts):
    """When they are read, or, where all are compressed already, before they are compared."""
    good = {**GOOD, "segmentation": {"size": [2, 5], "counts": "55"}}
    bad = {**GOOD, "segmentation": {"size": [9, 9], "counts": counts}}
    path = _write(tmp_path, [good, bad])
    with pytest.raises(DataError, match=r"entry 1: `segmentation` cannot be used: .*run"):
        check_runs(read_predictions(path, masks=True), np.arange(2))


def test_only_masks_that_count_are_held_against_their_image(tmp_path):
    good = {**GOOD, "segmentation": {"size": [2, 5], "counts": "55"}}
    bad = {**GOOD, "segmentation": {"size": [9, 9], "counts": "55"}}
    predictions = read_predictions(_write(tmp_path, [good, bad, good]), masks=True)
    check_runs(predictions, np.array([2, 0]))
    with pytest.raises(DataError, match="entry 1: "):
        check_runs(predictions, np.array([2, 1]))


def test_runs_of_another_size_than_their_image_name_the_entry(tmp_path):
    path = _write(tmp_path, [{**GOOD, "segmentation": {"size": [2, 5], "counts": "55"}}])
    with pytest.raises(DataError, match=r"entry 0: .* its size is \[2, 5\], its image is"):
        read_predictions(path, masks=True, sizes={GOOD["image_id"]: (5, 2)})


def test_rectangles_that_stand_in_for_masks_are_noted(tmp_path):
    masked = {**GOOD, "segmentation": [[1, 1, 1, 5, 5, 5]]}
    for records, expected in (
        ([GOOD, GOOD], ["found.json holds no masks; its boxes were scored as rectangles"]),
        ([GOOD, masked], ["holds no mask for 1 of 2 detections"]),
        ([masked, masked], []),
    ):
        notes: list[str] = []
        path = _write(tmp_path, records)
        read_predictions(path, masks=True, sizes={1: (9, 9)}, piece=60, notes=notes)
        assert len(notes) == len(expected)
        assert all(part in note for part, note in zip(expected, notes, strict=True))


@pytest.mark.parametrize("name", ["nope.json", "nope.npz", "nope"])
def test_missing_predictions_are_named(tmp_path, name):
    with pytest.raises(DataError, match=f"{name}: there is no such file"):
        read_predictions(tmp_path / name)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    predictions = read_predictions(_write(tmp_path, []))
    path = tmp_path / "out.json"
    write_predictions(predictions, path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    two = predictions_from([GOOD, GOOD], "x")
    monkeypatch.setattr("dense_lt.evaluation.prediction_files._records", fail)
    with pytest.raises(OSError, match="disk full"):
        write_predictions(two, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("key", ["score", "image_id"])
@pytest.mark.parametrize("others", [[], [GOOD]])
def test_true_is_no_number(key, others):
    with pytest.raises(DataError, match=f"x: entry {len(others)}: `{key}` is True; a number is"):
        predictions_from([*others, {**GOOD, key: True}], "x")
