"""How long are the weights of each class? Rare classes get short ones under cross-entropy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dense_lt.models.detector import Detector


@torch.no_grad()
def classifier_norms(detector: Detector, num_classes: int) -> list[float] | None:
    """Length of each class's weights in the last layer, biases left out.

    Over all priors of a location together; the mean over several classifiers (levels with heads of
    their own, stages of a cascade). Logits for background or objectness after those of the classes
    are left out; of two logits for a class the difference counts, and a learnt scale is applied.

    Source: Tan et al. 2021, figure 3.

    Returns:
        (C,) in label order; None if no classifier has a row for each class, or if its weights are
        normalised.
    """
    found = []
    for name, module in detector.named_modules():
        head, _, last = name.rpartition(".")
        if last != "classifier" or not hasattr(module, "weight") or head.startswith("proposals"):
            continue
        rows = _rows_of_classes(detector, head, module, num_classes)
        if rows is None or hasattr(module, "temperature"):
            return None
        found.append(rows.square().sum(dim=(0, 2)).sqrt())
    return torch.stack(found).mean(dim=0).tolist() if found else None


def parameters_of(classifier: nn.Module) -> dict[str, Tensor]:
    """Those of a classifier by name, its weight as it is used (see `RescaledLinear`)."""
    own = {name: parameter.detach() for name, parameter in classifier.named_parameters()}
    effective = getattr(classifier, "effective_weight", None)
    return own if effective is None else {**own, "weight": effective().detach()}


def _rows_of_classes(
    detector: Detector, head: str, classifier: nn.Module, count: int
) -> Tensor | None:
    """(A, C, features) of the classifier of `head`, or None."""
    weight = parameters_of(classifier)["weight"].float().flatten(1)
    name = f"{head.rpartition('.')[0]}.loss.classification".strip(".")
    loss: Any = dict(detector.named_modules()).get(name)
    if hasattr(loss, "class_logits"):  # their order, or number, is the loss's own
        return loss.class_logits(weight.T).T[None]
    logits = int(getattr(detector.get_submodule(head), "num_logits", len(weight)))
    if logits not in (count, count + 1, count + 2):
        return None
    return weight.unflatten(0, (-1, logits))[:, :count]
