"""Numbers reach their files, without duplicates after a resumption."""

import json
import math

import torch

from dense_lt.engine.writers import (
    JsonLinesWriter,
    StatisticsWriter,
    TensorBoardWriter,
    has_evaluation,
)


def _records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_line_is_an_object_with_kind_and_step(tmp_path):
    writer = JsonLinesWriter(tmp_path / "metrics.jsonl")
    writer.write("train", 20, {"loss": 0.5})
    writer.write("evaluation", 20, {"AP": 0.25, "APr": None, "broken": math.nan})
    assert _records(tmp_path / "metrics.jsonl") == [  # readable before it is closed
        {"kind": "train", "step": 20, "loss": 0.5},
        {"kind": "evaluation", "step": 20, "AP": 0.25, "APr": None, "broken": None},
    ]
    writer.close()


def test_lines_after_the_point_of_resumption_are_dropped_and_a_torn_one_too(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLinesWriter(path)
    for step in (10, 20, 30):
        writer.write("train", step, {})
    writer.close()
    path.write_text(path.read_text() + '{"kind": "tra')
    writer = JsonLinesWriter(path, done=20)
    writer.write("train", 30, {"again": 1.0})
    writer.close()
    assert [record["step"] for record in _records(path)] == [10, 20, 30]
    assert _records(path)[-1]["again"] == 1.0


def test_damaged_lines_are_left_out_with_a_warning_and_the_others_kept(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    good = b'{"kind": "train", "step": 10}\n{"kind": "evaluation", "step": 20}\n'
    path.write_bytes(b'{"kind": "tr\n\xff\n[1]\n' + good + b'{"step": "x"}\nnothing\n')
    assert has_evaluation(path, 20)
    JsonLinesWriter(path, done=20).close()
    assert path.read_bytes() == good
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"{path}: line {n} cannot be read and is left out" for n in (1, 2, 3, 6, 7)]


def test_a_fresh_start_drops_everything(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "train", "step": 5}\n')
    JsonLinesWriter(path).close()
    assert path.read_text() == ""


def test_tensorboard_gets_a_curve_per_name(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = TensorBoardWriter(tmp_path)
    writer.write("train", 1, {"time": 1e9, "loss": 2.0})
    writer.write("evaluation", 1, {"AP": 0.5, "APr": None})
    writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"train/loss", "evaluation/AP"}
    assert events.Scalars("train/loss")[0].value == 2.0


def test_a_step_has_one_snapshot_even_if_it_is_asked_for_twice(tmp_path, tiny_detector):
    writer = StatisticsWriter(tmp_path / "statistics.json")
    for step in (10, 20, 20):
        writer.write(step, tiny_detector())
    stored = json.loads((tmp_path / "statistics.json").read_text())["snapshots"]
    assert [snapshot["step"] for snapshot in stored] == [10, 20]


def test_statistics_snapshots_are_added_and_those_after_a_resumption_dropped(
    tmp_path, tiny_detector
):
    detector = tiny_detector()
    detector.statistics.positive.copy_(torch.tensor([1.0, 2.0, 0.0]))
    detector.statistics.negative.copy_(torch.tensor([4.0, 2.0, 0.0]))
    path = tmp_path / "statistics.json"
    for done, steps in ((0, (10, 20, 30)), (15, (20,))):
        writer = StatisticsWriter(path, done=done)
        for step in steps:
            writer.write(step, detector)
    snapshots = json.loads(path.read_text())["snapshots"]
    assert [snapshot["step"] for snapshot in snapshots] == [10, 20]
    assert snapshots[-1]["statistics"] == {
        "statistics": {
            "positive": [1.0, 2.0, 0.0],
            "negative": [4.0, 2.0, 0.0],
            "ratio": [0.25, 1.0, None],
        }
    }


def test_classifier_norms_lie_beside_the_sums_of_their_step(tmp_path, tiny_detector):
    path = tmp_path / "statistics.json"
    writer = StatisticsWriter(path)
    writer.write(10, tiny_detector(), classifier_norms=[1.5, math.nan, 0.0])
    writer.write(20, tiny_detector())
    first, second = json.loads(path.read_text())["snapshots"]
    assert first["classifier_norms"] == [1.5, None, 0.0]
    assert "classifier_norms" not in second
