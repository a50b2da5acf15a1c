import numpy as np
import pytest
from helpers.evaluation_cases import make_case
from helpers.evaluation_oracle import columns

from dense_lt.evaluation.prediction_files import read_predictions, write_predictions
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.score import ScoreSettings, score
from dense_lt.evaluation.shards import (
    ShardWriter,
    predicted_images,
    read_columns,
    write_columns,
)
from dense_lt.utils.errors import DataError


def _write(folder, found, images, *, rows=10, rank=0):
    writer = ShardWriter(folder, rank=rank, rows=rows)
    for image_id in images:
        writer.add(found.select(np.flatnonzero(found.image_ids == image_id)), [image_id])
    writer.flush()


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_columns_and_json_score_alike(tmp_path, iou_type):
    truth, found = columns(*make_case(0, images=20, masks=iou_type == "segm"), iou_type)
    _write(tmp_path / "shards", found, truth.image_ids.tolist())
    write_columns(found, truth.image_ids.tolist(), tmp_path / "one.npz")
    write_predictions(found, tmp_path / "found.json")
    options = ScoreSettings(iou_type=iou_type)
    expected = score(truth, found, options)
    for name in ("shards", "one.npz", "found.json"):
        again = read_predictions(tmp_path / name, masks=iou_type == "segm")
        result = score(truth, again, options)
        assert result.metrics == expected.metrics
        assert result.per_class == expected.per_class


def test_detections_keep_their_order_within_an_image_and_their_precision(tmp_path):
    """Equal scores are ranked by input order, so it must survive."""
    found = Predictions(
        "x",
        np.array([7, 5, 7, 5]),
        np.array([1, 2, 3, 4]),
        np.array([0.1, 0.2, 0.1, 0.3], dtype=np.float32),
        np.arange(16, dtype=np.float32).reshape(4, 4),
    )
    write_columns(found, [7, 5, 6], tmp_path / "one.npz")
    again = read_columns(tmp_path / "one.npz")
    assert again.image_ids.tolist() == [7, 7, 5, 5]
    assert again.category_ids.tolist() == [1, 3, 2, 4]
    assert again.scores.dtype == np.float32
    assert again.boxes is not None
    assert again.boxes.tolist() == found.boxes[[0, 2, 1, 3]].tolist()


def test_files_name_every_image_that_was_predicted(tmp_path):
    truth, found = columns(*make_case(0, images=20))
    images = truth.image_ids.tolist()
    _write(tmp_path, found, images[:11])
    assert predicted_images(tmp_path).tolist() == images[:11]
    _write(tmp_path, found, images[11:])  # an interrupted run goes on
    _write(tmp_path, Predictions.empty(), [4711], rank=1)
    assert predicted_images(tmp_path).tolist() == [*images, 4711]
    assert len(list(tmp_path.glob("part_000_*.npz"))) > 3
    assert len(read_columns(tmp_path)) == len(found)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_folder_without_predictions_and_a_broken_file_are_named(tmp_path):
    with pytest.raises(DataError, match="no npz files"):
        read_columns(tmp_path)
    (tmp_path / "part_000_00000.npz").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"part_000_00000\.npz: cannot be read"):
        read_columns(tmp_path)
    np.savez(tmp_path / "part_000_00000.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="holds no predictions"):
        read_columns(tmp_path)


def test_broken_values_in_columns_are_refused(tmp_path):
    found = Predictions("x", np.array([7]), np.array([1]), np.array([1.5]), np.ones((1, 4)))
    write_columns(found, [7], tmp_path / "one.npz")
    with pytest.raises(DataError, match=r"one\.npz: entry 0 has score 1\.5"):
        read_columns(tmp_path / "one.npz")
