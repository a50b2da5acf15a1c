"""A whole run on Open Images: trained, scored by the challenge's rules, evaluated again."""

import json

import pytest
from helpers.open_images_files import write_open_images, write_photographs

from dense_lt.cli.main import main

CONFIG = """name: run
output: {folder}/runs
data:
  dataset:
    kind: openimages
    root: {folder}
    classes: classes.csv
    hierarchy: tree.json
    train: {{boxes: boxes.csv, labels: labels.csv, images: [images]}}
    val: {{boxes: boxes.csv, labels: labels.csv, images: [images]}}
  workers: 0
  cache_annotations: false
  train_transforms: {{resize: {{short: [64], long: 128}}}}
  val_transforms: {{resize: {{short: [64], long: 128}}}}
model:
  backbone: {{name: resnet18, options: {{channels: [8, 8, 16, 16], layers: [1, 1, 1, 1]}}}}
  pyramid: {{levels: [3, 4], backbone_levels: [3, 4], channels: 16}}
  head: {{channels: 16, num_convs: 1, norm_groups: 4}}
  loss: {{kind: equalized_focal}}
schedule: {{kind: cosine, warmup: 0}}
train: {{steps: 2, batch_size: 2}}
evaluation: {{batch_size: 2, resamples: 100, protocols: [openimages, openimages-expanded]}}
"""


@pytest.fixture
def config(tmp_path):
    write_open_images(tmp_path, sizes=False)
    write_photographs(tmp_path / "images")
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


def test_a_run_is_trained_and_scored_by_the_challenge_s_rules(config, tmp_path, capsys):
    assert main(["train", str(config), "train.keep_best=APr"]) == 2
    assert "gives no 'APr'; choose one of mAP" in capsys.readouterr().err
    assert main(["train", str(config), "train.keep_best=mAP"]) == 0
    run = tmp_path / "runs" / "run"
    result = json.loads((run / "evaluation" / "results.json").read_text())
    assert result["protocol"] == "openimages"
    assert list(result["metrics"]) == ["mAP", "AP1", "AP2", "AP3", "AP4", "AP5"]
    assert result["counts"]["images"] == 3
    assert result["per_class"][0]["category_id"] == "/m/pet"
    assert result["intervals"]["resamples"] == 100
    assert (run / "evaluation" / "results_openimages-expanded.json").is_file()
    header = (run / "evaluation" / "predictions.csv").read_text().partition("\n")[0]
    assert header == "ImageID,LabelName,Score,XMin,XMax,YMin,YMax"
    categories = json.loads((run / "categories.json").read_text())
    assert categories["instance_counts"] == [0, 1, 1, 0, 2]  # the groups AP1 .. AP5 come from them

    assert main(["eval", str(run), "--out", str(tmp_path / "again")]) == 0
    again = json.loads((tmp_path / "again" / "results.json").read_text())
    assert again["metrics"] == result["metrics"]
    scored = ["eval", "score", "--protocol", "openimages", "--resamples", "0"]
    scored += ["--predictions", str(run / "evaluation" / "predictions.csv")]
    for option, name in (("boxes", "boxes"), ("classes", "classes"), ("labels", "labels")):
        scored += [f"--{option}", str(tmp_path / f"{name}.csv")]
    scored += ["--hierarchy", str(tmp_path / "tree.json"), "--out", str(tmp_path / "scored")]
    assert main(scored) == 0
    from_file = json.loads((tmp_path / "scored" / "results.json").read_text())
    assert from_file["metrics"]["mAP"] == result["metrics"]["mAP"]

    predicted = ["predict", str(tmp_path / "images" / "aa.jpg"), "--run", str(run), "--min-score=0"]
    assert main([*predicted, "--out", str(tmp_path / "predicted")]) == 0
    found = json.loads((tmp_path / "predicted" / "predictions.json").read_text())
    objects = found["images"][0]["objects"]
    assert objects
    classes = set(zip(categories["names"], categories["dataset_ids"], strict=True))
    assert {(one["name"], one["category_id"]) for one in objects} <= classes


def test_files_are_checked_and_samples_drawn(config, tmp_path, capsys):
    picture = tmp_path / "samples.png"
    assert main(["data", "check", str(config), "--images", "--out", str(picture)]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'boxes.csv'}: 0 faults that must be mended" in said
    assert "2 images, 4 instances" in said
    assert "1 frequent classes (training images): Car 2" in said
    assert picture.is_file()
    with (tmp_path / "boxes.csv").open("a") as file:
        file.write("aa,/m/cat,0.5,0.5,0,1,0\n")
    assert main(["data", "check", str(config), "--out", str(picture)]) == 1
    assert f"{tmp_path / 'boxes.csv'}: line 6: `XMin, YMin, XMax, YMax`" in capsys.readouterr().out
    overrides = ["data.drop_invalid_boxes=true", "--out", str(picture)]
    assert main(["data", "check", str(config), *overrides]) == 0
