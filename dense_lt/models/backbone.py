"""A timm model as a list of feature maps: strides, channels, layout, freezing."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.layers.norm_act import BatchNormAct2d
from timm.models import FeatureInfo
from torch import Tensor, nn

from dense_lt.models.frozen_norm import freeze_norms
from dense_lt.utils.errors import ConfigError
from dense_lt.utils.weight_files import read_weights

PROBE_SIZES = ((64, 64), (96, 128))
"""Two input sizes, (height, width), that every usable backbone must accept."""

_UNMAKEABLE = (RuntimeError, AttributeError, TypeError, ValueError, LookupError, ArithmeticError)
"""What timm raises over options that do not fit: it looks at none of them beforehand."""


class Backbone(nn.Module):
    """Feature maps of a timm model, always (B, channels, H, W), finest first.

    Raises:
        ConfigError: timm does not know the name, the model gives no feature maps, not at the
            levels asked for, only at one input size, or its weights do not fit.
    """

    def __init__(
        self,
        name: str,
        *,
        levels: tuple[int, int],
        pretrained: bool = False,
        weights: Path | None = None,
        frozen_stages: int = 0,
        norm: str = "train",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Create the model.

        Args:
            name: of timm.
            levels: first and last level wanted; level l has stride 2^l.
            pretrained: load timm's weights from its cache or hub.
            weights: local file with weights of this model, instead.
            frozen_stages: stages that do not train; each ends with a feature map.
            norm: "train", "frozen", "fixed_statistics" or "group", see `BackboneConfig`.
            options: further arguments of `timm.create_model`.
        """
        super().__init__()
        self.name = name
        options = dict(options or {})
        strides = _available_strides(name, options)
        wanted = [2**level for level in range(levels[0], levels[1] + 1)]
        indices = _indices_of(name, strides, wanted)
        self.body = _create(name, options, indices, pretrained=pretrained, weights=weights)
        self.channels: tuple[int, ...] = tuple(_feature_info(self.body).channels())
        self.strides: tuple[int, ...] = tuple(wanted)
        if norm == "group":
            _to_group_norm(self.body)
        elif norm == "frozen":
            self.body = freeze_norms(self.body)
        self.frozen_stages = frozen_stages
        self._frozen = _freeze(name, self.body, frozen_stages)
        if norm == "fixed_statistics":
            norms = (module for module in self.body.modules() if isinstance(module, nn.BatchNorm2d))
            self._frozen = [*self._frozen, *norms]
        self._channels_last_output = _probe(name, self.body, self.channels)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """`pixels` (B, 3, H, W), normalised -> maps (B, channels_l, H_l, W_l)."""
        maps = self.body(pixels)
        if self._channels_last_output:
            maps = [x.permute(0, 3, 1, 2) for x in maps]  # (B, H, W, C) -> (B, C, H, W)
        return list(maps)

    def train(self, mode: bool = True) -> Backbone:
        """As in torch, except that frozen stages and fixed norms stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.training = False
        return self

    def pixel_statistics(self) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and standard deviation of RGB in [0, 1] that timm gives for this model."""
        stored = timm.get_pretrained_cfg(self.name)
        if stored is None:
            return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        return stored.mean, stored.std


def usable_backbones(pattern: str = "*") -> Iterator[str]:
    """Names of timm models that match `pattern` and give feature maps at several strides."""
    for name in timm.list_models(pattern):
        try:
            if len(set(_available_strides(name, {}))) > 1:
                yield name
        except ConfigError:
            continue


def why_no_backbone(pattern: str) -> str:
    """What to say where `usable_backbones` gives none for `pattern`."""
    models = timm.list_models(pattern)
    if models:
        return (
            f"timm {timm.__version__} has {', '.join(models[:3])}, but no feature maps of it at "
            "several strides; docs/backbones.md tells of plain vision transformers"
        )
    longer = timm.list_models(f"{pattern}*")
    hint = _close_to(pattern)
    if longer and "*" not in pattern:
        hint = f"; a star finds longer names: '{pattern}*', such as {', '.join(longer[:3])}"
    return f"timm {timm.__version__} has no {pattern!r}{hint}"


def _close_to(name: str) -> str:
    close = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=5, cutoff=0.5)
    return f"; close to it: {', '.join(close)}" if close else ""


def _feature_info(body: nn.Module) -> FeatureInfo:
    return cast(FeatureInfo, body.feature_info)


def _available_strides(name: str, options: Mapping[str, Any]) -> list[int]:
    """Stride of every feature map of the model, without allocating its weights."""
    if not timm.is_model(name):
        raise ConfigError(
            f"model.backbone.name: timm {timm.__version__} has no {name!r}{_close_to(name)}"
        )
    try:
        with torch.device("meta"):
            body = timm.create_model(name, features_only=True, pretrained=False, **options)
        return [int(stride) for stride in _feature_info(body).reduction()]
    except _UNMAKEABLE as error:
        raise ConfigError(
            f"model.backbone: timm cannot make feature maps of {name!r} with options "
            f"{dict(options)}: {error!r}; mend model.backbone.options, or choose one of the models "
            "that `dense-lt backbones` lists"
        ) from error


