"""Small detectors of every dense head, their scores and boxes spread as if they were trained."""

from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import torch
import yaml
from torch import nn

from dense_lt.config.load import load_config, save_config
from dense_lt.config.model import OneStageConfig
from dense_lt.data.categories import CategoryTable
from dense_lt.engine.checkpoint import Checkpoint, save_checkpoint
from dense_lt.models.build import build_detector
from dense_lt.models.one_stage import OneStageDetector

BASES = Path(__file__).parents[2] / "configs" / "_base"
HEADS = ("improved", "retinanet", "fcos", "atss", "paa", "yolox_ip")
SCALES = {"improved": [2, 3], "retinanet": [2, 3], "fcos": [1], "atss": [3], "paa": [3]}
"""Anchors in strides; published ones, of 4 to 8, are larger than the images here."""

AnyDetector = TypeVar("AnyDetector", bound=nn.Module)

LIMITS = {"pre_nms_top_k": 60, "max_detections": 40, "score_threshold": 0.02}
CLASSES = CategoryTable(
    names=("cup", "fork", "lid", "tray"),
    dataset_ids=(7, 2, 30, 4),
    image_counts=(900, 40, 3, 1),
    instance_counts=(1500, 41, 5, 1),
    groups=("frequent", "common", "rare", "rare"),
)


def model_settings(head: str, **changed: object) -> dict:
    """The `model` section; `changed` replaces keys of it."""
    name = "yolox_ip_s" if head == "yolox_ip" else f"head_{head}"
    path = BASES / f"{name}.yaml"
    settings = yaml.safe_load(path.read_text())["model"] if path.is_file() else {}
    # boxes of all sizes would differ by more pixels, as torch's own start of YOLOX-IP makes them
    own = {"channels": 8, "num_convs": 1, "norm_groups": 2, "initialization": "normal"}
    start = {"prior_probability": 0.1, "quality_prior_probability": 0.5}
    settings["head"] = {**settings.get("head", {}), **own, **start}
    settings["inference"] = {**settings.get("inference", {}), **LIMITS}
    if head == "yolox_ip":
        settings["backbone"] = {**settings["backbone"], "options": {"width": 0.125}}
        settings["pyramid"] = {**settings["pyramid"], "levels": [3, 4]}
    else:
        settings["priors"] = {**settings.get("priors", {}), "scales": SCALES[head]}
        settings["backbone"] = {"name": "test_resnet"}
        settings["pyramid"] = {"levels": [3, 4], "backbone_levels": [3, 4], "channels": 8}
    return {"kind": "one_stage", **settings, **changed}


def spread(detector: AnyDetector) -> AnyDetector:
    """`detector` in evaluation mode, its head's weights moved at random."""
    generator = torch.Generator().manual_seed(1)
    for parameter in detector.get_submodule("head").parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return detector.eval()


def small_detector(
    head: str, *, plain_maps: bool = False, limits: dict | None = None, **changed: object
) -> OneStageDetector:
    """A detector of four classes; with `plain_maps` all of it but its backbone and pyramid."""
    torch.manual_seed(0)
    settings = model_settings(head, **changed)
    settings["inference"] |= limits or {}
    config = OneStageConfig.model_validate(settings)
    detector = build_detector(config, len(CLASSES))
    assert isinstance(detector, OneStageDetector)
    if plain_maps:
        detector.pyramid = PlainMaps(detector.pyramid.channels)  # type: ignore[assignment]
    return spread(detector)


class PlainMaps(nn.Module):
    """In place of a pyramid: maps of strides 8, 16, ..., for tests of what comes after it."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        pairs = pairwise((3, *channels))
        self.steps = nn.ModuleList(
            nn.Conv2d(below, own, 2 if index else 8, stride=2 if index else 8)
            for index, (below, own) in enumerate(pairs)
        )

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        maps = [pixels]
        for step in self.steps:
            maps.append(step(maps[-1]))
        return maps[1:]


def write_run(folder: Path, model: dict) -> Path:
    """A run folder with a detector that was never trained, and no data."""
    folder.mkdir(parents=True)
    path = folder / "config.yaml"
    settings = {"name": folder.name, "model": model, "schedule": {"kind": "cosine"}}
    settings["data"] = {"dataset": {"kind": "drawn"}, "pad_to_multiple_of": 32}
    settings |= {"train": {"steps": 1}, "evaluation": {"max_detections": [20]}}
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    config = load_config(path)
    save_config(config, path)
    torch.manual_seed(0)
    detector = spread(build_detector(config.model, len(CLASSES)))
    checkpoint = Checkpoint(
        step=3,
        samples_seen=0,
        model=dict(detector.state_dict()),
        optimizer={},
        random_states=[],
        categories=CLASSES.to_json(),
        config={},
        versions={},
    )
    save_checkpoint(folder / "checkpoints", checkpoint, keep=1)
    return folder
