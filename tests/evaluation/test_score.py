import subprocess
import sys

import pytest
from helpers.evaluation_cases import make_case
from helpers.evaluation_oracle import columns

from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.results import EvaluationResult, save_results
from dense_lt.evaluation.score import ScoreSettings, score
from dense_lt.evaluation.tables import format_results
from dense_lt.utils.errors import DataError

LVIS_NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"]


def test_results_have_the_official_names_and_say_what_was_measured():
    truth, found = columns(*make_case(0, images=20))
    result = score(truth, found, ScoreSettings(caps=(300, 30)), run="mine")
    recalls = ["AR@300", "ARs@300", "ARm@300", "ARl@300"]
    assert list(result.metrics) == [*LVIS_NAMES, *recalls]
    assert all(value is None or 0 <= value <= 1 for value in result.metrics.values())
    assert list(result.by_max_detections) == ["300", "30"]
    assert "AR@30" in result.by_max_detections["30"]
    assert result.by_max_detections["300"] == result.metrics
    assert result.counts["images"] == 20
    assert result.counts["annotations"] == len(truth.areas)
    assert result.counts["detections"] == len(found)
    assert (result.run, result.protocol, result.iou_type) == ("mine", "lvis", "bbox")
    assert {"dense_lt", "numpy"} <= set(result.versions)


def test_per_class_numbers_average_to_the_headline():
    truth, found = columns(*make_case(0, images=20))
    result = score(truth, found)
    defined = [entry.AP for entry in result.per_class if entry.AP is not None]
    assert sum(defined) / len(defined) == pytest.approx(result.metrics["AP"])
    entry = result.per_class[0]
    own = truth.category == 0
    assert entry.val_instances == own.sum()
    assert entry.val_images == len(set(truth.image[own].tolist()))


def test_no_predictions_give_numbers():
    truth, _ = columns(*make_case(0, images=20))
    result = score(truth, Predictions.empty("found.json"))
    assert result.metrics["AP"] == 0
    assert result.metrics["AR@300"] == 0
    assert "there are no detections: precision and recall are 0" in result.notes


def test_a_group_without_ground_truth_is_null_and_says_why():
    document, records = make_case(0, images=20)
    rare = [c["id"] for c in document["categories"] if c["frequency"] == "r"]
    annotations = [a for a in document["annotations"] if a["category_id"] not in rare]
    truth, found = columns({**document, "annotations": annotations}, records)
    result = score(truth, found)
    assert result.metrics["APr"] is None
    reason = f"0 of {len(rare)} rare classes have ground truth"
    assert f"APr is n/a: {reason}" in result.notes
    assert f"n/a ({reason})" in format_results([result])


def test_unknown_groups_are_null_and_say_how_to_give_them():
    document, records = make_case(0, coco=True)
    for category in document["categories"]:
        del category["frequency"]
    result = score(*columns(document, records))
    assert result.metrics["APr"] is None
    assert any("--train-annotations" in note for note in result.notes)
    assert {entry.group for entry in result.per_class} == {None}


def test_an_unknown_image_is_an_error_that_names_the_entry():
    document, records = make_case(0)
    records.insert(2, {**records[0], "image_id": 4711})
    with pytest.raises(DataError, match=r"found.json: entry 2 is for image 4711, which gt.json"):
        score(*columns(document, records))


def test_an_unknown_category_is_noted():
    document, records = make_case(0)
    result = score(*columns(document, [{**records[0], "category_id": 4711}]))
    assert any("1 detections, first entry 0, name 1 category ids" in note for note in result.notes)


def test_a_mask_of_another_size_is_an_error_that_names_the_entry():
    document, records = make_case(0, masks=True)
    truth, found = columns(document, records, "segm")
    assert found.masks is not None
    found.masks.sizes[:, 0] += 1
    with pytest.raises(DataError, match=r"entry \d+ has a mask of size \[121, 120\]"):
        score(truth, found, ScoreSettings(iou_type="segm"))


def test_coco_results_list_the_recalls_of_all_caps():
    truth, found = columns(*make_case(0, coco=True))
    result = score(truth, found, ScoreSettings(protocol="coco"))
    assert result.max_detections == 100
    assert {"AR@100", "AR@10", "AR@1", "ARs@100", "APr"} <= set(result.metrics)


def test_results_survive_their_file(tmp_path):
    truth, found = columns(*make_case(0, masks=True), "segm")
    boxes = score(truth, found, run="mine")
    masks = score(truth, found, ScoreSettings(iou_type="segm"))
    paths = save_results([boxes, masks], tmp_path / "out")
    assert [path.name for path in paths] == ["results.json", "results_segm.json"]
    assert EvaluationResult.load(paths[0]) == boxes
    assert EvaluationResult.load(paths[1]) == masks
    lines = (tmp_path / "out" / "per_class.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("category_id,name,group,train_images,train_instances,val_images")
    assert len(lines) == 1 + len(boxes.per_class)


def test_results_of_an_earlier_scoring_do_not_stay_beside_new_ones(tmp_path):
    truth, found = columns(*make_case(0))
    lvis = score(truth, found, ScoreSettings(resamples=100))
    fixed = score(truth, found, ScoreSettings(protocol="fixed", resamples=100))
    save_results([lvis, fixed], tmp_path)
    (tmp_path / "results_of_another_program.json").write_text("{}", encoding="utf-8")
    (tmp_path / "per_class_mine.csv").write_text("", encoding="utf-8")
    save_results([score(truth, found)], tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    theirs = ["per_class_mine.csv", "results_of_another_program.json"]
    assert left == sorted(["per_class.csv", "results.json", *theirs])


def test_a_file_that_holds_no_results_is_named(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"run": "x"}', encoding="utf-8")
    with pytest.raises(DataError, match=r"results\.json"):
        EvaluationResult.load(path)


def test_scoring_imports_no_torch():
    code = (
        "import sys\n"
        "import dense_lt.evaluation.score_files, dense_lt.evaluation.tables\n"
        "assert not {'torch', 'cv2', 'lvis', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("protocol", ["lvis", "coco"])
def test_objects_that_the_protocol_leaves_out_for_their_area_are_counted(protocol):
    document, records = make_case(0, images=20, coco=protocol == "coco")
    for annotation in document["annotations"]:
        annotation["area"] = -1
    result = score(*columns(document, records), ScoreSettings(protocol=protocol))
    count = len(document["annotations"])
    assert "AP is n/a: the ground truth holds no object that counts" in result.notes
    assert any(f"{count} of {count} annotations have an `area` of" in n for n in result.notes)