def _indices_of(name: str, strides: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Index of the last map of each wanted stride."""
    missing = [stride for stride in wanted if stride not in strides]
    if missing:
        found = sorted({int(math.log2(s)) for s in strides if s & (s - 1) == 0})
        raise ConfigError(
            f"model.backbone.name: {name!r} has feature maps at strides {list(strides)}, none at "
            f"{missing}; set model.pyramid.backbone_levels within its levels {found}, or choose "
            "another model from `dense-lt backbones`"
        )
    return [len(strides) - 1 - list(reversed(strides)).index(stride) for stride in wanted]


def _create(
    name: str,
    options: Mapping[str, Any],
    indices: Sequence[int],
    *,
    pretrained: bool,
    weights: Path | None,
) -> nn.Module:
    """The timm model; a local file goes through timm's own loading, with its key filters."""
    create = partial(
        timm.create_model, name, features_only=True, out_indices=tuple(indices), **options
    )
    if weights is None:
        try:
            return create(pretrained=pretrained)
        except (RuntimeError, OSError, ValueError) as error:
            raise ConfigError(
                f"model.backbone.pretrained: cannot load timm's weights of {name!r}: {error}; "
                "download them elsewhere and give the file as model.backbone.weights"
            ) from error
    if not weights.is_file():
        raise ConfigError(f"model.backbone.weights: there is no file {weights}")
    if weights.suffix not in (".npz", ".npy"):
        read_weights(weights)  # says what is wrong with a file that is none; timm does not
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = create()
        torch.manual_seed(0)
        try:
            body = create(pretrained=True, pretrained_cfg_overlay={"file": str(weights)})
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"model.backbone.weights: cannot load {weights} into {name!r}: {error}"
            ) from error
    _check_loaded(weights, name, fresh, body)
    return body


def _check_loaded(weights: Path, name: str, fresh: nn.Module, body: nn.Module) -> None:
    """Refuse a file that left a layer as it was; timm loads feature extractors leniently."""
    untouched = [
        key
        for (key, before), after in zip(fresh.named_parameters(), body.parameters(), strict=True)
        if before.ndim > 1 and torch.equal(before, after)
    ]
    if untouched:
        raise ConfigError(
            f"model.backbone.weights: {weights} has no weights for {len(untouched)} layers of "
            f"{name!r}, such as {', '.join(untouched[:3])}; it belongs to another model"
        )


def _probe(name: str, body: nn.Module, channels: Sequence[int]) -> bool:
    """Run two sizes through `body`; whether its maps are (B, H, W, C).

    A dummy forward is the only check that holds for every family of timm.
    """
    training = body.training
    body.eval()
    layouts = set()
    parameter = next(body.parameters())
    for size in PROBE_SIZES:
        pixels = torch.zeros(1, 3, *size, device=parameter.device, dtype=parameter.dtype)
        try:
            with torch.no_grad():
                maps = body(pixels)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ConfigError(
                f"model.backbone.name: {name!r} does not accept images of {size[0]}x{size[1]} "
                f"pixels ({error}); detection needs any size. Set model.backbone.options "
                "(`dynamic_img_size: true` for vision transformers, `strict_img_size: false` for "
                "Swin), or choose another model"
            ) from error
        layouts.add(
            all(x.shape[-1] == c != x.shape[1] for x, c in zip(maps, channels, strict=True))
        )
    body.train(training)
    return layouts == {True}


def _freeze(name: str, body: nn.Module, count: int) -> list[nn.Module]:
    """Stop the gradient of the first `count` stages; returns their modules."""
    if count == 0:
        return []
    stages = _modules_by_stage(body)
    if count > len(stages):
        raise ConfigError(
            f"model.backbone.frozen_stages: {name!r} has {len(stages)} stages, not {count}"
        )
    frozen = [module for stage in stages[:count] for module in stage]
    for module in frozen:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)
    return frozen


def _modules_by_stage(body: nn.Module) -> list[list[nn.Module]]:
    """Modules of each stage, in order; a stage ends with the module that gives its map."""
    ends = [info["module"] for info in _feature_info(body).info]
    stages: list[list[nn.Module]] = [[]]
    entered = False
    for module_name, module in body.named_modules():
        if module_name in ("", "model"):
            continue
        if entered and not _is_inside(module_name, ends[len(stages) - 1]):
            if len(stages) == len(ends):
                break
            stages.append([])
            entered = False
        entered = entered or _is_inside(module_name, ends[len(stages) - 1])
        stages[-1].append(module)
    return stages


def _is_inside(module_name: str, stage_name: str) -> bool:
    """Whether a module is the stage's last one or inside it; timm joins names with . or _."""
    module_name = module_name.removeprefix("model.").replace(".", "_") + "_"
    return module_name.startswith(stage_name.replace(".", "_") + "_")


def _to_group_norm(module: nn.Module) -> None:
    """Replace every BatchNorm below `module` by GroupNorm with up to 32 groups, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            channels = child.num_features
            norm: nn.Module = nn.GroupNorm(math.gcd(32, channels), channels)
            if isinstance(child, BatchNormAct2d):  # timm's norm with activation in one module
                norm = nn.Sequential(norm, *(cast(nn.Module, m) for m in (child.drop, child.act)))
            setattr(module, name, norm)
        else:
            _to_group_norm(child)
