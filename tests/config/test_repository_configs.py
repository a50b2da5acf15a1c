import re
from itertools import product
from pathlib import Path

import pytest
import torch

from dense_lt.balance.counts import ClassCounts
from dense_lt.config.cards import is_card
from dense_lt.config.load import load_config
from dense_lt.models.build import build_detector
from dense_lt.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    path
    for path in (ROOT / "configs").rglob("*.yaml")
    if not {"_base", "sweeps"} & {*path.parts} and not is_card(path)
)


def load(path):
    """The configuration, with every required setting set to a folder that does not exist."""
    try:
        return load_config(path)
    except ConfigError as error:
        keys = re.findall(r"add ([\w.]+)=VALUE", str(error))
    return load_config(path, [f"{key}=somewhere" for key in keys])


BASE = ROOT / "configs" / "_base"
HEADS = ("head_atss", "head_fcos", "head_paa", "head_retinanet")
MODELS = ("improved_baseline_r50", "yolox_ip_s", "yolox_ip_m")


@pytest.fixture
def model_of(tmp_path):
    """Settings of the model from base files, the last of which wins, and overrides."""

    def model_of(*bases, overrides=()):
        path = tmp_path / "run.yaml"
        files = ", ".join(str(BASE / f"{name}.yaml") for name in bases)
        path.write_text(
            f"base: [{files}]\nname: x\nschedule: {{kind: cosine}}\ntrain: {{steps: 9}}"
        )
        return load_config(path, overrides).model.model_dump()

    return model_of


@pytest.mark.parametrize(
    ("first", "last"), [pair for pair in product((*HEADS, *MODELS), MODELS) if pair[0] != pair[1]]
)
def test_a_model_named_last_is_what_it_is_alone(model_of, first, last):
    assert model_of(first, last) == model_of(last)


@pytest.mark.parametrize(("head", "model"), list(product(HEADS, MODELS)))
def test_every_head_goes_on_every_model_as_its_file_says(model_of, head, model):
    shared = model_of(model)["head"]["shared"]
    overrides = [] if shared else ["model.head.level_scales=false"]
    own = model_of(head)
    both = model_of(model, head, overrides=overrides)
    for name in ("assigner", "priors", "box_coder", "box_deviations", "box_loss"):
        assert both[name] == own[name], name


def test_there_are_configurations():
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_every_configuration_loads_and_builds_without_memory(path):
    config = load(path)
    backbone = config.model.backbone.model_copy(update={"weights": None, "pretrained": False})
    model = config.model.model_copy(update={"backbone": backbone})
    with torch.device("meta"):
        detector = build_detector(model, 1203, ClassCounts(tuple(range(1203)), (5,) * 1203))
    assert next(detector.parameters()).is_meta
    assert detector.summary()["classes"] == 1203


def test_no_two_configurations_share_a_run_folder():
    names = [load(path).name for path in CONFIGS]
    assert len(set(names)) == len(names)
