"""Whatever befalls a run: one message with the mend, and the run goes on as if nothing had been.

Bit for bit on a CPU: weights, their average, optimizer, gradient statistics, random states.
"""

import json
import os
import random
import signal
import subprocess
import sys

import pytest
import torch
from helpers import sabotage
from helpers.forked import run_forked

from dense_lt.engine.checkpoint import latest_checkpoint, load_checkpoint

CONFIG = """
name: small
threads: 1
data:
  dataset: {kind: drawn, image_size: 64, train_images: 12, val_images: 4,
            frequent: 1, common: 1, rare: 1, frequent_images: [8, 8], common_images: [6, 6],
            rare_images: [2, 2], val_images_per_class: 2, negatives_per_image: 1}
  train_transforms: {resize: {kind: short_side, short: [32], long: 32}}
  val_transforms: {resize: {kind: short_side, short: [32], long: 32}}
  sampler: {kind: repeat_factor, threshold: 0.5}
  workers: 0
  pad_to_multiple_of: 16
model:
  backbone:
    name: resnet18
    norm: group
    options: {channels: [8, 8, 16, 16], layers: [1, 1, 1, 1]}
  pyramid: {levels: [3, 4], backbone_levels: [3, 4], channels: 16}
  priors: {sizes: [11, 18]}
  head: {channels: 16, num_convs: 1, norm_groups: 4, prior_probability: 0.1}
  loss: {kind: equalized_focal}
  inference: {pre_nms_top_k: 50, max_detections: 20}
schedule: {kind: cosine, warmup: 4}
train: {steps: 40, batch_size: 2, log_every: 4, checkpoint_every: 2,
        ema: {decay: 0.9, warmup: 5}}
evaluation: {batch_size: 4, max_detections: [20], resamples: 0}
"""
SHORT = "train.steps=12"
KILLS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    (folder / "config.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def command(folder):
    """The arguments of a run with this name and these settings."""

    def make(name, *more):
        settings = f"name={name}", f"output={folder}", f"data.dataset.folder={folder / 'drawn'}"
        return ["train", str(folder / "config.yaml"), *settings, *more]

    return make


@pytest.fixture(scope="module")
def calls(folder, command):
    """Of Python functions in an uninterrupted run, called `long`: before its first step, in all."""
    ended = run_forked(command("long"), sabotage.count_calls, folder / "calls")
    assert ended.status == 0, ended.text
    before, total = map(int, (folder / "calls").read_text().split())
    return before, total


@pytest.fixture(scope="module")
def whole(folder, command):
    """An uninterrupted run of twelve steps."""
    ended = run_forked(command("whole", SHORT))
    assert ended.status == 0, ended.text


def assert_same(folder, name, other="whole"):
    found, expected = (
        vars(load_checkpoint(latest_checkpoint(folder / own))) for own in (name, other)
    )
    for key in ("step", "samples_seen", "model", "trained", "optimizer", "random_states"):
        assert _same(found[key], expected[key]), key


def _same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    return first == second


def errors_of(ended):
    assert "Traceback" not in ended.text, ended.text
    return [line for line in ended.text.splitlines() if line.startswith("error: ")]


def test_a_run_killed_twenty_times_ends_as_if_it_had_never_been(folder, command, calls):
    """Two in three anywhere, the others while a checkpoint is written, the very first one too."""
    before, total = calls
    chance = random.Random(8)
    per_step = (total - before) // 40
    arguments = command("killed", "--resume")
    torn = 0
    for attempt in range(KILLS):
        if attempt % 3:
            moment = chance.randrange(before // 4, before + 4 * per_step)
            ended = run_forked(arguments, sabotage.kill_at_call, moment)
        else:
            moment = chance.randrange(1, 7) if attempt == 0 else chance.randrange(1, 15)
            ended = run_forked(arguments, sabotage.kill_while_writing, moment)
            torn += any((folder / "killed" / "checkpoints").glob("*.tmp"))
        assert ended.status == -signal.SIGKILL, f"attempt {attempt}: {ended.text}"
    assert torn >= 3
    assert run_forked(arguments).status == 0
    assert_same(folder, "killed", "long")
    assert not list((folder / "killed" / "checkpoints").glob("*.tmp"))


def test_a_full_disk_stops_with_the_mend_and_the_run_goes_on_later(folder, command, whole):
    arguments = command("disk", SHORT)
    ended = run_forked(arguments, sabotage.fill_disk)
    assert ended.status == 4
    (message,) = errors_of(ended)
    assert "the checkpoint of step 4 could not be written" in message
    assert "No space left" in message
    assert "make room" in message
    assert load_checkpoint(latest_checkpoint(folder / "disk")).step == 2
    assert not list((folder / "disk" / "checkpoints").glob("*.tmp"))
    assert run_forked([*arguments, "--resume"]).status == 0
    assert_same(folder, "disk")


def test_a_killed_loader_is_told_and_nothing_is_lost(folder, command, whole):
    arguments = command("loader", SHORT, "data.workers=1", "train.checkpoint_every=100")
    ended = run_forked(arguments, sabotage.kill_loader, 9)
    assert ended.status == 4
    (message,) = errors_of(ended)
    assert "was ended by SIGKILL, as a system does when memory runs out" in message
    assert "lower data.workers, data.prefetch_batches or data.cache_images_mb" in message
    # the batches it had made in advance may be lost with it
    assert 6 <= load_checkpoint(latest_checkpoint(folder / "loader")).step <= 8
    assert run_forked([*arguments, "--resume"]).status == 0
    assert_same(folder, "loader")


@pytest.mark.parametrize("bad_images", ["error", "skip"])
def test_images_that_vanish_are_told_and_nothing_is_lost(folder, command, whole, bad_images):
    images = folder / "drawn" / "train"
    name = f"vanished_{bad_images}"
    settings = SHORT, "train.checkpoint_every=100", f"data.on_bad_image={bad_images}"
    ended = run_forked(command(name, *settings), sabotage.move_away, images, 7)
    images.with_name("train_elsewhere").rename(images)
    assert ended.status == 4
    (message,) = errors_of(ended)
    assert f"{images}: this folder of images was there, and is not any more" in message
    assert "Mount or restore it and go on with --resume" in message
    assert "skipped" not in ended.text
    assert load_checkpoint(latest_checkpoint(folder / name)).step == 7
    assert run_forked(command(name, *settings, "--resume")).status == 0
    assert_same(folder, name)


def test_a_step_without_memory_is_told_and_goes_on_in_pieces(folder, command, whole):
    ended = run_forked(command("memory", SHORT), sabotage.allocate_too_much, 6)
    assert ended.status == 4
    (message,) = errors_of(ended)
    assert message.startswith("error: step 6: memory ran out (")
    assert "can't allocate memory" in message
    for mend in ("train.micro_batches", "train.precision=bf16", "images", "--resume"):
        assert mend in message
    assert load_checkpoint(latest_checkpoint(folder / "memory")).step == 4
    pieces = command("memory", "train.micro_batches=2", "train.steps=6", "--resume")
    assert run_forked(pieces).status == 0
    assert run_forked(command("memory", SHORT, "--resume")).status == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_evaluation_at_once(folder, command, whole, number):
    """Nothing is learnt in it, and a checkpoint goes before it."""
    name = f"evaluation_{number.name}"
    arguments = command(name, SHORT, "train.evaluate_every=6", "train.checkpoint_every=100")
    ended = run_forked(arguments, sabotage.stop_in_evaluation, number)
    assert ended.status == 128 + number
    assert f"stopped by {number.name}; the same command with --resume goes on" in ended.text
    assert "Traceback" not in ended.text
    assert load_checkpoint(latest_checkpoint(folder / name)).step == 6
    assert run_forked([*arguments, "--resume"]).status == 0
    assert_same(folder, name)


def test_a_step_with_a_bad_loss_is_replayed_by_the_command_that_is_named(folder, command, whole):
    ended = run_forked(command("wild", SHORT, "optimizer.lr=1e30", "schedule.warmup=0"))
    assert ended.status == 3
    (message,) = errors_of(ended)
    file = next((folder / "wild" / "failures").glob("*.pt"))
    assert f"The batch is in {file}; `dense-lt replay {file}` shows where" in message
    again = run_forked(["replay", str(file)])
    assert again.status == 0, again.text
    assert f"with the weights of {file.with_suffix('.safetensors')}" in again.text
    assert "forward: " in again.text
    assert ", the first of " in again.text
    good = latest_checkpoint(folder / "whole")
    healed = run_forked(["replay", str(file), "--checkpoint", str(good)])
    assert healed.status == 1
    assert "The step is finite now" in healed.text
    assert "forward: all " in healed.text
    elsewhere = folder / "elsewhere" / "copied"
    elsewhere.mkdir(parents=True)
    for own in (file, file.with_suffix(".safetensors")):
        (elsewhere / own.name).write_bytes(own.read_bytes())
    lost = run_forked(["replay", str(elsewhere / file.name)])
    assert lost.status == 2
    assert "does not lie in RUN/failures" in errors_of(lost)[0]
    run = ["--run", str(folder / "wild")]
    assert run_forked(["replay", str(elsewhere / file.name), *run]).status == 0


def test_what_cannot_be_replayed_is_told(folder, command, whole):
    wrong = run_forked(["replay", str(folder / "config.yaml")])
    assert wrong.status == 2
    assert "config.yaml: this is no batch of a failed step" in errors_of(wrong)[0]
    checkpoint = latest_checkpoint(folder / "whole").with_suffix(".pt")
    wrong = run_forked(["replay", str(checkpoint)])
    assert wrong.status == 2
    assert f"{checkpoint}: this is no batch of a failed step (it is a chec" in errors_of(wrong)[0]


KILLED_ONCE = """
import os, signal, sys
from dense_lt.cli.main import main
from dense_lt.engine.step import TrainingStep

def step_or_die(self, batch, number, step=TrainingStep.__call__):
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if first and number == 7 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, number)

TrainingStep.__call__ = step_or_die
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_torchrun_starts_a_run_again_that_lost_a_process(folder, command, whole):
    """From the last checkpoint, though the command does not say --resume but --overwrite."""
    (folder / "killed_once.py").write_text(KILLED_ONCE)
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    script = [str(folder / "killed_once.py"), *command("elastic", SHORT, "--overwrite")]
    completed = subprocess.run(
        [sys.executable, *launcher, *script],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stderr.count("error: another process of this run has ended") == 1
    environment = json.loads((folder / "elastic" / "environment.json").read_text())
    assert [entry["step"] for entry in environment["resumed"]] == [6]
    one, two = (load_checkpoint(latest_checkpoint(folder / own)) for own in ("whole", "elastic"))
    assert two.step == 12
    for name, tensor in one.model.items():
        torch.testing.assert_close(two.model[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, with room for one checkpoint and half of another."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(tmp_path)], check=False
    )
    if os.geteuid() or mounted.returncode:
        pytest.skip("only root may mount a small file system")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_disk_that_is_really_full(command, whole, small_disk):
    ended = run_forked(command("full", f"output={small_disk}"))
    assert ended.status == 4
    (message,) = errors_of(ended)
    assert "No space left on device" in message
    assert load_checkpoint(latest_checkpoint(small_disk / "full")).step == 2
    assert not list((small_disk / "full" / "checkpoints").glob("*.tmp"))
