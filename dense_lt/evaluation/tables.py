"""The printed table: metrics down, runs and caps across, in per cent."""

from __future__ import annotations

from collections.abc import Sequence

from dense_lt.evaluation.intervals import Samples
from dense_lt.evaluation.results import EvaluationResult


def format_results(results: Sequence[EvaluationResult]) -> str:
    """What was measured, the table, and the notes, as text for a console.

    Columns are the caps of each result. A row that is undefined everywhere says why.
    """
    columns = [
        (result, cap, metrics)
        for result in results
        for cap, metrics in result.by_max_detections.items()
    ]
    rows = [["", *(result.run or "predictions" for result, _, _ in columns)]]
    kinds = [_kind(result) for result, _, _ in columns]
    if len(set(kinds)) > 1:
        rows.append(["rules", *kinds])
    rows.append(["at most", *(_cap(result, cap) for result, cap, _ in columns)])
    names = dict.fromkeys(name.split("@")[0] for _, _, metrics in columns for name in metrics)
    for name in names:
        cells = [_cell(result, cap, name) for result, cap, _ in columns]
        if all(cell.startswith("n/a (") for cell in cells):  # one explanation is enough
            cells = [cells[0], *("" for _ in cells[1:])]
        rows.append([name, *cells])
    lines = [*dict.fromkeys(_headline(result) for result in results), "", *_align(rows), ""]
    for group in _alike(results):
        lines += format_differences(group)
    notes = dict.fromkeys(
        note for result in results for note in result.notes if " n/a: " not in note
    )
    return "\n".join([*lines, *(f"note: {note}" for note in notes)]).rstrip() + "\n"


def _alike(results: Sequence[EvaluationResult]) -> list[list[EvaluationResult]]:
    """Results by the same protocol and IoU type, in the order of the first of each."""
    groups: dict[tuple[str, str], list[EvaluationResult]] = {}
    for result in results:
        groups.setdefault((result.protocol, result.iou_type), []).append(result)
    return list(groups.values())


def format_differences(results: Sequence[EvaluationResult]) -> list[str]:
    """Differences to the first of `results`, with intervals; nothing where images differ.

    All are by the same protocol and IoU type.
    """
    first, *others = results
    columns = [
        (other, first.samples, other.samples)
        for other in others
        if first.samples and other.samples and first.samples.drawn == other.samples.drawn
    ]
    if not columns:
        return []
    names = list(columns[0][1].values)
    rows = [["", *(_title(other, first) for other, _, _ in columns)]]
    for name in names:
        cells = [
            _difference(name, first.metrics[name], other.metrics[name], reference, own)
            for other, reference, own in columns
        ]
        rows.append([name, *cells])
    title = (
        f"difference to {first.run or 'predictions'} ({first.protocol}, {first.iou_type}), with "
    )
    title += "its 95% interval over images drawn anew; ~ where it may be chance"
    return [title, "", *_align(rows), ""]


def _title(result: EvaluationResult, first: EvaluationResult) -> str:
    name = result.run or "predictions"
    calibration = result.rules.get("calibration", "")
    return f"{name} {calibration}" if calibration and result.run == first.run else name


def _difference(
    name: str, reference: float | None, value: float | None, first: Samples, own: Samples
) -> str:
    if reference is None or value is None:
        return "n/a"
    found = own.difference(name, first, value - reference)
    if found is None:
        return "n/a"
    low, high = found
    mark = "~" if low <= 0 <= high else " "
    return f"{100 * (value - reference):+.2f} [{100 * low:+.2f}, {100 * high:+.2f}] {mark}"


def _kind(result: EvaluationResult) -> str:
    parts = (result.protocol, result.iou_type, result.rules.get("calibration", ""))
    return " ".join(part for part in parts if part)


def _cap(result: EvaluationResult, cap: str) -> str:
    if result.max_detections is None:
        return "no cap"
    return f"{cap} per {result.rules['cap'].rsplit('of one ', 1)[-1]}"


def _cell(result: EvaluationResult, cap: str, name: str) -> str:
    metrics = result.by_max_detections[cap]
    full = name if name in metrics else f"{name}@{cap}"
    value = metrics.get(full)
    if value is not None:
        return f"{100 * value:.2f}{_interval(result, cap, name)}"
    return f"n/a ({result.undefined[name]})"


def _interval(result: EvaluationResult, cap: str, name: str) -> str:
    if result.intervals is None or cap != next(iter(result.by_max_detections)):
        return ""
    found = result.intervals["metrics"].get(name)
    return f" [{100 * found[0]:.2f}, {100 * found[1]:.2f}]" if found else ""


def _headline(result: EvaluationResult) -> str:
    counts = result.counts
    parts = [
        f"protocol {result.protocol}, {result.iou_type}, IoU {result.rules['iou_thresholds']}",
        f"{counts['images']:,} images",
        f"{counts['annotations']:,} objects",
        f"{counts['categories']:,} categories",
    ]
    if counts["categories_by_group"] is not None:
        having, total = counts["categories_with_annotations"], counts["categories_by_group"]
        parts.append(
            "with ground truth: " + ", ".join(f"{having[g]} of {n} {g}" for g, n in total.items())
        )
    if result.intervals is not None:
        parts.append(f"[95% interval over {result.intervals['resamples']:,} draws of the images]")
    if "size_of_a_detection" in result.rules:
        parts.append("size of a detection: " + result.rules["size_of_a_detection"])
    return "; ".join(parts)


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    """First column to the left, numbers to the right; long explanations do not widen a column."""
    widths = [
        max(len(row[column]) for row in rows if not row[column].startswith("n/a ("))
        for column in range(len(rows[0]))
    ]
    return [
        (f"{row[0]:<{widths[0]}}  " + "  ".join(_pad(row[1:], widths[1:]))).rstrip() for row in rows
    ]


def _pad(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
