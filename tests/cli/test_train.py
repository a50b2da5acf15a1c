"""The train command from configuration to results, on the real detector and drawn images."""

import copy
import json
import logging
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from dense_lt.cli.main import main
from dense_lt.config.load import load_config, with_defaults
from dense_lt.engine.checkpoint import latest_checkpoint, load_checkpoint

CONFIG = """
name: small
threads: 1
data:
  dataset: {kind: drawn, image_size: 64, train_images: 24, val_images: 10,
            frequent: 2, common: 1, rare: 1, frequent_images: [16, 12], common_images: [10, 10],
            rare_images: [3, 3], val_images_per_class: 4, negatives_per_image: 1}
  train_transforms: {resize: null, horizontal_flip: 0.5}
  val_transforms: {resize: null}
  sampler: {kind: repeat_factor, threshold: 0.5}
  workers: 0
  pad_to_multiple_of: 16
model:
  backbone:
    name: resnet18
    norm: group
    options: {channels: [8, 8, 16, 16], layers: [1, 1, 1, 1]}
  pyramid: {levels: [3, 4], backbone_levels: [3, 4], channels: 16}
  priors: {sizes: [22, 36]}
  head: {channels: 16, num_convs: 1, norm_groups: 4, prior_probability: 0.1}
  loss: {kind: equalized_focal}
  inference: {pre_nms_top_k: 100, max_detections: 50}
schedule: {kind: cosine, warmup: 4}
train: {steps: 12, batch_size: 4, log_every: 4, checkpoint_every: 4, evaluate_every: 8}
evaluation: {batch_size: 5, max_detections: [50, 10]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds the configuration, the drawn images, and the runs."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "config.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def command(folder):
    """The arguments of a run with this name and these settings."""

    def make(name, *more):
        settings = f"name={name}", f"output={folder}", f"data.dataset.folder={folder / 'drawn'}"
        return ["train", str(folder / "config.yaml"), *settings, *more]

    yield make
    torch.use_deterministic_algorithms(mode=False)
    logging.captureWarnings(capture=False)
    for handler in [own for own in logging.getLogger().handlers if own.get_name() == "dense_lt"]:
        logging.getLogger().removeHandler(handler)
        handler.close()


@pytest.fixture(scope="module")
def whole(folder, command):
    """A finished, uninterrupted run."""
    assert main(command("whole")) == 0
    return folder / "whole"


def _records(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _assert_same_weights(run, other):
    first, second = (load_checkpoint(latest_checkpoint(own)) for own in (run, other))
    assert first.step == second.step
    for name, tensor in first.model.items():
        assert torch.equal(second.model[name], tensor), name


def test_a_run_folder_holds_everything(whole):
    found = {path.name for path in whole.iterdir()}
    assert found == {
        *("config.yaml", "environment.json", "categories.json", "metrics.jsonl", "log.txt"),
        *("statistics.json", "tensorboard", "checkpoints", "evaluation"),
    }
    environment = json.loads((whole / "environment.json").read_text())
    keys = {"command", "git_commit", "versions", "device", "threads", "started", "processes"}
    assert environment.keys() == {*keys, "training_data"}
    assert {"results.json", "predictions.json", "per_class.csv"} <= {
        path.name for path in (whole / "evaluation").iterdir()
    }
    assert json.loads((whole / "evaluation" / "results.json").read_text())["step"] == 12


def test_metrics_hold_training_and_evaluation_with_their_keys(whole):
    records = _records(whole)
    steps = [(record["kind"], record["step"]) for record in records]
    assert steps == [
        *(("train", 1), ("train", 4), ("train", 8), ("evaluation", 8)),
        *(("train", 12), ("evaluation", 12)),
    ]
    assert {"loss", "loss/classification", "loss/box", "loss/quality", "eta"} <= records[0].keys()
    assert {"AP", "APr", "gradient_ratio/rare", "gradient_ratio/frequent"} <= records[-1].keys()
    results = json.loads((whole / "evaluation" / "results.json").read_text())
    assert records[-1]["AP"] == results["metrics"]["AP"]


def test_the_log_says_what_is_trained_and_the_time_left(whole):
    log = (whole / "log.txt").read_text()
    for part in (
        "24 images",
        "4: 2 rare, 2 common, 0 frequent",
        "repeat factor 1",
        "classification: equalized_focal, weight 1.0, federated no",
        "alpha 0.25, gamma 2.0, scale 8.0",
        "lr         0.02 for 16 images, so 0.005 for 4",
        "12 steps of 4 images",
        "left 0:00:",
        "evaluation at step 12: AP",
    ):
        assert part in log


def test_evaluating_the_run_again_gives_the_same_numbers(whole, tmp_path):
    assert main(["eval", str(whole), "--out", str(tmp_path)]) == 0
    first, second = (
        json.loads((folder / "results.json").read_text())
        for folder in (whole / "evaluation", tmp_path)
    )
    assert second["metrics"] == first["metrics"]
    assert second["step"] == first["step"] == 12


def test_statistics_have_a_snapshot_per_evaluation(whole):
    snapshots = json.loads((whole / "statistics.json").read_text())["snapshots"]
    assert [snapshot["step"] for snapshot in snapshots] == [8, 12]
    ((name, sums),) = snapshots[-1]["statistics"].items()
    assert name == "loss.classification.statistics"
    assert [len(sums[key]) for key in ("positive", "negative", "ratio")] == [4, 4, 4]


def test_the_saved_configuration_runs_again_to_the_same_weights(whole, folder):
    config = whole / "config.yaml"
    assert load_config(config) == load_config(config, ["name=whole"])
    assert main(["train", str(config), "name=again"]) == 0
    _assert_same_weights(whole, folder / "again")


def test_loader_processes_do_not_change_the_result(whole, folder, command):
    assert main(command("workers", "data.workers=1", "train.evaluate_every=null")) == 0
    _assert_same_weights(whole, folder / "workers")


def test_a_second_run_in_the_same_folder_is_refused(whole, command, capsys):
    before = (whole / "metrics.jsonl").read_text()
    assert main(command("whole")) == 2
    assert "Add --resume to continue it, --overwrite to delete it" in capsys.readouterr().err
    assert (whole / "metrics.jsonl").read_text() == before


def test_resuming_with_other_settings_is_refused(whole, command, capsys):
    assert main(command("whole", "--resume", "optimizer.lr=0.1", "model.loss.scale=2")) == 2
    message = capsys.readouterr().err
    assert "model.loss.scale: 8.0 in the checkpoint, 2.0 now" in message
    assert "optimizer.lr: 0.02 in the checkpoint, 0.1 now" in message


def test_settings_that_a_run_did_not_know_yet_have_their_defaults(whole):
    checkpoint = load_checkpoint(latest_checkpoint(whole))
    older = copy.deepcopy(checkpoint.config)
    del older["train"]["precision"], older["model"]["loss"]["statistics"]
    assert with_defaults(older) == checkpoint.config
    unknown = {**checkpoint.config, "colour": "red"}
    assert with_defaults(unknown) == unknown


def test_resuming_to_a_shorter_length_is_refused(whole, command, capsys):
    assert main(command("whole", "--resume", "train.steps=8")) == 2
    assert "12 steps behind it, but its length is now 8" in capsys.readouterr().err


STOPPED_AT_STEP_8 = """
import os, sys
from dense_lt.cli.main import main
from dense_lt.engine.checkpoint_writer import CheckpointWriter

