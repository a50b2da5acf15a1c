"""What each experiment costs, beside what it reaches; and in what one- and two-stage are equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from dense_lt.report.comparison import BY_GROUP, Comparison, Experiment
from dense_lt.report.document import Block, Bullets, Cell, Paragraph, Section, Table
from dense_lt.report.runs import Run
from dense_lt.report.settings import MASKS_KEY
from dense_lt.report.tables import NOT_AVAILABLE, percent

_EVALUATE_AGAIN = "the run was evaluated before this was saved; `dense-lt eval RUN` saves it anew"
_NO_LINES = "the run has no metrics.jsonl that says so"


@dataclass(frozen=True)
class CostKind:
    """One kind of cost."""

    title: str
    of_run: Callable[[Run], float | None]
    shown: Callable[[float], str]
    why_not: str

    def value(self, experiment: Experiment) -> float | None:
        """Mean over the runs that know it."""
        known = [own for own in map(self.of_run, experiment.runs) if own is not None]
        return fmean(known) if known else None


def training_seconds(run: Run) -> float | None:
    """Time that the training steps took, waiting for data included, evaluations not.

    Every log line tells how many images a second were trained since the line before.
    """
    batch = ((run.config or {}).get("train") or {}).get("batch_size")
    speeds = {line["step"]: line.get("images_per_second") for line in run.train_lines}
    if batch is None or not speeds or not all(speeds.values()):
        return None
    steps = sorted(speeds)
    pieces = zip([0, *steps], steps, strict=False)
    return sum((step - before) * batch / speeds[step] for before, step in pieces)


def peak_memory(run: Run) -> float | None:
    """Largest memory while training, in MiB."""
    found = [line["memory_mb"] for line in run.train_lines if line.get("memory_mb")]
    return max(found, default=None)


COSTS = {
    "parameters": CostKind(
        "parameters, million",
        lambda run: run.cost.get("parameters"),
        lambda value: f"{value / 1e6:.2f}",
        _EVALUATE_AGAIN,
    ),
    "flops": CostKind(
        "GFLOPs an image",
        lambda run: run.cost.get("flops"),
        lambda value: f"{value / 1e9:.3g}",
        _EVALUATE_AGAIN,
    ),
    "seconds_per_image": CostKind(
        "inference, ms an image",
        lambda run: run.results.seconds_per_image,
        lambda value: f"{1000 * value:.3g}",
        "the scores were made from a predictions file, or before this was saved",
    ),
    "training_seconds": CostKind(
        "training, minutes", training_seconds, lambda value: f"{value / 60:.1f}", _NO_LINES
    ),
    "peak_memory_mb": CostKind(
        "peak memory in training, MiB", peak_memory, lambda value: f"{value:.0f}", _NO_LINES
    ),
}

_EQUAL = {
    "sampler": ("data.sampler.",),
    "data": ("data.", "result.classes"),
    "backbone": ("model.backbone.",),
    "schedule": ("schedule.", "train.steps", "train.epochs", "train.batch_size", "result.step"),
    "optimizer": ("optimizer.",),
    "evaluation": ("evaluation.", "result.protocol", "result.rules", "result.max_detections"),
    "machine": ("environment.device", "environment.threads"),
}
"""What a fair comparison of detectors keeps equal -> its settings; the first that fits counts."""


def cost_section(comparison: Comparison) -> Section:
    """Accuracy and cost, one column per experiment; what is missing, and why."""
    labels = [experiment.label for experiment in comparison.experiments]
    cap = comparison.caps[0]
    rows = [_facts("detector", comparison, _detector), _facts("machine", comparison, _machine)]
    rows += [
        (
            Cell(metric, "%"),
            *(Cell(percent(e.estimate(metric, cap).mean)) for e in comparison.experiments),
        )
        for metric in ("AP", *BY_GROUP.values())
    ]
    reasons: list[str] = []
    for kind in COSTS.values():
        values = [kind.value(experiment) for experiment in comparison.experiments]
        cells = [Cell(NOT_AVAILABLE if v is None else kind.shown(v)) for v in values]
        rows.append((Cell(kind.title), *cells))
        missing = [label for label, v in zip(labels, values, strict=True) if v is None]
        if missing:
            who = "" if len(missing) == len(labels) else f" ({', '.join(missing)})"
            reasons.append(f"{kind.title} {NOT_AVAILABLE}{who}: {kind.why_not}.")
    table = Table(("", *labels), tuple(rows), label="Cost beside accuracy")
    blocks: list[Block] = [table.turned() if comparison.has_many else table]
    blocks += [Bullets(tuple(reasons))] if reasons else []
    blocks.append(Paragraph(_how_to_read(comparison)))
    kinds = {_kind(experiment.runs[0]) for experiment in comparison.experiments}
    both = {"one_stage", "two_stage"} <= kinds
    if len(comparison.experiments) > 1:
        blocks.append(Paragraph(_equality(comparison, both=both), is_warning=False))
    title = "One-stage against two-stage: cost beside accuracy" if both else "Cost beside accuracy"
    return Section("cost", title, tuple(blocks))


def _facts(name: str, comparison: Comparison, of_run: Callable[[Run], str]) -> tuple[Cell, ...]:
    return (Cell(name), *(Cell(of_run(e.runs[0])) for e in comparison.experiments))


def _kind(run: Run) -> str:
    return str(((run.config or {}).get("model") or {}).get("kind", ""))


def _detector(run: Run) -> str:
    model = (run.config or {}).get("model") or {}
    backbone = (model.get("backbone") or {}).get("name", "")
    kind = _kind(run).replace("_", "-")
    return ", ".join(part for part in (kind, backbone) if part) or NOT_AVAILABLE


def _machine(run: Run) -> str:
    device, threads = run.environment.get("device"), run.environment.get("threads")
    if device is None:
        return NOT_AVAILABLE
    if device != "cpu" or not threads:
        return str(device)
    return f"cpu, {threads} thread{'s' * (threads > 1)}"


def _how_to_read(comparison: Comparison) -> str:
    sizes = {
        tuple(run.cost["input_size"])
        for experiment in comparison.experiments
        for run in experiment.runs
        if run.cost.get("input_size")
    }
    shown = ", ".join(f"{height} x {width}" for height, width in sorted(sizes))
    at = f" (first validation image, {shown} pixels with padding)" if sizes else ""
    return (
        f"FLOPs are those of one image{at}, a multiply-add counted twice, convolutions and matrix "
        "products only. Seconds are the machine's, data loading and suppression included; memory "
        "is the GPU's where there is one, else the process's."
    )


def _equality(comparison: Comparison, *, both: bool) -> str:
    """Which parts of a fair comparison are equal, and which settings make others differ."""
    if unknown := [e.label for e in comparison.experiments if e.runs[0].config is None]:
        return (
            f"Whether sampler, schedule and the like were equal is not known: {', '.join(unknown)} "
            "has no stored settings."
        )
    differing: dict[str, list[str]] = {part: [] for part in _EQUAL}
    for difference in comparison.settings:
        parts = [part for part, own in _EQUAL.items() if difference.key.startswith(own)]
        part = parts[0] if parts else ""
        counts = difference.kind != "machine" or difference.key == MASKS_KEY
        if part and (part == "machine" or counts):
            differing[part].append(difference.key)
    equal = [part for part, keys in differing.items() if not keys]
    unequal = [f"{part} ({', '.join(keys)})" for part, keys in differing.items() if keys]
    text = "One-stage and two-stage" if both else "The experiments"
    first = f"{text} have in common: {', '.join(equal) or 'nothing of what was looked at'}."
    return first if not unequal else f"{first} They differ in: {'; '.join(unequal)}."
