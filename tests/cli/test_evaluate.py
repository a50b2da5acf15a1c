import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.evaluation_cases import make_case

from dense_lt.cli import main as cli
from dense_lt.cli.evaluation_run import _digest_of_images, evaluate_run
from dense_lt.config.load import load_config, save_config
from dense_lt.data.build import build_datasets
from dense_lt.data.categories import CategoryTable
from dense_lt.engine.checkpoint import Checkpoint, save_checkpoint
from dense_lt.evaluation.annotations import ground_truth_from
from dense_lt.evaluation.results import EvaluationResult
from dense_lt.models.build import build_detector
from dense_lt.utils.errors import ConfigError, DataError

CONFIG = """
name: tiny
threads: 1
data:
  dataset:
    {kind: drawn, folder: FOLDER, train_images: 40, val_images: 20, frequent: 2, common: 2, rare: 1,
     frequent_images: [20, 15], common_images: [8, 6], rare_images: [2, 2],
     val_images_per_class: 6, negatives_per_image: 2}
  train_transforms: {resize: null}
  val_transforms: {resize: null}
  workers: 0
model:
  backbone: {name: resnet18, options: {channels: [8, 8, 8, 8], layers: [1, 1, 1, 1]}}
  pyramid: {levels: [3, 4], backbone_levels: [3, 5], channels: 8}
  head: {channels: 8, num_convs: 1, norm_groups: 2}
  inference: {pre_nms_top_k: 50, max_detections: 20}
schedule: {kind: cosine}
train: {steps: 1}
evaluation: {batch_size: 7, max_detections: [20, 5]}
"""


@pytest.fixture
def files(tmp_path):
    document, records = make_case(0, images=12)
    (tmp_path / "gt.json").write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "found.json").write_text(json.dumps(records), encoding="utf-8")
    return tmp_path


def _score(folder, *options):
    found, out = folder / "found.json", folder / "out"
    required = ["--gt", str(folder / "gt.json"), "--predictions", str(found), "--out", str(out)]
    return cli.main(["eval", "score", *required, *options])


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run whose detector was never trained."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    folder.mkdir()
    path = folder / "config.yaml"
    path.write_text(CONFIG.replace("FOLDER", str(folder.parent / "drawn")), encoding="utf-8")
    config = load_config(path)
    save_config(config, path)
    categories = build_datasets(config.data, seed=0, splits=("val",)).categories
    torch.manual_seed(0)
    detector = build_detector(config.model, len(categories))
    checkpoint = Checkpoint(
        step=3,
        samples_seen=0,
        model=dict(detector.state_dict()),
        optimizer={},
        random_states=[],
        categories=categories.to_json(),
        config={},
        versions={},
    )
    save_checkpoint(folder / "checkpoints", checkpoint, keep=1)
    return folder


def test_a_predictions_file_is_scored_into_a_folder(files, capsys):
    assert _score(files, "--max-dets", "300", "10") == 0
    assert "APr" in capsys.readouterr().out
    result = EvaluationResult.load(files / "out" / "results.json")
    assert list(result.by_max_detections) == ["300", "10"]
    assert (files / "out" / "per_class.csv").is_file()


