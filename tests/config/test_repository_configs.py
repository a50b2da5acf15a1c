from pathlib import Path

import pytest
import torch

from dense_lt.config.load import load_config
from dense_lt.config.yaml_files import Required, read_mapping
from dense_lt.models.build import build_detector

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(p for p in (ROOT / "configs").rglob("*.yaml") if "_base" not in p.parts)


def required_keys(value, prefix=""):
    if isinstance(value, Required):
        return [prefix]
    if not isinstance(value, dict):
        return []
    return [k for key, v in value.items() for k in required_keys(v, f"{prefix}.{key}".strip("."))]


def load(path):
    content = read_mapping(path)
    bases = content.get("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    keys = required_keys(content)
    for base in bases:
        keys += required_keys(read_mapping(path.parent / base))
    return load_config(path, [f"{key}=somewhere" for key in keys])


def test_there_are_configurations():
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_every_configuration_loads_and_builds_without_memory(path):
    config = load(path)
    backbone = config.model.backbone.model_copy(update={"weights": None, "pretrained": False})
    model = config.model.model_copy(update={"backbone": backbone})
    with torch.device("meta"):
        detector = build_detector(model, num_classes=1203)
    assert next(detector.parameters()).is_meta
    assert detector.summary()["classes"] == 1203


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_a_run_is_named_so_that_no_two_configurations_share_a_folder(path):
    names = [load(p).name for p in CONFIGS]
    assert names.count(load(path).name) == 1
