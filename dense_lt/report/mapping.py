"""The mapping function of a run's loss: what a class's gradient ratio does to its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dense_lt.data.categories import GROUPS
from dense_lt.report import curves
from dense_lt.report.comparison import Experiment

if TYPE_CHECKING:
    from dense_lt.balance.modulation import Modulator

QUANTITIES = {
    "gamma": "focusing exponent",
    "positive_weight": "weight of positives",
    "negative_weight": "weight of negatives",
}
"""Field of a `Modulation` -> in words."""

POINTS = 201


@dataclass(frozen=True)
class Mapped:
    """Exponent and weights over ratios from 0 to 1, and the ratio each group ended up with."""

    ratio: curves.Array  # (POINTS,)
    values: Mapping[str, curves.Array]  # name of QUANTITIES -> (POINTS,)
    group_ratio: Mapping[str, float]


_LOOK_AT_RATIO = ("equalized_focal", "equalized_quality_focal", "eql_v2", "eql_v2_focal")


def uses_ratio(experiment: Experiment) -> bool:
    """Whether the loss treats a class by its gradient ratio."""
    loss = _loss_of(experiment)
    return loss.get("kind") in _LOOK_AT_RATIO and any(_switches(loss))


def _loss_of(experiment: Experiment) -> Mapping[str, Any]:
    return ((experiment.runs[0].config or {}).get("model") or {}).get("loss") or {}


def _switches(loss: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether weights of negatives and of positives are on; EQL v2 can do without one."""
    return loss.get("reweight_negatives", True), loss.get("reweight_positives", True)


def mapped(experiment: Experiment) -> Mapped | None:
    """Of the loss with its used parameters; None for a loss that does not look at the ratio."""
    modulator = _modulator(_loss_of(experiment))
    if modulator is None:
        return None
    import torch  # late: reading runs needs no torch

    ratio = torch.linspace(0, 1, POINTS)
    values = modulator(ratio)._asdict()
    return Mapped(
        ratio.double().numpy(),
        {name: values[name].double().numpy() for name in QUANTITIES},
        _group_ratios(experiment),
    )


def told_apart(functions: Sequence[Mapped]) -> list[str]:
    """Names of QUANTITIES that are not one and the same number all over `functions`."""

    def numbers(name: str) -> set[float]:
        return {number for own in functions for number in own.values[name].tolist()}

    return [name for name in QUANTITIES if len(numbers(name)) > 1]


def _modulator(loss: Mapping[str, Any]) -> Modulator | None:
    """As `losses/build.py` makes it, from settings as a run has stored them."""
    from dense_lt.balance.modulation import ConstantFocal, EqualizationV2, EqualizedFocal

    match loss.get("kind"):
        case "focal":
            return ConstantFocal(loss.get("alpha", 0.25), loss.get("gamma", 2.0))
        case "quality_focal":
            return ConstantFocal(-1, loss.get("gamma", 2.0))
        case "equalized_focal":
            gamma, scale = loss.get("gamma", 2.0), loss.get("scale", 8.0)
            return EqualizedFocal(loss.get("alpha", 0.25), gamma, scale)
        case "equalized_quality_focal":
            return EqualizedFocal(-1, loss.get("gamma", 2.0), loss.get("scale", 4.0))
        case "eql_v2" | "eql_v2_focal" as kind:
            focal = kind == "eql_v2_focal"
            alpha = loss.get("focal_alpha", 0.25) if focal else -1.0
            gamma = loss.get("focal_gamma", 2.0) if focal else 0.0
            own = [loss.get(k, v) for k, v in (("steepness", 12.0), ("mu", 0.8), ("alpha", 4.0))]
            whole = EqualizationV2(*own, focal_alpha=alpha, focal_gamma=gamma)
            negatives, positives = _switches(loss)
            if negatives and positives:
                return whole
            if not (negatives or positives):
                return None
            from dense_lt.losses.regions.sigmoid import PartlyModulated

            return PartlyModulated(whole, negatives=negatives, positives=positives)
        case _:
            return None


def _group_ratios(experiment: Experiment) -> dict[str, float]:
    """Mean ratio of each group at the end, over runs and modules."""
    found: dict[str, list[float]] = {}
    for run in experiment.runs:
        for module in curves.modules(run):
            for group, (_, ratios) in curves.group_ratios(run, module).items():
                found.setdefault(group, []).append(float(ratios[-1]))
    return {group: float(np.mean(found[group])) for group in GROUPS if group in found}