@pytest.mark.parametrize(("protocol", "backend"), [("lvis", "lvis"), ("coco", "pycocotools")])
def test_the_official_packages_give_the_same_results(files, protocol, backend):
    assert _score(files, "--protocol", protocol) == 0
    ours = EvaluationResult.load(files / "out" / "results.json")
    assert _score(files, "--protocol", protocol, "--backend", backend) == 0
    theirs = EvaluationResult.load(files / "out" / "results.json")
    assert theirs.metrics == pytest.approx(ours.metrics, abs=1e-12)
    assert theirs.rules["backend"] == backend
    assert backend in theirs.versions


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize(("protocol", "backend"), [("lvis", "lvis"), ("coco", "pycocotools")])
def test_the_official_packages_score_files_without_areas_and_ids(
    tmp_path, protocol, backend, iou_type
):
    document, records = make_case(1, images=12, masks=iou_type == "segm")
    for annotation in document["annotations"]:
        del annotation["area"], annotation["id"]
    (tmp_path / "gt.json").write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "found.json").write_text(json.dumps(records), encoding="utf-8")
    options = ["--protocol", protocol, "--iou-type", iou_type, "--resamples", "0"]
    assert _score(tmp_path, *options) == 0
    ours = EvaluationResult.load(tmp_path / "out" / "results.json")
    assert _score(tmp_path, *options, "--backend", backend) == 0
    theirs = EvaluationResult.load(tmp_path / "out" / "results.json")
    assert ours.metrics["APs"]
    assert theirs.metrics == pytest.approx(ours.metrics, abs=1e-12)


def test_a_backend_that_does_not_know_the_protocol_says_which_does(files, capsys):
    assert _score(files, "--protocol", "coco", "--backend", "lvis") == 2
    assert "--backend pycocotools --protocol coco" in capsys.readouterr().err


def test_groups_come_from_the_training_annotations(files):
    document = json.loads((files / "gt.json").read_text(encoding="utf-8"))
    for category in document["categories"]:
        del category["frequency"]
    for annotation in document["annotations"]:
        annotation |= {"bbox": [3, 3, 4, 4], "area": 16}
    (files / "gt.json").write_text(json.dumps(document), encoding="utf-8")
    (files / "train.json").write_text(json.dumps(document), encoding="utf-8")
    assert _score(files) == 0
    result = EvaluationResult.load(files / "out" / "results.json")
    assert result.metrics["APr"] is None
    assert _score(files, "--train-annotations", str(files / "train.json")) == 0
    result = EvaluationResult.load(files / "out" / "results.json")
    assert result.metrics["APr"] == result.metrics["AP"]  # every class is in at most ten images
    assert {entry.group for entry in result.per_class} == {"rare"}


def test_scoring_from_the_command_line_imports_no_torch(files):
    code = (
        "import sys\n"
        "from dense_lt.cli.main import main\n"
        f"folder = {str(files)!r}\n"
        "names = ['--gt', folder + '/gt.json', '--predictions', folder + '/found.json']\n"
        "assert main(['eval', 'score', *names, '--out', folder + '/out']) == 0\n"
        "assert not {'torch', 'cv2', 'matplotlib', 'lvis'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "a JSON list of detections is needed"),
        ('[{"image_id": 1}', "not a JSON list"),
        ('[{"image_id": -5, "category_id": 1, "bbox": [1, 1, 1, 1], "score": 1}]', "entry 0"),
    ],
)
def test_a_bad_predictions_file_is_one_message(files, capsys, content, message):
    (files / "found.json").write_text(content, encoding="utf-8")
    assert _score(files) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "found.json" in error
    assert message in error


def test_open_images_files_are_scored(tmp_path, capsys):
    (tmp_path / "boxes.csv").write_text(
        "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\na,car,0.1,0.5,0.1,0.5,0\n"
    )
    (tmp_path / "found.csv").write_text(
        "ImageID,LabelName,Score,XMin,XMax,YMin,YMax\na,car,0.9,0.1,0.5,0.1,0.5\n"
    )
    (tmp_path / "classes.csv").write_text("car,Car\n")
    arguments = ["eval", "score", "--protocol", "openimages", "--out", str(tmp_path / "out")]
    for name in ("boxes", "classes"):
        arguments += [f"--{name}", str(tmp_path / f"{name}.csv")]
    assert cli.main([*arguments, "--predictions", str(tmp_path / "found.csv")]) == 0
    output = capsys.readouterr().out
    assert "AP1      n/a (training counts are not known (--train-counts))" in output
    result = EvaluationResult.load(tmp_path / "out" / "results.json")
    assert result.metrics["mAP"] == 1
    assert result.max_detections is None