def save_or_stop(writer, step, save=CheckpointWriter.__call__):
    if step == 8:
        if writer._writing is not None:
            writer.wait()  # for the checkpoint before, which a thread writes
        os.system(f"kill -{sys.argv[1]} 0")  # the whole group, as a terminal does
    save(writer, step)

CheckpointWriter.__call__ = save_or_stop
sys.exit(main(sys.argv[2:]))
"""
"""The command; a signal comes to it and its loader after the log line of step 8, unsaved yet."""


@pytest.mark.parametrize(
    ("number", "status", "reached"),
    [(signal.SIGKILL, -signal.SIGKILL, 6), (signal.SIGTERM, 143, 8)],
)
def test_a_run_that_was_stopped_goes_on_to_the_same_result(
    whole, folder, command, number, status, reached
):
    """Bit for bit, and without a line twice."""
    name = f"stopped_by_{number.name}"
    arguments = command(name, "train.checkpoint_every=6", "data.workers=1")
    stopped = subprocess.run(
        [sys.executable, "-c", STOPPED_AT_STEP_8, str(int(number)), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert stopped.returncode == status, stopped.stderr
    told = "stopped by SIGTERM; the same command with --resume goes on" in stopped.stderr
    assert told == (number == signal.SIGTERM)
    assert load_checkpoint(latest_checkpoint(folder / name)).step == reached
    assert _records(folder / name)[-1]["step"] == 8
    assert main([*arguments, "--resume"]) == 0
    _assert_same_weights(whole, folder / name)
    records, expected = _records(folder / name), _records(whole)
    assert [(r["kind"], r["step"]) for r in records] == [(r["kind"], r["step"]) for r in expected]
    assert records[-1]["AP"] == expected[-1]["AP"]
    environment = json.loads((folder / name / "environment.json").read_text())
    assert [entry["step"] for entry in environment["resumed"]] == [reached]


def test_resuming_before_the_first_checkpoint_starts_at_the_beginning(
    whole, folder, command, capsys
):
    (folder / "early").mkdir()
    (folder / "early" / "config.yaml").write_text("name: early")
    assert main(command("early", "--resume")) == 0
    assert "has no checkpoint yet; starting at the beginning" in capsys.readouterr().err
    _assert_same_weights(whole, folder / "early")


def test_dry_run_shows_everything_and_writes_nothing(folder, command, capsys):
    assert main(command("dry", "--dry-run")) == 0
    shown = capsys.readouterr().out
    for part in (
        "name: dry",
        "24 images",
        "2 rare, 2 common, 0 frequent",
        "repeat factor",
        "trainable parameters",
        "backbone channels [8, 16]",
        "backbone strides [8, 16]",
        "frozen stages 0",
        "classification: equalized_focal",
        "alpha 0.25, gamma 2.0, scale 8.0",
        "so 0.005 for 4",
        "cosine: linear warm-up from 0.001 over 4 steps",
        "4 x 3 x 64 x 64",
        "forward and backward: classification",
    ):
        assert part in shown, part
    assert not (folder / "dry").exists()


def test_dry_run_of_a_resumption_checks_it_and_names_the_step(whole, command, capsys):
    before = sorted((path, path.stat().st_mtime_ns) for path in whole.rglob("*"))
    longer = command("whole", "--resume", "--dry-run", "train.steps=20", "optimizer.fused=true")
    assert main(longer) == 0
    assert "whole is at step 12; it would go on with step 13 of 20" in capsys.readouterr().out
    assert main(command("whole", "--resume", "--dry-run", "optimizer.lr=0.1")) == 2
    assert "optimizer.lr: 0.02 in the checkpoint, 0.1 now" in capsys.readouterr().err
    assert sorted((path, path.stat().st_mtime_ns) for path in whole.rglob("*")) == before


def test_other_ways_to_the_same_weights_may_be_taken_on_resuming(whole, folder, command):
    shutil.copytree(whole, folder / "faster")
    other = ("optimizer.fused=true", "train.activation_checkpointing=true")
    arguments = command("faster", "train.steps=13", "train.channels_last=false", *other)
    assert main([*arguments, "--resume"]) == 0
    stored = load_checkpoint(latest_checkpoint(folder / "faster"))
    assert stored.step == 13
    assert stored.optimizer["param_groups"][0]["fused"] is True


def test_dry_run_says_that_a_run_ends_within_its_warmup(command, capsys):
    assert main(command("short", "--dry-run", "train.steps=6", "schedule.warmup=200")) == 0
    said = capsys.readouterr()
    assert "schedule.warmup: 200 steps, but the run has only 6, so the full" in said.err
    assert "over 200 steps, then 0.01 at once; the last step at 0.026 of the rate" in said.out


def test_settings_that_do_not_work_out_are_told_once_at_the_start(command, capsys):
    doubtful = "train.keep_best=AP", "train.steps=6", "model.backbone.frozen_stages=2"
    assert main(command("doubtful", "--dry-run", *doubtful)) == 0
    said = capsys.readouterr()
    assert said.err.count("model.backbone.frozen_stages: 2: kept as made by chance") == 1
    assert said.err.count("train.keep_best: AP is measured at the end only") == 1
    assert "backbone from random weights" in said.out


@pytest.mark.parametrize(
    ("metric", "more", "fault"),
    [
        ("APq", ["--dry-run"], "the evaluation gives no 'APq'; choose one of AP, AP50"),
        ("APf", [], "APf is n/a with these validation data (0 of 0 frequent classes"),
    ],
)
def test_a_best_metric_that_will_not_be_there_is_refused_before_training(
    folder, command, capsys, metric, more, fault
):
    assert main(command("best", f"train.keep_best={metric}", *more)) == 2
    message = capsys.readouterr().err
    assert f"train.keep_best: {fault}" in message
    assert "APr" in message.split("choose one of")[1]
    assert not (folder / "best").exists()


def test_a_tracker_that_cannot_start_leaves_the_folder_free(folder, command, capsys, monkeypatch):
    def unreachable(*_, **__):
        raise ValueError("no key")

    monkeypatch.setattr("dense_lt.engine.build.TensorBoardWriter", unreachable)
    assert main(command("tracked", "trackers=tensorboard")) == 2
    assert "tensorboard could not be started (ValueError: no key)" in capsys.readouterr().err
    assert not (folder / "tracked").exists()


def test_a_loss_that_is_not_finite_ends_the_run_with_status_3(folder, command, capsys):
    assert main(command("wild", "optimizer.lr=1e30", "schedule.warmup=0")) == 3
    message = capsys.readouterr().err
    assert "the loss or its gradient is not finite" in message
    assert "Lower optimizer.lr" in message
    (batch,) = (folder / "wild" / "failures").glob("*.pt")
    assert torch.load(batch, weights_only=True)["pixels"].shape == (4, 3, 64, 64)
    assert not (folder / "wild" / "checkpoints").exists()


def test_overwrite_starts_again(folder, command):
    assert main(command("wild", "--overwrite", "train.steps=1", "train.evaluate_every=null")) == 0
    assert not (folder / "wild" / "failures").exists()
    assert load_checkpoint(latest_checkpoint(folder / "wild")).step == 1


@pytest.mark.slow
def test_torchrun_with_two_processes_equals_one(whole, folder, command):
    """Weights to rounding, because sums are added in another order; only one process writes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    completed = subprocess.run(
        [sys.executable, *launcher, "-m", "dense_lt.cli.main", *command("two")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    one, two = (load_checkpoint(latest_checkpoint(run)) for run in (whole, folder / "two"))
    assert len(two.random_states) == 2
    for name, tensor in one.model.items():
        torch.testing.assert_close(two.model[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    kinds = [(record["kind"], record["step"]) for record in _records(folder / "two")]
    assert kinds == [(record["kind"], record["step"]) for record in _records(whole)]
