"""A two-stage run with masks from configuration to results, and once more from its middle."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.drawn_sets import SMALL

from dense_lt.cli.main import main
from dense_lt.engine.checkpoint import latest_checkpoint, load_checkpoint

CONFIG = Path(__file__).parents[2] / "configs" / "drawn" / "two_stage_mask_eql_v2.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("two_stage")


def train(folder, name, *more):
    settings = SMALL | {"folder": folder / "drawn"}
    overrides = [
        f"data.dataset.{key}={list(value) if isinstance(value, tuple) else value}"
        for key, value in settings.items()
    ]
    overrides += [f"name={name}", f"output={folder}", "train.epochs=null", "train.steps=6"]
    overrides += ["train.batch_size=4", "train.checkpoint_every=3", "schedule.warmup=2"]
    overrides += ["evaluation.resamples=0"]
    return main(["train", str(CONFIG), *overrides, *more])


def test_a_run_scores_boxes_and_masks_and_goes_on_bit_for_bit_from_its_middle(folder):
    assert train(folder, "whole") == 0
    evaluation = folder / "whole" / "evaluation"
    types = [
        json.loads((evaluation / name).read_text())["iou_type"]
        for name in ("results.json", "results_segm.json")
    ]
    assert types == ["bbox", "segm"]
    (snapshot, *_) = json.loads((folder / "whole" / "statistics.json").read_text())["snapshots"]
    assert list(snapshot["statistics"]) == ["loss.classification.statistics"]
    shutil.copytree(folder / "whole", folder / "half")
    last = latest_checkpoint(folder / "half")
    for path in last.parent.glob(f"{last.stem}*"):
        path.unlink()
    assert train(folder, "half", "--resume") == 0
    whole, half = (load_checkpoint(latest_checkpoint(folder / name)) for name in ("whole", "half"))
    assert whole.step == half.step == 6
    assert whole.model.keys() == half.model.keys()
    for name, tensor in whole.model.items():
        assert torch.equal(tensor, half.model[name]), name
