"""Which parameters are optimised how, and with which learning rate?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from dense_lt.engine.start import matching

BACKBONE = "pyramid.backbone."

_BLOCK = re.compile(r"(?:\b|_)(?:stages?|layers?|blocks?|features?)(?=[_.]?\d)[_.]?\d+")
"""A numbered part of a timm model: `blocks.3`, `stages_1.blocks.0`, `layer2.1`, `layers_0`."""


def parameter_groups(
    model: nn.Module,
    *,
    weight_decay: float,
    decay_norm_and_bias: bool,
    decay_classifier_bias: bool = False,
    lr_factors: Mapping[str, float] | None = None,
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """Trainable parameters in groups of equal weight decay and equal learning rate.

    Biases and everything with fewer than two axes (scales of normalisation, learnt factors) are
    left undecayed unless `decay_norm_and_bias`: decay there shrinks no capacity, it only pulls a
    classifier's prior and a normalisation's scale towards 0. Frozen parameters are in no group.
    `decay_classifier_bias` makes an exception for classifiers, as YOLOX-IP does.

    Args:
        model: the detector.
        weight_decay: of those that decay.
        decay_norm_and_bias: see above.
        decay_classifier_bias: see above.
        lr_factors: pattern of names -> factor on the learning rate, the last that matches counts.
        layer_decay: factor from each layer of the backbone to the one before (Clark et al. 2020).

    Returns:
        Groups with `params`, `weight_decay` and `factor`, the highest learning rate first.

    Raises:
        ConfigError: a pattern matches nothing.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    factors = _factors(names, lr_factors or {}, layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        small = parameter.ndim < 2 or name.endswith(".bias")
        classifies = decay_classifier_bias and name.endswith("classifier.bias")
        spared = small and not decay_norm_and_bias and not classifies
        decay = 0.0 if spared else weight_decay
        groups.setdefault((factors[name], decay), []).append(parameter)
    return [
        {"params": groups[key], "weight_decay": key[1], "factor": key[0]}
        for key in sorted(groups, reverse=True)
    ]


def layer_numbers(names: Iterable[str]) -> dict[str, int]:
    """Number of the backbone's layer that each parameter belongs to, from 0 at the stem.

    A layer is one numbered block; what has no number (norms, downsampling, positions) belongs to
    the block before it, at the beginning to the stem.
    """
    numbers: dict[str, int] = {}
    blocks: dict[str, int] = {}
    last = 0
    for name in names:
        found = list(_BLOCK.finditer(name))
        if found:
            last = blocks.setdefault(name[: found[-1].end()], len(blocks) + 1)
        numbers[name] = last
    return numbers


def scaled_learning_rate(lr: float, *, batch_size: int, base_batch_size: int) -> float:
    """`lr`, stated for `base_batch_size` images per step, for the real `batch_size`.

    Source: Goyal et al. 2017, "Accurate, large minibatch SGD": the linear scaling rule.
    """
    return lr * batch_size / base_batch_size


def set_learning_rate(optimizer: Optimizer, factor: float) -> float:
    """Give every group its `initial_lr` times `factor`; return the first group's, the highest."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return optimizer.param_groups[0]["lr"]


def _factors(
    names: list[str], lr_factors: Mapping[str, float], layer_decay: float
) -> dict[str, float]:
    factors = dict.fromkeys(names, 1.0)
    if layer_decay < 1:
        numbers = layer_numbers([name for name in names if name.startswith(BACKBONE)])
        last = max(numbers.values(), default=0)
        factors |= {name: layer_decay ** (last + 1 - number) for name, number in numbers.items()}
    for pattern, factor in lr_factors.items():
        own = matching(set(names), [pattern], "optimizer.lr_factors")
        factors |= dict.fromkeys(own, factor)
    return factors