OPEN_IMAGES = ["--protocol", "openimages", "--boxes", "b.csv", "--classes", "c.csv"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--protocol", "openimages"], "--protocol openimages needs --boxes and --classes"),
        (["--protocol", "openimages", "lvis"], "score it apart"),
        ([], "--protocol lvis needs --gt"),
        (
            ["--gt", "a.json", "--boxes", "b.csv"],
            "--boxes is for --protocol openimages; --protocol lvis",
        ),
        ([*OPEN_IMAGES, "--gt", "a.json"], "--gt is for --protocol lvis, fixed, pool and coco"),
        ([*OPEN_IMAGES, "--norcal", "1"], "--norcal is for --protocol lvis"),
        ([*OPEN_IMAGES, "--iou-type", "segm"], "--iou-type is for --protocol lvis"),
        (["--gt", "a.json", "--out", __file__], "test_evaluate.py is a file; give a folder"),
        (["--gt", "a.json", "--out", f"{__file__}/x"], "test_evaluate.py is a file; give a folder"),
    ],
)
def test_files_that_a_protocol_needs_are_asked_for(tmp_path, capsys, options, message):
    arguments = ["eval", "score", "--predictions", "a.csv", "--out", str(tmp_path), *options]
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_run_is_predicted_and_scored(run_folder, capsys):
    assert cli.main(["eval", str(run_folder), "device=cpu"]) == 0
    assert "5 per image" in capsys.readouterr().out
    result = EvaluationResult.load(run_folder / "evaluation" / "results.json")
    assert (result.run, result.step) == ("tiny", 3)
    assert result.counts["images"] == 20
    assert result.counts["detections"] <= 20 * 20
    assert result.config is not None
    assert result.per_class[0].train_images is not None
    assert result.seconds_per_image
    assert (run_folder / "evaluation" / "classifier.json").is_file()


def test_numbers_of_other_settings_do_not_replace_the_runs_own(run_folder, capsys):
    assert cli.main(["eval", str(run_folder), "device=cpu", "evaluation.images=4"]) == 0
    other = run_folder / "evaluation_evaluation.images=4" / "results.json"
    assert str(other) in capsys.readouterr().out
    assert EvaluationResult.load(other).counts["images"] == 4
    own = run_folder / "evaluation" / "results.json"
    assert not own.is_file() or EvaluationResult.load(own).counts["images"] == 20


def test_a_broken_run_does_not_keep_the_others_from_being_evaluated(run_folder, tmp_path, capsys):
    runs = [str(tmp_path / "nothing"), str(run_folder)]
    assert cli.main(["eval", *runs, "device=cpu", "evaluation.images=2"]) == 2
    captured = capsys.readouterr()
    assert "1 of 2 runs were not evaluated" in captured.err
    assert "nothing: this is no run folder" in captured.err
    assert "2 images" in captured.out


def test_a_run_can_be_evaluated_on_its_first_images(run_folder, tmp_path):
    (result,) = evaluate_run(run_folder, tmp_path, ["evaluation.images=6", "device=cpu"])
    assert result.counts["images"] == 6


def test_a_run_can_be_predicted_without_a_cap_per_image(run_folder, tmp_path):
    overrides = ["evaluation.protocols=[fixed]", "device=cpu", "evaluation.images=3"]
    overrides += ["model.inference.score_threshold=0"]
    (capped,) = evaluate_run(run_folder, tmp_path / "a", overrides)
    (result,) = evaluate_run(
        run_folder, tmp_path / "b", [*overrides, "evaluation.no_image_cap=true"]
    )
    assert capped.counts["detections"] == 3 * 20
    assert result.counts["detections"] > 3 * 20


def test_a_detector_without_detections_says_its_best_score(run_folder, tmp_path):
    overrides = ["model.inference.score_threshold=0.99", "device=cpu"]
    (result,) = evaluate_run(run_folder, tmp_path, overrides)
    assert result.counts["detections"] == 0
    (note,) = [note for note in result.notes if "the best score in the first" in note]
    assert "model.inference.score_threshold is 0.99" in note


