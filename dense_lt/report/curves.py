"""The series behind the figures: smoothed lines, gradient ratios by rank and group, losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.categories import GROUPS
from dense_lt.report.runs import Run, Snapshot

Array = NDArray[np.float64]
Curve = tuple[Array, Array]
"""x and y, of equal length."""

MOST_POINTS = 300
"""Points of a training curve that are drawn; longer ones are averaged in pieces."""


def smooth(x: Array, y: Array, at: Array, bandwidth: float) -> Array:
    """Mean of `y` (P,) around each of `at` (Q,), weighted by a Gaussian of `bandwidth` in x.

    Source: Nadaraya (1964), Watson (1964).
    """
    distance = (at[:, None] - x[None, :]) / bandwidth  # (Q, P)
    # The nearest point gets weight 1, so that no row of weights underflows to zero.
    exponent = -0.5 * distance**2
    weights = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return (weights @ y) / weights.sum(axis=1)


def smoothed_by_images(images: Array, values: Array, bandwidth: float = 0.2) -> Curve:
    """A line through `values` over `images` > 0; the bandwidth is in decades of images."""
    logs = np.log10(images)
    at = np.linspace(logs.min(), logs.max(), 60)
    return 10**at, smooth(logs, values, at, bandwidth)


def smoothed_by_rank(values: Array) -> Curve:
    """A line through `values` by rank 1..C; the bandwidth is C / 25 ranks, at least 1.5."""
    ranks = np.arange(1.0, len(values) + 1)
    return ranks, smooth(ranks, values, ranks, bandwidth=max(1.5, len(values) / 25))


def by_rank(run: Run) -> list[int]:
    """Labels from the class with most training images to the one with fewest."""
    return sorted(
        range(len(run.classes)), key=lambda label: -(run.classes[label].train_images or 0)
    )


def last_ratios(runs: Sequence[Run]) -> dict[str, Array]:
    """Module -> final gradient ratio (C,) by class rank, mean over runs with as many classes."""
    found: dict[str, list[Array]] = {}
    for run in runs:
        for module, snapshots in _by_module(run).items():
            if len(run.classes) == len(runs[0].classes):
                found.setdefault(module, []).append(np.array(snapshots[-1].ratio)[by_rank(run)])
    return {module: np.mean(ratios, axis=0) for module, ratios in found.items()}


def group_ratios(run: Run, module: str) -> dict[str, Curve]:
    """Frequency group -> steps and mean ratio of its classes; no entry for a group without any."""
    snapshots = _by_module(run).get(module, [])
    curves: dict[str, Curve] = {}
    for group in GROUPS:
        labels = [label for label, score in enumerate(run.classes) if score.group == group]
        if labels and snapshots:
            steps = np.array([float(snapshot.step) for snapshot in snapshots])
            means = [float(np.mean([s.ratio[label] for label in labels])) for s in snapshots]
            curves[group] = steps, np.array(means)
    return curves


def group_norms(run: Run) -> dict[str, Curve]:
    """Group -> steps and mean over its classes of the classifier's norms over their mean."""
    steps = np.array([float(own.step) for own in run.norm_snapshots])
    norms = np.array([own.norms for own in run.norm_snapshots])
    curves: dict[str, Curve] = {}
    for group in GROUPS:
        labels = [label for label, score in enumerate(run.classes) if score.group == group]
        if labels and len(steps):
            curves[group] = steps, norms[:, labels].mean(axis=1) / norms.mean(axis=1)
    return curves


def modules(run: Run) -> list[str]:
    """Names of the modules that kept gradient statistics of the classes."""
    return list(_by_module(run))


def _by_module(run: Run) -> dict[str, list[Snapshot]]:
    found: dict[str, list[Snapshot]] = {}
    for snapshot in sorted(run.snapshots, key=lambda snapshot: snapshot.step):
        found.setdefault(snapshot.module, []).append(snapshot)
    return found


def loss_names(runs: Sequence[Run]) -> list[str]:
    """Names of all losses logged, the total (`loss`) first."""
    names = {key for run in runs for line in run.train_lines for key in line}
    return sorted(key for key in names if key == "loss" or key.startswith("loss/"))


def training_curve(run: Run, key: str) -> Curve:
    """Logged values of `key` over steps, averaged in pieces down to MOST_POINTS."""
    return _thinned(*_logged(run.train_lines, key))


def balance_curves(run: Run, quantity: str, group: str) -> list[Curve]:
    """`quantity` of `group` over steps, one curve for each loss over the classes that logged it."""
    own = f"{quantity}/{group}"  # several losses, as a cascade has, come with their names before
    keys = {key for line in run.train_lines for key in line}
    names = sorted(key for key in keys if key == own or key.endswith(f"/{own}"))
    return [training_curve(run, name) for name in names]


def evaluation_curve(run: Run, metric: str) -> Curve:
    """A metric in [0, 1] over the steps at which the run was evaluated."""
    return _logged(run.evaluation_lines, metric)


def _logged(lines: Sequence[dict[str, object]], key: str) -> Curve:
    pairs = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
    # A resumed run logs the steps after its checkpoint twice; the later line counts.
    latest = sorted({float(str(step)): float(str(value)) for step, value in pairs}.items())
    table = np.array(latest, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _thinned(x: Array, y: Array) -> Curve:
    if len(x) <= MOST_POINTS:
        return x, y
    pieces = np.array_split(np.arange(len(x)), MOST_POINTS)
    return np.array([x[p].mean() for p in pieces]), np.array([y[p].mean() for p in pieces])
