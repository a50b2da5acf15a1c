"""What is refused before a run starts, and what its samples bring along."""

from pathlib import Path

import pytest
import torch
from helpers.annotation_files import coco_content, lvis_content, write_set

from dense_lt.cli.training_parts import build_parts
from dense_lt.config.load import load_config
from dense_lt.utils.errors import ConfigError, DataError

CONFIGS = Path(__file__).parents[2] / "configs"


def federated_run(folder, content):
    for split in ("train", "val"):
        write_set(folder, content, split)
    own_data = CONFIGS / "own_data.yaml"
    overrides = [f"data.dataset.root={folder}", "model.loss.federated=true"]
    return load_config(own_data, [*overrides, "data.workers=0"])


def test_federated_training_needs_to_know_what_was_checked(tmp_path):
    config = federated_run(tmp_path, coco_content())
    with pytest.raises(ConfigError, match=r"loss\.federated: true, but .*train.json does not say"):
        build_parts(config, torch.device("cpu"))


def test_samples_say_which_classes_were_checked(tmp_path):
    """-3 is a negative of every image, 7 (label 1) is in image b, but not every one of it."""
    parts = build_parts(federated_run(tmp_path, lvis_content()), torch.device("cpu"))
    assert parts.data.train is not None
    checked = [parts.data.train[index]["target"]["checked"].tolist() for index in range(3)]
    assert checked == [[True, True, True], [True, False, False], [True, False, False]]
    assert parts.detector.loss.classification.federated


@pytest.mark.parametrize(("with_outline", "told"), [(0, None), (1, 1), (2, 0)])
def test_masks_need_outlines_to_learn_from(tmp_path, caplog, with_outline, told):
    content = coco_content()
    objects = content["annotations"]
    for number, entry in enumerate(objects):
        entry.pop("segmentation", None)
        if number < with_outline or with_outline == 2:
            x, y, w, h = entry["bbox"]
            entry["segmentation"] = [[x, y, x + w, y, x + w, y + h]]
    config = federated_run(tmp_path, content)
    small = load_config(CONFIGS / "drawn" / "two_stage_mask_softmax.yaml").model
    config = config.model_copy(update={"model": small})
    if not with_outline:
        with pytest.raises(
            DataError, match=r"train\.json: no object has a `segmentation`.*mask: null"
        ):
            build_parts(config, torch.device("cpu"))
        return
    build_parts(config, torch.device("cpu"))
    warned = [own for own in caplog.messages if "have no `segmentation`" in own]
    missing = 0 if not told else len(objects) - 1
    assert warned == ([] if not told else [own for own in warned if f": {missing} of" in own])
    assert bool(warned) == bool(told)