def test_an_interrupted_evaluation_goes_on(run_folder, tmp_path):
    whole, interrupted = tmp_path / "whole", tmp_path / "interrupted"
    (expected,) = evaluate_run(run_folder, whole, ["device=cpu"])
    evaluate_run(run_folder, interrupted, ["device=cpu", "evaluation.images=13"])
    (result,) = evaluate_run(run_folder, interrupted, ["device=cpu"], resume=True)
    assert result.metrics == expected.metrics
    assert len(list((interrupted / "predictions").glob("part_*.npz"))) == 2


def test_an_evaluation_of_other_settings_is_not_continued(run_folder, tmp_path):
    evaluate_run(run_folder, tmp_path, ["device=cpu"])
    with pytest.raises(ConfigError, match="other weights, settings or images"):
        evaluate_run(run_folder, tmp_path, ["model.inference.nms_iou=0.1"], resume=True)


@pytest.mark.parametrize(("ids", "names"), [([2, 1], "ab"), ([1, 2], "ba"), ([1, 3], "ab")])
def test_another_list_of_images_at_the_same_path_is_another(ids, names):
    def digest(ids, names):
        table = SimpleNamespace(image_ids=np.array(ids), file_names=list(names))
        return _digest_of_images(SimpleNamespace(table=table))

    assert digest([1, 2], "ab") == digest([1, 2], "ab")
    assert digest(ids, names) != digest([1, 2], "ab")


def test_the_images_are_noted_beside_predictions(run_folder, tmp_path):
    evaluate_run(run_folder, tmp_path, ["device=cpu", "evaluation.images=7"])
    made_by = json.loads((tmp_path / "predictions" / "made_by.json").read_text())
    assert len(made_by["images"]) == 16
    made_by["images"] = "0" * 16
    (tmp_path / "predictions" / "made_by.json").write_text(json.dumps(made_by))
    with pytest.raises(ConfigError, match="other weights, settings or images"):
        evaluate_run(run_folder, tmp_path, ["device=cpu", "evaluation.images=7"], resume=True)


def test_what_is_no_run_folder_says_what_to_give(tmp_path):
    with pytest.raises(DataError, match="this is no run folder"):
        evaluate_run(tmp_path, tmp_path, [])


def test_settings_without_a_run_are_an_error(capsys):
    assert cli.main(["eval", "device=cpu"]) == 2
    assert "no RUN" in capsys.readouterr().err


def test_several_predictions_get_folders_and_differences(files, capsys):
    other = files / "other.json"
    other.write_text("[]", encoding="utf-8")
    assert _score(files, "--predictions", str(files / "found.json"), str(other)) == 0
    assert "difference to found" in capsys.readouterr().out
    assert (files / "out" / "found" / "results.json").is_file()
    assert (files / "out" / "other" / "resamples.npz").is_file()


def test_calibrated_scores_stand_beside_the_raw_ones(files, capsys):
    document = json.loads((files / "gt.json").read_text(encoding="utf-8"))
    for number, category in enumerate(document["categories"]):
        category["image_count"] = 10**number
    (files / "gt.json").write_text(json.dumps(document), encoding="utf-8")
    assert _score(files, "--norcal", "0.5", "--max-dets", "2") == 0
    assert "difference to found" in capsys.readouterr().out
    raw, calibrated = (
        EvaluationResult.load(files / "out" / f"results{suffix}.json")
        for suffix in ("", "_norcal_0.5")
    )
    assert raw.metrics != calibrated.metrics


