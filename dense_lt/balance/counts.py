"""How often does each class occur in the training data, and what should it weigh for that?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Scheme = Literal["inverse", "square_root", "effective_number"]


class ClassCounts(NamedTuple):
    """Training data of the C classes, in label order."""

    images: tuple[int, ...]  # images that contain the class
    instances: tuple[int, ...]  # instances of the class


def class_weights(counts: Sequence[int], scheme: Scheme, *, beta: float = 0.999) -> Tensor:
    """(C,) float32 weights that fall with the count n of a class; their mean over the classes is 1.

    `inverse` 1 / n, `square_root` 1 / sqrt(n), `effective_number` (1 - beta) / (1 - beta^n). A
    class without data counts as one with a single item.

    Source: Cui et al. 2019, Class-balanced loss based on effective number of samples.
    """
    n = torch.tensor(counts, dtype=torch.float64).clamp(min=1)
    match scheme:
        case "inverse":
            weights = 1 / n
        case "square_root":
            weights = n.rsqrt()
        case "effective_number":
            base = torch.tensor(beta, dtype=torch.float64)
            weights = -1 / torch.expm1(n * base.log())  # the factor 1 - beta falls out
    return (weights / weights.mean()).float()


def effective_margin(counts: Sequence[int], background: float) -> tuple[Tensor, Tensor]:
    """Weights and margins (C,) that minimise a bound on the error of detection, by class.

    With N items in all, `background` * sum(n) of them background, and m = N - n the items that are
    not of a class: weight a log(1 + 1 / a) with a = m / n, margin log(n / m) / 4. The logit of the
    loss is twice that of the score plus the margin.

    Source: Cho and Krahenbuhl 2022, Long-tail detection with effective class-margins.
    """
    n = torch.tensor(counts, dtype=torch.float64).clamp(min=1)
    others = ((1 + background) * n.sum() - n).clamp(min=1)
    odds = others / n
    return (odds * torch.log1p(1 / odds)).float(), (-odds.log() / 4).float()
