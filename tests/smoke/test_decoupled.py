"""Decoupled training from a run: only the classifier changes, and every method gets to results."""

from pathlib import Path

import pytest
import torch
from helpers.drawn_sets import SMALL

from dense_lt.cli.main import main
from dense_lt.engine.checkpoint import latest_checkpoint, load_checkpoint

CONFIGS = Path(__file__).parents[2] / "configs" / "drawn"
CLASSIFIER = {"head.classifier.weight", "head.classifier.bias"}
SCALE = {"head.classifier.scale"}
STARTS = {"two_stage": "two_stage_softmax", "dense": "focal_prior_0.1"}
METHODS = {
    "decoupled_crt_two_stage": CLASSIFIER,
    "decoupled_lws_two_stage": SCALE,
    "decoupled_bags_two_stage_from_eql_v2": CLASSIFIER,
    "decoupled_crt_dense": CLASSIFIER,
    "decoupled_lws_dense": SCALE,
}


def train(folder, variant, *more):
    settings = SMALL | {"folder": folder / "drawn"}
    overrides = [
        f"data.dataset.{key}={list(value) if isinstance(value, tuple) else value}"
        for key, value in settings.items()
    ]
    overrides += [f"name={variant}", f"output={folder}", "train.epochs=null", "train.steps=2"]
    overrides += ["train.batch_size=2", "schedule.warmup=1"]
    overrides += ["evaluation.resamples=0", "evaluation.images=2"]
    assert main(["train", str(CONFIGS / f"{variant}.yaml"), *overrides, *more]) == 0
    return load_checkpoint(latest_checkpoint(folder / variant)).model


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """A folder with a two-stage and a dense run, and their weights."""
    folder = tmp_path_factory.mktemp("decoupled")
    return folder, {kind: train(folder, variant) for kind, variant in STARTS.items()}


@pytest.mark.parametrize("variant", METHODS)
def test_only_what_a_method_trains_differs_from_its_start(starts, variant):
    folder, weights = starts
    kind = "dense" if "dense" in variant else "two_stage"
    trained = train(folder, variant, f"model.init_from={folder / STARTS[kind]}")
    before = {name: own for name, own in weights[kind].items() if "statistics" not in name}
    differs = {
        name
        for name, own in trained.items()
        if "statistics" not in name and not (name in before and torch.equal(own, before[name]))
    }
    assert differs == METHODS[variant]
    assert (folder / variant / "evaluation" / "results.json").is_file()


def test_tau_normalisation_needs_no_training(starts):
    folder, _ = starts
    run, out = folder / STARTS["two_stage"], folder / "normalized"
    assert main(["eval", str(run), "model.head.tau=0.5", "--out", str(out)]) == 0
    assert (out / "results.json").is_file()