def test_files_with_a_byte_order_mark_are_read(files):
    document = json.loads((files / "gt.json").read_text(encoding="utf-8"))
    truth = ground_truth_from(document, source="gt.json")
    size = len(truth.names)
    table = CategoryTable(
        names=truth.names,
        dataset_ids=tuple(truth.category_ids.tolist()),
        image_counts=(5,) * size,
        instance_counts=(9,) * size,
        groups=("rare",) * size,
    )
    table.save(files / "table.json")
    for name in ("gt.json", "found.json", "table.json"):
        text = (files / name).read_text(encoding="utf-8")
        (files / name).write_text(text, encoding="utf-8-sig")
    assert _score(files, "--categories", str(files / "table.json"), "--resamples", "0") == 0
    result = EvaluationResult.load(files / "out" / "results.json")
    assert {entry.train_images for entry in result.per_class} == {5}


def test_two_tables_of_categories_are_too_many(files, capsys):
    status = _score(files, "--train-annotations", "a.json", "--categories", "b.json")
    assert status == 2
    assert "give one of them" in capsys.readouterr().err


def test_out_is_for_a_single_run(capsys):
    assert cli.main(["eval", "a", "b", "--out", "c"]) == 2
    assert "single RUN" in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["ours", "lvis"])
def test_boxes_that_are_scored_as_masks_are_noted(tmp_path, capsys, backend):
    document, records = make_case(0, masks=True)
    for record in records:
        del record["segmentation"]
    (tmp_path / "gt.json").write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "found.json").write_text(json.dumps(records), encoding="utf-8")
    assert _score(tmp_path, "--iou-type", "segm", "--backend", backend) == 0
    assert "found.json holds no masks; its boxes were scored" in capsys.readouterr().out
    result = EvaluationResult.load(tmp_path / "out" / "results.json")
    assert any("holds no masks" in note for note in result.notes)


def test_predictions_of_the_same_name_are_called_by_their_folders(files):
    found = (files / "found.json").read_text(encoding="utf-8")
    paths = [files / run / "evaluation" / "predictions.json" for run in ("runA", "runB")]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text(found, encoding="utf-8")
    mixed = [*paths, files / "found.json"]
    assert _score(files, "--resamples", "0", "--predictions", *map(str, mixed)) == 0
    for name in ("runA", "runB", "found"):
        result = EvaluationResult.load(files / "out" / name / "results.json")
        assert result.run == name


def test_results_of_one_file_do_not_stay_beside_those_of_several(files):
    assert _score(files, "--resamples", "0") == 0
    (files / "other.json").write_text((files / "found.json").read_text())
    both = [str(files / "found.json"), str(files / "other.json")]
    assert _score(files, "--resamples", "0", "--predictions", *both) == 0
    assert sorted(path.name for path in (files / "out").iterdir()) == ["found", "other"]


def test_the_same_predictions_twice_are_refused(files, capsys):
    found = str(files / "found.json")
    assert _score(files, "--predictions", found, found) == 2
    assert "--predictions: a file is given twice" in capsys.readouterr().err


def test_a_path_through_the_folder_above_does_not_write_there(files, monkeypatch):
    below = files / "a" / "b"
    below.mkdir(parents=True)
    for place in (below, below.parent):
        (place / "found.json").write_text((files / "found.json").read_text())
    monkeypatch.chdir(below)
    both = ["found.json", "../found.json"]
    assert _score(files, "--resamples", "0", "--predictions", *both, "--out", "scores") == 0
    assert sorted(path.name for path in (below / "scores").iterdir()) == ["a", "b"]
    assert sorted(path.name for path in below.iterdir()) == ["found.json", "scores"]


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        ("1", "1: it must be at least 100, or 0 for no intervals"),
        ("-1", "-1: it must be at least 100, or 0 for no intervals"),
        ("x", "'x' is not a whole number"),
    ],
)
def test_too_few_draws_are_refused(files, capsys, draws, message):
    with pytest.raises(SystemExit):
        _score(files, "--resamples", draws)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["runs", "RUN ..."])
def test_a_folder_may_have_any_name(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert cli.main(["eval", name]) == 2
    assert f"{name}: this is no run folder" in capsys.readouterr().err
