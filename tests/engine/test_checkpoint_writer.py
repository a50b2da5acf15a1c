"""Checkpoints are written beside the training; the best one stays."""

import errno
import json
import os
import threading
from pathlib import Path

import pytest
import torch

from dense_lt.engine import checkpoint_writer
from dense_lt.engine.checkpoint import latest_checkpoint, load_checkpoint
from dense_lt.engine.checkpoint_writer import CheckpointWriter
from dense_lt.engine.run_folder import RunFolder
from dense_lt.utils import tensor_files
from dense_lt.utils.errors import ConfigError, MachineError


@pytest.fixture
def make_writer(tiny_detector, categories, tmp_path):
    def make(**options):
        detector = tiny_detector()
        optimizer = torch.optim.SGD(detector.parameters(), lr=0.1, momentum=0.9)
        return detector, CheckpointWriter(
            RunFolder(tmp_path).checkpoints,
            detector,
            optimizer,
            batch_size=4,
            keep=1,
            categories=categories,
            config={},
            **options,
        )

    return make


def test_what_is_saved_is_the_state_at_the_call(make_writer, monkeypatch, tmp_path):
    detector, writer = make_writer()
    changed, save = threading.Event(), checkpoint_writer.save_checkpoint

    def save_late(*arguments, **options):
        assert changed.wait(10)
        return save(*arguments, **options)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", save_late)
    before = detector.stem.weight.detach().clone()
    writer(3)
    with torch.no_grad():
        detector.stem.weight.add_(1)  # training goes on
    changed.set()
    writer.close()
    stored = load_checkpoint(latest_checkpoint(tmp_path))
    assert torch.equal(stored.model["stem.weight"], before)


def test_a_full_disk_is_told_and_leaves_what_was_there(make_writer, monkeypatch, tmp_path):
    _, writer = make_writer()
    writer(1)
    writer.wait()

    def full(folder, *_, **__):
        (folder / "step_00000002.safetensors.tmp").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", full)
    writer(2)
    with pytest.raises(
        MachineError, match=r"step 2 could not be written.*No space left.*make room"
    ):
        writer(3)
    with pytest.raises(MachineError):
        writer.close()
    names = {path.name for path in RunFolder(tmp_path).checkpoints.iterdir()}
    assert names == {"latest", "step_00000001.pt", "step_00000001.safetensors"}


@pytest.mark.parametrize(
    ("owner", "name"),
    [(tensor_files, "save_file"), (torch, "save"), (os, "fsync"), (Path, "replace")],
)
def test_wherever_the_disk_is_full_the_checkpoint_before_stays(
    make_writer, monkeypatch, tmp_path, owner, name
):
    _, writer = make_writer()
    writer(1)
    writer.wait()
    with monkeypatch.context() as patch:

        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(owner, name, full)
        writer(2)
        with pytest.raises(MachineError, match=r"step 2 could not be written.*No space left"):
            writer.wait()
    assert load_checkpoint(latest_checkpoint(tmp_path)).step == 1
    assert not list(RunFolder(tmp_path).checkpoints.glob("*.tmp"))


def test_the_best_checkpoint_stays(make_writer, tmp_path):
    _, writer = make_writer(best_metric="APr")
    for step, value in [(1, 0.2), (2, 0.5), (3, None), (4, float("nan")), (5, 0.4)]:
        writer(step)
        writer.keep_if_best(step, {"AP": 0.3, "APr": value})
    writer.close()
    folder = RunFolder(tmp_path).checkpoints
    assert load_checkpoint(folder / "best.safetensors").step == 2
    assert json.loads((folder / "best.json").read_text()) == {
        "metric": "APr",
        "value": 0.5,
        "step": 2,
    }
    assert latest_checkpoint(tmp_path).stem == "step_00000005"


def test_the_best_is_remembered_when_a_run_goes_on(make_writer, tmp_path):
    for step, value in [(5, 0.5), (10, 0.4)]:
        _, writer = make_writer(best_metric="APr")
        writer(step)
        writer.keep_if_best(step, {"APr": value})
        writer.close()
    assert load_checkpoint(RunFolder(tmp_path).checkpoints / "best.pt").step == 5


def test_a_step_done_again_replaces_its_own_record(make_writer, tmp_path):
    for value in (0.5, 0.4):  # resumed from before step 5, on another machine perhaps
        _, writer = make_writer(best_metric="APr")
        writer(5)
        writer.keep_if_best(5, {"APr": value})
        writer.close()
    note = RunFolder(tmp_path).checkpoints / "best.json"
    assert json.loads(note.read_text())["value"] == 0.4


def test_an_unknown_metric_names_those_there_are(make_writer):
    _, writer = make_writer(best_metric="mAP")
    writer(1)
    with pytest.raises(ConfigError, match="no 'mAP'; choose one of AP, APr"):
        writer.keep_if_best(1, {"AP": 0.1, "APr": 0.1})
    writer.close()
