"""`dense-lt import-weights`: weights of other projects -> a file to start from, or a run folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dense_lt.utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from dense_lt.config.experiment import ExperimentConfig
    from dense_lt.models.detector import Detector

    Import = Callable[[Detector, Mapping[str, object], argparse.Namespace], None]

HELP = "turn weights of United-Perception (EFL), mmdetection (EQL v2) or torchvision into ours"

PLACEHOLDER = "nowhere"
"""For settings that only the data need: the number of classes is read from the weights."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", type=Path, help="weights, .pth or .safetensors")
    parser.add_argument(
        "--config", type=Path, required=True, help="configuration of the same detector"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="FILE.safetensors for model.init_from, or a folder that becomes a run of no steps for "
        "`dense-lt eval FOLDER`, which needs the data set too",
    )
    parser.add_argument(
        "--source",
        "--from",
        choices=("united-perception", "torchvision", "mmdetection"),
        help="default: what the names in the file say",
    )
    parser.add_argument(
        "--layout",
        choices=("anchor_first", "class_first"),
        help="of a United-Perception classifier; default: what the weights say",
    )
    parser.add_argument(
        "--norm-eps",
        type=float,
        default=1e-5,
        help="of torchvision's frozen norms: 0 for the COCO_V1 files (default: 1e-5)",
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of the model")


def run(arguments: argparse.Namespace) -> int:
    """Read, build, import, write."""
    from dense_lt.utils.weight_files import read_weights

    out: Path = arguments.out
    _check_free(out)
    stored = read_weights(arguments.file)
    source = arguments.source or _source_of(stored, arguments.file)
    fill, count = {
        "united-perception": (_fill_united_perception, _classes_of_united_perception),
        "torchvision": (_fill_torchvision, _classes_of_torchvision),
        "mmdetection": (_fill_mmdetection, _classes_of_mmdetection),
    }[source]
    config = _load(arguments.config, arguments.overrides, needs_data=not out.suffix)
    detector = _build(config, count(stored, config))
    fill(detector, stored, arguments)
    if out.suffix:
        _write_file(out, detector, source)
    else:
        _write_run(out, detector, config)
    use = f"start from it with model.init_from={out}" if out.suffix else f"dense-lt eval {out}"
    print(f"{out}: {len(detector.state_dict())} tensors from {source}; {use}")  # noqa: T201 - output
    return 0


def _check_free(out: Path) -> None:
    if out.suffix not in ("", ".safetensors"):
        raise ConfigError(f"--out {out}: expected FILE.safetensors, or a folder for a run")
    if out.exists():
        raise ConfigError(f"--out {out}: it is there already; choose another name")


def _write_file(out: Path, detector: Detector, source: str) -> None:
    from dense_lt.utils.tensor_files import save_tensors

    weights = {name: tensor.contiguous() for name, tensor in detector.state_dict().items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(weights, out, metadata={"format": "pt", "imported_from": source})


def _write_run(out: Path, detector: Detector, config: ExperimentConfig) -> None:
    """A run folder of step 0, with the classes of the data set."""
    from dense_lt.balance.statistics import tie_to_classes
    from dense_lt.config.load import save_config
    from dense_lt.data.build import build_datasets
    from dense_lt.engine.build import resolved
    from dense_lt.engine.checkpoint import Checkpoint, save_checkpoint
    from dense_lt.engine.run_folder import RunFolder
    from dense_lt.utils.environment import versions

    classes = build_datasets(config.data, seed=config.seed, splits=("val",)).categories
    found = detector.summary()["classes"]
    if found != len(classes):
        raise DataError(
            f"the weights have {found} classes, the data {len(classes)}; take the annotations that "
            "they were trained on"
        )
    tie_to_classes(detector, classes.names)
    run = RunFolder(out)
    run.path.mkdir(parents=True)
    save_config(config, run.config)
    classes.save(run.categories)
    checkpoint = Checkpoint(
        step=0,
        samples_seen=0,
        model=detector.state_dict(),
        optimizer={},
        random_states=[],
        categories=classes.to_json(),
        config=dict(resolved(config)),
        versions=dict(versions()),
    )
    save_checkpoint(run.checkpoints, checkpoint, keep=1)


def _source_of(stored: Mapping[str, object], path: Path) -> str:
    names = {str(name) for name in stored}
    inner = stored.get("state_dict")
    inside = names | ({str(name) for name in inner} if isinstance(inner, Mapping) else set())
    if any(name.startswith(("roi_heads.", "rpn.")) for name in names):
        return "torchvision"
    if any(name.removeprefix("module.").startswith("rpn_head.") for name in inside):
        return "mmdetection"
    if names & {"model", "state_dict", "ema"} or any("roi_head." in name for name in names):
        return "united-perception"
    raise DataError(
        f"{path}: its names, such as {', '.join(sorted(names)[:3])}, are those of neither "
        "United-Perception nor mmdetection's or torchvision's Faster or Mask R-CNN"
    )


def _load(path: Path, overrides: list[str], *, needs_data: bool) -> ExperimentConfig:
    """The configuration, with a placeholder for where data would be if they are not needed."""
    from dense_lt.config.load import load_config

    try:
        return load_config(path, overrides)
    except ConfigError as error:
        missing = [line.strip().partition(":")[0] for line in str(error).splitlines()[1:]]
        if needs_data or not missing or not all(key.startswith("data.") for key in missing):
            raise
    return load_config(path, [*overrides, *(f"{key}={PLACEHOLDER}" for key in missing)])


def _build(config: ExperimentConfig, num_classes: int) -> Detector:
    from dense_lt.balance.counts import ClassCounts
    from dense_lt.models.build import build_detector

    backbone = config.model.backbone.model_copy(update={"pretrained": False, "weights": None})
    model = config.model.model_copy(update={"backbone": backbone})
    # a few losses ask for counts, which have no part in what is imported
    counts = ClassCounts((1,) * num_classes, (1,) * num_classes)
    return build_detector(model, num_classes, counts)


def _classes_of_united_perception(stored: Mapping[str, object], config: ExperimentConfig) -> int:
    from dense_lt.models.importers.united_perception import weights_of

    rows = _rows(weights_of(stored), ("cls_subnet_pred.bias", "cls_preds.0.bias"))
    return rows // _num_priors(config)


def _classes_of_torchvision(stored: Mapping[str, object], config: ExperimentConfig) -> int:
    return _rows(stored, ("box_predictor.cls_score.bias",)) - 1  # without background


def _classes_of_mmdetection(stored: Mapping[str, object], config: ExperimentConfig) -> int:
    from dense_lt.balance.counts import ClassCounts
    from dense_lt.config.two_stage import TwoStageConfig
    from dense_lt.losses.regions.build import build_region_loss
    from dense_lt.models.importers.mmdetection import weights_of

    model = config.model
    if not isinstance(model, TwoStageConfig) or model.loss.kind == "bags":
        raise ConfigError(
            f"--config: from mmdetection come two-stage detectors, of any loss but BAGS, whose "
            f"logits depend on the data; the model is of kind {model.kind}, its loss "
            f"{model.loss.kind}; take one such as configs/lvis/mask_rcnn_r50_1x_eql_v2.yaml"
        )
    others = build_region_loss(model.loss, 1, ClassCounts((1,), (1,))).num_logits - 1
    return _rows(weights_of(stored), ("fc_cls.bias",)) - others


def _rows(stored: Mapping[str, object], endings: tuple[str, ...]) -> int:
    for name, tensor in stored.items():
        if name.endswith(endings):
            return len(tensor)  # type: ignore[arg-type]
    raise DataError(f"the file has no classifier: no name ends with {' or '.join(endings)}")


def _num_priors(config: ExperimentConfig) -> int:
    from dense_lt.config.model import OneStageConfig

    if not isinstance(config.model, OneStageConfig):
        raise ConfigError(
            "--config: United-Perception's EFL detectors have one stage, and the model is of kind "
            f"{config.model.kind}; take one such as configs/lvis/efl_improved_baseline_r50_2x.yaml"
        )
    return config.model.priors.num_per_location


def _fill_united_perception(
    detector: Detector, stored: Mapping[str, object], arguments: argparse.Namespace
) -> None:
    from dense_lt.models.importers.united_perception import load_united_perception, weights_of

    num_priors = detector.summary()["priors per location"]
    assert isinstance(num_priors, int)
    load_united_perception(
        detector, weights_of(stored), num_priors=num_priors, layout=arguments.layout
    )


def _fill_mmdetection(
    detector: Detector, stored: Mapping[str, object], arguments: argparse.Namespace
) -> None:
    from dense_lt.models.importers.mmdetection import load_mmdetection, weights_of

    load_mmdetection(detector, weights_of(stored))


def _fill_torchvision(
    detector: Detector, stored: Mapping[str, object], arguments: argparse.Namespace
) -> None:
    from dense_lt.models.importers.torchvision import load_torchvision

    weights: dict[str, Tensor] = dict(stored)  # type: ignore[arg-type]
    load_torchvision(detector, weights, norm_eps=arguments.norm_eps)
