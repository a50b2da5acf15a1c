"""The comparison as plain JSON values: every number of the page, for other programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dense_lt.data.categories import RARE
from dense_lt.report import curves, diagnosis
from dense_lt.report.comparison import Comparison, Experiment
from dense_lt.report.cost import COSTS
from dense_lt.report.intervals import Estimate
from dense_lt.report.settings import seeds_of
from dense_lt.report.verdict import verdict

Json = dict[str, Any]


def comparison_numbers(comparison: Comparison) -> Json:
    """What `comparison.json` holds; metrics and ratios in [0, 1], undefined is null."""
    return {
        "reference": comparison.reference.label,
        "verdict": verdict(comparison),
        "unlike": [difference.key for difference in comparison.unlike],
        "experiments": [_experiment(comparison, own) for own in comparison.experiments],
        "settings": [asdict(difference) for difference in comparison.settings],
        "confused_rare_classes": [
            pair._asdict() for pair in diagnosis.confused_pairs(comparison, RARE)
        ],
        "class_tables": [
            _classes(comparison, number) for number in range(len(comparison.data_sets))
        ],
    }


def _experiment(comparison: Comparison, experiment: Experiment) -> Json:
    metrics = [
        {
            "metric": metric,
            "max_detections": cap,
            "values": experiment.values(metric, cap),
            **_interval(experiment.estimate(metric, cap)),
            "difference": None
            if experiment is comparison.reference
            else _interval(comparison.difference(experiment, metric, cap)),
        }
        for metric, cap in comparison.metrics
    ]
    return {
        "label": experiment.label,
        "runs": [
            {"name": run.name, "folder": str(run.folder), "seeds": seeds_of(run)}
            for run in experiment.runs
        ],
        "paired": comparison.is_paired(experiment),
        "metrics": metrics,
        "gradient_ratio_by_rank": {
            module: ratios.tolist()
            for module, ratios in curves.last_ratios(experiment.runs).items()
        },
        "gradient_ratio_by_group": [
            {
                "run": run.name,
                "module": module,
                "group": group,
                "steps": steps.tolist(),
                "ratio": ratio.tolist(),
            }
            for run in experiment.runs
            for module in curves.modules(run)
            for group, (steps, ratio) in curves.group_ratios(run, module).items()
        ],
        "classifier_norms_by_group": [
            {"run": run.name, "group": group, "steps": steps.tolist(), "norm": norm.tolist()}
            for run in experiment.runs
            for group, (steps, norm) in curves.group_norms(run).items()
        ],
        "cost": {name: cost.value(experiment) for name, cost in COSTS.items()},
        "diagnosis": {
            group: {
                "kinds": dict(diagnosis.kind_shares(experiment, group)),
                "stages": dict(diagnosis.stage_shares(experiment, group)),
                "candidates": dict(diagnosis.candidate_shares(experiment, group)),
                "true_score": diagnosis.mean_scores(experiment, group)[0],
                "false_score": diagnosis.mean_scores(experiment, group)[1],
            }
            for group in diagnosis.groups_present(comparison)
        },
    }


def _interval(estimate: Estimate) -> Json:
    return {
        "mean": estimate.mean,
        "half_width": estimate.half_width,
        "standard_deviation": estimate.deviation,
        "count": estimate.count,
    }


def _classes(comparison: Comparison, number: int) -> list[Json]:
    data = comparison.data_sets[number]
    scores = {
        experiment.label: data.average_precision(index)
        for index, experiment in enumerate(comparison.experiments)
        if data.runs[index]
    }
    return [
        {
            "category_id": entry.category_id,
            "name": entry.name,
            "group": entry.group,
            "train_images": entry.train_images,
            "val_images": entry.val_images,
            "AP": {label: own[index] for label, own in scores.items()},
        }
        for index, entry in enumerate(data.classes)
    ]
