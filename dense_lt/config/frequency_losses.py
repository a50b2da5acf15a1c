"""Settings of the losses that look at how often classes occur in the training data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dense_lt.config.loss_section import FocalSection


class ClassWeightedFocalLossConfig(FocalSection):
    """Focal loss with a fixed weight per class, of mean 1 over the classes (Cui et al. 2019)."""

    kind: Literal["class_weighted_focal"]
    scheme: Literal["inverse", "square_root", "effective_number"] = "square_root"
    """Weight of a class with n training items: 1 / n, 1 / sqrt(n), (1 - beta) / (1 - beta^n)."""

    count: Literal["images", "instances"] = "images"
    """Which items are counted: training images that contain the class, or its instances."""

    beta: float = Field(default=0.999, gt=0, lt=1)
    """Of `effective_number`: near 0 all classes weigh the same, near 1 it is `inverse`."""

    entries: Literal["positive", "all"] = "positive"
    """What is weighted: the positive entries of a class, or its negatives on background too, which
    changes how fast a class learns but not how its positives compare with its negatives."""
