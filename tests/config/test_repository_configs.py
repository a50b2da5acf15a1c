import re
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
