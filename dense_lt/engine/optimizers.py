"""Which parameters are optimised how, and with which learning rate?"""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer


def parameter_groups(
    model: nn.Module,
    *,
    weight_decay: float,
    decay_norm_and_bias: bool,
    decay_classifier_bias: bool = False,
) -> list[dict[str, object]]:
    """Trainable parameters in two groups: with weight decay, and without.

    Biases and everything with fewer than two axes (scales of normalisation, learnt factors) are
    left undecayed unless `decay_norm_and_bias`: decay there shrinks no capacity, it only pulls a
    classifier's prior and a normalisation's scale towards 0. Frozen parameters are in neither.
    `decay_classifier_bias` makes an exception for classifiers, as YOLOX-IP does.
    """
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        small = parameter.ndim < 2 or name.endswith(".bias")
        classifies = decay_classifier_bias and name.endswith("classifier.bias")
        spared = small and not decay_norm_and_bias and not classifies
        (undecayed if spared else decayed).append(parameter)
    groups = (decayed, weight_decay), (undecayed, 0.0)
    return [{"params": params, "weight_decay": decay} for params, decay in groups if params]


def scaled_learning_rate(lr: float, *, batch_size: int, base_batch_size: int) -> float:
    """`lr`, stated for `base_batch_size` images per step, for the real `batch_size`.

    Source: Goyal et al. 2017, "Accurate, large minibatch SGD": the linear scaling rule.
    """
    return lr * batch_size / base_batch_size


def set_learning_rate(optimizer: Optimizer, factor: float) -> float:
    """Give every group its `initial_lr` times `factor`; return the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return optimizer.param_groups[0]["lr"]
