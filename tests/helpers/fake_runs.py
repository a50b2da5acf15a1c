"""Run folders as training and evaluation leave them, drawn from a seeded generator; no torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml

from dense_lt.data.categories import GROUPS, CategoryTable, frequency_group
from dense_lt.evaluation.diagnosis import Diagnosis
from dense_lt.evaluation.results import ClassResult, EvaluationResult

BY_GROUP = {"rare": "APr", "common": "APc", "frequent": "APf"}
SHAPES = ("disc", "ring", "star", "cross", "crescent")
COLOURS = ("red", "green", "blue", "yellow", "violet")


def draw_categories(
    frequent: int = 13, common: int = 14, rare: int = 18, names: tuple[str, ...] = ()
) -> CategoryTable:
    """Image counts like those of the drawn data set: 900 to 110, 90 to 12, 6 to 1."""
    counts = np.concatenate(
        [np.geomspace(900, 110, frequent), np.geomspace(90, 12, common), np.geomspace(6, 1, rare)]
    )
    images = np.random.default_rng(7).permutation(counts.round().astype(int))
    made = [
        f"{COLOURS[i % 5]} {SHAPES[i // 5 % 5]} {'plain' if i < 25 else 'striped'}"
        for i in range(99)
    ]
    return CategoryTable(
        names=(*names, *made)[: len(images)],
        dataset_ids=tuple(range(1, len(images) + 1)),
        image_counts=tuple(int(n) for n in images),
        instance_counts=tuple(int(1.3 * n) for n in images),
        groups=tuple(frequency_group(int(n)) for n in images),
    )


def config_of(name: str, *, seed: int, data_seed: int, loss: str, prior: float) -> dict:
    return {
        "name": name,
        "output": "runs",
        "seed": seed,
        "device": "cpu",
        "data": {
            "dataset": {"kind": "drawn", "folder": None, "seed": data_seed, "image_size": 80},
            "val_transforms": {"resize": None},
        },
        "model": {
            "kind": "one_stage",
            "loss": {"kind": loss, "gamma": 2.0, **({"scale": 8.0} if loss != "focal" else {})},
            "head": {"prior_probability": prior},
        },
        "optimizer": {"kind": "sgd", "lr": 0.02},
        "schedule": {"kind": "cosine", "warmup": 75},
        "train": {"steps": 935, "batch_size": 16},
        "evaluation": {"max_detections": [300, 30]},
    }


def write_run(
    folder: Path,
    *,
    seed: int = 0,
    data_seed: int = 0,
    loss: str = "focal",
    prior: float = 0.1,
    rare_gain: float = 0.0,
    categories: CategoryTable | None = None,
    explained: bool = False,
    proposed: int | None = None,
    **changed: object,
) -> Path:
    """Write a whole run folder; `changed` replaces fields of its EvaluationResult.

    With `explained` it holds what newer runs save: cost, diagnosis, balance over training; with
    `proposed`, how many of the ten objects of a class have a candidate.
    """
    categories = draw_categories() if categories is None else categories
    rng = np.random.default_rng([seed, data_seed, len(loss), round(1000 * prior)])
    folder.mkdir(parents=True)
    config = config_of(folder.name, seed=seed, data_seed=data_seed, loss=loss, prior=prior)
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    environment = {"versions": {"torch": "2.11.0"}, "device": "cpu", "threads": 1}
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    categories.save(folder / "categories.json")
    images = np.array(categories.image_counts)
    ap = np.clip(0.06 + 0.12 * np.log10(images) + rng.normal(0, 0.03, len(images)), 0, 1)
    ap[np.array(categories.groups) == "rare"] += rare_gain
    result = make_result(folder.name, categories, ap, config)
    result = EvaluationResult(**{**result.__dict__, **changed})
    result.save(folder / "evaluation")
    _write_metrics(folder / "metrics.jsonl", result, rng, with_balance=explained)
    if explained:
        _explain(folder / "evaluation", categories, proposed)
    power = 0.8 if rare_gain else 0.35
    _write_statistics(folder / "statistics.json", images, power, rng, with_norms=explained)
    return folder


def make_result(
    run: str, categories: CategoryTable, ap: np.ndarray, config: dict | None
) -> EvaluationResult:
    groups = np.array(categories.groups)
    means = {
        name: float(ap[groups == g].mean()) if (groups == g).any() else None
        for g, name in BY_GROUP.items()
    }
    overall = float(ap.mean())
    metrics = {"AP": overall, "AP50": 1.6 * overall, "AP75": 0.9 * overall, "APs": 0.8 * overall}
    metrics |= {"APm": 1.1 * overall, "APl": None, **means}
    few = {name: value and 0.8 * value for name, value in metrics.items()}
    return EvaluationResult(
        run=run,
        protocol="lvis",
        iou_type="bbox",
        max_detections=300,
        metrics={**metrics, "AR@300": 0.6},
        by_max_detections={
            "300": {**metrics, "AR@300": 0.6},
            "30": {**few, "AR@30": 0.5},
        },
        counts={
            "images": 600,
            "annotations": 1500,
            "detections": 180000,
            "categories": len(categories),
            "categories_by_group": categories.group_sizes(),
            "categories_with_annotations": categories.group_sizes(),
        },
        per_class=tuple(
            ClassResult(
                category_id=categories.dataset_ids[label],
                name=categories.names[label],
                group=categories.groups[label],
                train_images=categories.image_counts[label],
                train_instances=categories.instance_counts[label],
                val_images=30,
                val_instances=36,
                AP=float(ap[label]),
                AP50=min(1.0, 1.6 * float(ap[label])),
            )
            for label in range(len(categories))
        ),
        rules={"iou_thresholds": "0.50:0.05:0.95", "cap": "300 detections of one image"},
        versions={"dense_lt": "0.1.0", "numpy": "2.4.6"},
        step=935,
        config=config,
        seconds_per_image=0.01,
    )


def _explain(folder: Path, categories: CategoryTable, proposed: int | None) -> None:
    """Every class has 10 objects: 9 covered, 8 candidates, 5 named; 4 detections on a frequent."""
    cost = {"parameters": 2_500_000, "flops": 1_234_000_000, "input_size": [80, 96]}
    (folder / "cost.json").write_text(json.dumps(cost), encoding="utf-8")
    ids = [int(i) for i in categories.dataset_ids]
    norms = [1.0 + 0.1 * np.log10(n) for n in categories.image_counts]

    def same(number: int) -> list[int]:
        return [number] * len(ids)

    rare = [i for i, g in zip(ids, categories.groups, strict=True) if g == "rare"]
    frequent = [i for i, g in zip(ids, categories.groups, strict=True) if g == "frequent"]
    bins = {"count": [100.0] * 10, "correct": [10.0 * k for k in range(10)]}
    bins |= {"score": [10.0 * k + 5 for k in range(10)]}
    Diagnosis(
        category_ids=ids,
        objects={"all": same(10), "covered": same(9), "candidate": same(8), "named": same(5)}
        | {"as_rare": same(0), "as_common": same(0), "as_frequent": same(4)}
        | ({} if proposed is None else {"proposed": same(proposed)}),
        detections={"true": same(5), "localisation": same(1), "confusion_frequent": same(4)},
        true_score=[0.4 for _ in ids],
        false_score=[0.2 for _ in ids],
        reliability=dict.fromkeys(GROUPS, bins),
        confused=[(rare[0], frequent[0], 4)] if rare and frequent else [],
        classifier_norms=norms,
        candidates=proposed and {"10": same(3), "100": same(7), "1000": same(proposed)},
    ).save(folder / "diagnosis.json")


def _write_metrics(
    path: Path, result: EvaluationResult, rng: np.random.Generator, *, with_balance: bool
) -> None:
    lines = []
    for step in range(20, 936, 20):
        box = 1 - 0.5 * step / 935 + rng.normal(0, 0.05)
        classification = 0.8 * np.exp(-step / 300) + 0.3 + rng.normal(0, 0.03)
        losses = {
            "loss": box + classification,
            "loss/box": box,
            "loss/classification": classification,
        }
        speed = {"images_per_second": 32.0, "memory_mb": 500.0 + step} if with_balance else {}
        gamma = {f"gamma/{group}": 2.0 + step / 935 for group in GROUPS} if with_balance else {}
        lines.append({"kind": "train", "step": step, **losses, "lr": 0.02, **speed, **gamma})
        if step % 180 == 0:
            scores = {m: v and v * (step / 935) ** 0.5 for m, v in result.metrics.items()}
            lines.append({"kind": "evaluation", "step": step, **scores})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _write_statistics(
    path: Path, images: np.ndarray, power: float, rng: np.random.Generator, *, with_norms: bool
) -> None:
    snapshots = []
    for step in (187, 374, 561, 748, 935):
        end = np.clip(0.15 * power + 0.35 * np.log10(images) * step / 935, 0, 1.1)
        ratio = [float(r) for r in np.abs(end + rng.normal(0, 0.03, len(images)))]
        ratio[0] = None  # infinite: no negatives yet
        sums = {"positive": [1.0] * len(ratio), "negative": [1.0] * len(ratio), "ratio": ratio}
        snapshot = {"step": step, "statistics": {"head.loss.statistics": sums}}
        if with_norms:
            snapshot["classifier_norms"] = (1 + np.log10(images) * step / 935).tolist()
        snapshots.append(snapshot)
    path.write_text(json.dumps({"snapshots": snapshots}), encoding="utf-8")


assert set(BY_GROUP) == set(GROUPS)
