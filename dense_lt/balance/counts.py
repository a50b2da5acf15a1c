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
