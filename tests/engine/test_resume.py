"""A run goes on only as it began, and only with the classes it began with."""

from dataclasses import replace

import pytest
import torch

from dense_lt.engine.checkpoint import Checkpoint, save_checkpoint
from dense_lt.engine.resume import (
    check_categories,
    check_config,
    find_checkpoint,
    own_random_states,
    restore_optimizer,
)
from dense_lt.engine.run_folder import RunFolder
from dense_lt.utils.errors import ConfigError, DataError
from dense_lt.utils.seeding import random_states

CONFIG = {
    "name": "a",
    "model": {"loss": {"kind": "focal", "gamma": 2.0}, "levels": [3, 4]},
    "train": {"steps": 100, "batch_size": 16, "log_every": 20},
    "evaluation": {"batch_size": 8},
}


@pytest.fixture
def checkpoint(categories):
    return Checkpoint(
        step=40,
        samples_seen=640,
        model={},
        optimizer={},
        random_states=[random_states()],
        categories=categories.to_json(),
        config=CONFIG,
        versions={},
    )


def _changed(section, **values):
    return {**CONFIG, section: {**CONFIG[section], **values}}


def test_the_same_settings_go_on(checkpoint):
    check_config(checkpoint, CONFIG)


@pytest.mark.parametrize(
    "config",
    [
        _changed("train", steps=200, log_every=1),
        _changed("evaluation", batch_size=1),
        {**CONFIG, "name": "b"},
        {**CONFIG, "optimizer": {"fused": True}},
        _changed("train", compile=True, channels_last=False, micro_batches=2),
        _changed("train", activation_checkpointing=True),
        {**CONFIG, "data": {"workers": 3, "prefetch_batches": 4, "cache_annotations": False}},
    ],
)
def test_length_periods_and_what_moves_no_weight_may_change(checkpoint, config):
    check_config(checkpoint, config)


def test_other_settings_are_listed_with_both_values(checkpoint):
    config = _changed("train", batch_size=8)
    config["model"] = {"loss": {"kind": "equalized_focal", "scale": 8.0}, "levels": [3, 5]}
    with pytest.raises(ConfigError) as caught:
        check_config(checkpoint, config)
    assert str(caught.value).splitlines()[1:-1] == [
        "  model.levels: [3, 4] in the checkpoint, [3, 5] now",
        "  model.loss.gamma: 2.0 in the checkpoint, None now",
        "  model.loss.kind: 'focal' in the checkpoint, 'equalized_focal' now",
        "  model.loss.scale: None in the checkpoint, 8.0 now",
        "  train.batch_size: 16 in the checkpoint, 8 now",
    ]


def test_equal_class_tables_pass(checkpoint, categories):
    check_categories(checkpoint, categories)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ("dog", "crane", "newt")}, r"class 1 \(heron\): names is 'heron' .* 'crane'"),
        ({"dataset_ids": (7, 2, 91)}, r"class 2 \(axolotl\): dataset_ids is 90 .* 91 in the data"),
        ({"image_counts": (500, 41, 3)}, r"class 1 \(heron\): image_counts is 40"),
    ],
)
def test_the_first_difference_of_class_tables_is_named(checkpoint, categories, change, message):
    with pytest.raises(DataError, match=message):
        check_categories(checkpoint, replace(categories, **change))


def test_another_number_of_classes_is_named(checkpoint, categories):
    fewer = {field: tuple(values[:2]) for field, values in categories.to_json().items()}
    with pytest.raises(DataError, match="3 classes, but the data have 2"):
        check_categories(checkpoint, type(categories)(**fewer))


def test_resuming_without_a_checkpoint_starts_at_the_beginning_and_says_so(tmp_path, caplog):
    assert find_checkpoint(RunFolder(tmp_path)) is None
    assert "has no checkpoint yet; starting at the beginning" in caplog.text


def test_resuming_finds_the_newest_checkpoint(tmp_path, checkpoint):
    run = RunFolder(tmp_path)
    for step in (20, 40):
        save_checkpoint(run.checkpoints, replace(checkpoint, step=step), keep=5)
    found = find_checkpoint(run)
    assert found is not None
    assert found.step == 40
    assert found.categories == checkpoint.categories


def test_when_all_checkpoints_are_damaged_nothing_is_started(tmp_path):
    run = RunFolder(tmp_path)
    run.checkpoints.mkdir()
    for part in ("pt", "safetensors"):
        (run.checkpoints / f"step_00000001.{part}").write_bytes(b"torn")
    with pytest.raises(DataError, match="no checkpoint that can be read"):
        find_checkpoint(run)


def test_a_run_whose_checkpoints_are_gone_is_not_begun_again(tmp_path):
    run = RunFolder(tmp_path)
    lost = pytest.raises(ConfigError, match=r"but its checkpoints are\s+gone.*--overwrite")
    run.config.write_text("train: {checkpoint_every: 10}")
    run.metrics.write_text('{"kind": "train", "step": 20}\n')
    assert find_checkpoint(run) is None  # the first one may not have been whole yet
    run.metrics.write_text('{"kind": "train", "step": 21}\n')
    with lost:
        find_checkpoint(run)
    run.metrics.write_text('{"kind": "evaluation", "step": 5}\n')
    with lost:
        find_checkpoint(run)
    run.metrics.unlink()
    assert find_checkpoint(run) is None
    run.checkpoints.mkdir()
    (run.checkpoints / "latest").write_text("step_00000010.safetensors")
    with lost:
        find_checkpoint(run)


def test_the_update_of_a_resumed_run_is_fused_as_it_says_now():
    def build(*, fused):
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.AdamW([weight], lr=0.1, fused=fused)
        weight.grad = torch.full((3,), 0.5)
        return weight, optimizer

    for before, now in ((None, True), (True, None)):
        _, stored = build(fused=before)
        stored.step()
        weight, optimizer = build(fused=now)
        restore_optimizer(optimizer, stored.state_dict())
        optimizer.step()
        assert optimizer.param_groups[0]["fused"] is now
        assert optimizer.state[weight]["step"] == 2


def test_random_states_are_left_out_when_the_number_of_processes_changed(checkpoint, caplog):
    assert own_random_states(checkpoint) is checkpoint.random_states[0]
    twice = replace(checkpoint, random_states=checkpoint.random_states * 2)
    assert own_random_states(twice) is None
    assert "had 2 processes, now it has 1" in caplog.text
