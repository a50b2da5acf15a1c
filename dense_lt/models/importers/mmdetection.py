"""mmdetection's Faster, Mask and Cascade R-CNN and HTC: names of their weights, and ours.

Orders agree: since its version 2 background is the last class there too, anchors go by ratio, boxes
of a class lie side by side, and the units of their codes are settings, not weights. EQL v2 has its
sums per class in the state dict since April 2022; the published files are older and have none.

Source: names, shapes and buffers read off the public repositories open-mmlab/mmdetection (2.x) and
tztztztztz/eqlv2, commit 907fad9. The published files themselves were not at hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dense_lt.models.importers.fitting import check_fit, first_state_dict
from dense_lt.utils.errors import DataError

State = Mapping[str, Tensor]

_COUNTER = "num_batches_tracked"
_RATIO = "loss_cls.pos_neg"
_SAMPLES = "loss_cls.cum_samples"
_SCALE = "fc_cls.weight_scaler"

RULES = (
    (r"^pyramid\.backbone\.body\.", "backbone."),
    (r"^pyramid\.fpn\.inner_blocks\.(\d)\.0\.", r"neck.lateral_convs.\1.conv."),
    (r"^pyramid\.fpn\.layer_blocks\.(\d)\.0\.", r"neck.fpn_convs.\1.conv."),
    (r"^proposals\.head\.convolution\.", "rpn_head.rpn_conv."),
    (r"^proposals\.head\.classifier\.(weight|bias)$", r"rpn_head.rpn_cls.\1"),
    (r"^proposals\.head\.box_regressor\.(weight|bias)$", r"rpn_head.rpn_reg.\1"),
    (r"^(stages\.\d+\.)?mask\.head\.convolutions\.(\d)\.", r"\1mask_head.convs.\2.conv."),
    (r"^(stages\.\d+\.)?mask\.head\.upsampling\.", r"\1mask_head.upsample."),
    (r"^(stages\.\d+\.)?mask\.head\.predictor\.", r"\1mask_head.conv_logits."),
    (r"^(stages\.\d+\.)?mask\.head\.flow\.", r"\1mask_head.conv_res.conv."),
    (r"^(stages\.\d+\.)?head\.layers\.(\d)\.", r"\1bbox_head.shared_fcs.\2."),
    (r"^(stages\.\d+\.)?head\.classifier\.scale$", rf"\1bbox_head.{_SCALE}"),
    (r"^(stages\.\d+\.)?head\.classifier\.", r"\1bbox_head.fc_cls."),
    (r"^(stages\.\d+\.)?head\.box_regressor\.", r"\1bbox_head.fc_reg."),
    (
        r"^(stages\.\d+\.)?loss\.classification\.statistics\.(pos|neg)(?:i|a)tive$",
        r"\1bbox_head.loss_cls.\2_grad",
    ),
    (r"^(stages\.\d+\.)?loss\.classification\.counts$", rf"\1bbox_head.{_SAMPLES}"),
    (r"^semantic\.laterals\.(\d)\.", r"semantic_head.lateral_convs.\1.conv."),
    (r"^semantic\.convolutions\.(\d)\.", r"semantic_head.convs.\1.conv."),
    (r"^semantic\.embedding\.", "semantic_head.conv_embedding.conv."),
    (r"^semantic\.predictor\.", "semantic_head.conv_logits."),
    (r"^((?:bbox|mask|semantic)_head\.)", r"roi_head.\1"),
    (r"^stages\.(\d+)\.((?:bbox|mask)_head)\.", r"roi_head.\2.\1."),
)
"""From our names to theirs; one after the other."""


def their_name(name: str) -> str | None:
    """Our name of a tensor -> theirs; None for what only we have."""
    own = name
    for pattern, replacement in RULES:
        own = re.sub(pattern, replacement, own)
    return own if own.startswith(("backbone.", "neck.", "rpn_head.", "roi_head.")) else None


def weights_of(stored: Mapping[str, object]) -> dict[str, Tensor]:
    """The weights in a file of theirs, without the prefix of a model that was trained in parallel.

    Args:
        stored: the file: a state dict, or a checkpoint that holds one under `state_dict`.

    Raises:
        DataError: there is none.
    """
    tensors = first_state_dict(stored, [stored.get("state_dict"), stored], source="mmdetection")
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def from_mmdetection(stored: State, wanted: State) -> dict[str, Tensor]:
    """Weights, and what the loss has counted if that is there, under our names.

    Args:
        stored: see `weights_of`.
        wanted: `state_dict()` of the detector they are for.

    Raises:
        DataError: a part of the detector has no counterpart there, or a tensor is missing, unknown
            or of another shape.
    """
    ours = {their: name for name in wanted if (their := _checked_name(name)) is not None}
    found = {}
    for name, tensor in stored.items():
        if name.endswith(_RATIO) or _counts_nothing(name, ours):
            continue
        if name.endswith(_SCALE):
            tensor = tensor.squeeze(1)
        if name.endswith(_SAMPLES):
            tensor = tensor[:-1]  # without those of background
        found[ours.get(name, f"{name} (their name)")] = tensor
    check_fit(
        found,
        {name: wanted[name] for name in ours.values() if name in found or not _is_counted(name)},
        source="mmdetection",
        mend="Give the configuration of the same backbone, heads, loss and number of classes",
    )
    return {name: tensor.to(wanted[name].dtype).contiguous() for name, tensor in found.items()}


def to_mmdetection(stored: State, *, statistics: bool = True) -> dict[str, Tensor]:
    """The inverse: our weights under their names.

    Args:
        stored: `state_dict()` of a two-stage detector.
        statistics: with the gradient sums of EQL v2; the other losses have no place for them there.

    Raises:
        DataError: a part of the detector has no counterpart there.
    """
    found = {}
    for name, tensor in stored.items():
        own = _checked_name(name)
        if own is None or (not statistics and own.endswith("_grad")):
            continue
        if own.endswith(_SCALE):
            tensor = tensor[:, None]
        if own.endswith(_SAMPLES):
            tensor = torch.cat([tensor, tensor.new_zeros(1)])
        found[own] = tensor.float() if _is_loss(name) else tensor.contiguous()
        if own.endswith("running_var"):
            counter = own.removesuffix("running_var") + _COUNTER
            found.setdefault(counter, torch.zeros((), dtype=torch.int64))
    for name in [name for name in found if name.endswith("pos_grad")]:
        loss = name.removesuffix("loss_cls.pos_grad")
        positive, negative = found[name], found[f"{loss}loss_cls.neg_grad"]
        ratio = positive / (negative + 1e-10)
        # before the first step it is 100 there: leave the class alone
        found[loss + _RATIO] = torch.where(positive + negative == 0, 100.0, ratio)
    return found


def load_mmdetection(detector: nn.Module, stored: State) -> None:
    """Load their weights into a two-stage detector; what they do not count stays as it is.

    Args:
        detector: built from a recipe of the same network, for as many classes.
        stored: see `weights_of`.

    Raises:
        DataError: see `from_mmdetection`; nothing has been loaded.
    """
    wanted = detector.state_dict()
    detector.load_state_dict({**wanted, **from_mmdetection(stored, wanted)})


def _checked_name(name: str) -> str | None:
    """Their name of a tensor of ours; None for what only our losses have."""
    own = their_name(name)
    if own is None and not _is_loss(name):
        raise DataError(
            f"mmdetection weights: {name} has no counterpart there; its detectors are Faster, Mask "
            "and Cascade R-CNN and HTC on a ResNet or ResNeXt, with a region proposal network"
        )
    return own


def _is_loss(name: str) -> bool:
    return re.match(r"(stages\.\d+\.)?loss\.", name) is not None


def _is_counted(name: str) -> bool:
    """Whether a tensor of ours says what was seen while training, which a file may lack."""
    return _is_loss(name) or name.endswith(_COUNTER)


def _counts_nothing(name: str, ours: Mapping[str, str]) -> bool:
    """Batches seen by a norm that is frozen here: `ours` has the norm, but no counter."""
    norm = name.removesuffix(_COUNTER)
    return norm != name and name not in ours and f"{norm}running_var" in ours
