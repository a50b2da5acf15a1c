"""Where do numbers go? Lines of JSON always, TensorBoard beside them, gradient sums per class."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from dense_lt.balance.statistics import named_statistics
from dense_lt.engine.run_folder import read_own_json, write_atomically

_logger = logging.getLogger(__name__)

Metrics = Mapping[str, float | None]
"""Name -> number; None where it is undefined."""


class MetricWriter(Protocol):
    """What the recorder hands its numbers to."""

    def write(self, kind: str, step: int, values: Metrics) -> None:
        """Record `values` of `kind` ("train" or "evaluation") after optimizer step `step`."""
        ...

    def close(self) -> None:
        """Write out what is still held back."""
        ...


class JsonLinesWriter:
    """One JSON object a line; what is not a finite number is null."""

    def __init__(self, path: Path, *, done: int = 0) -> None:
        """Go on after optimizer step `done`.

        Lines of later steps are dropped, and with a warning those that cannot be read.
        """
        kept = []
        for number, record in enumerate(read_records(path), start=1):
            if record is None:
                _logger.warning("%s: line %d cannot be read and is left out", path, number)
            elif record["step"] <= done:
                kept.append(json.dumps(record) + "\n")
        write_atomically(path, "".join(kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, kind: str, step: int, values: Metrics) -> None:
        """Add a line and hand it to the operating system at once."""
        finite = {name: _finite(value) for name, value in values.items()}
        self._file.write(json.dumps({"kind": kind, "step": step, **finite}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardWriter:
    """Curves named `train/...` and `evaluation/...`."""

    def __init__(self, folder: Path, *, done: int = 0) -> None:
        """Go on after optimizer step `done`; TensorBoard forgets what it had of later steps."""
        from torch.utils.tensorboard import SummaryWriter  # a second to import, only needed here

        self._writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)

    def write(self, kind: str, step: int, values: Metrics) -> None:
        """Add one point to each curve."""
        for name, value in values.items():
            if value is not None and name != "time":
                self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Write out and close."""
        self._writer.close()


class StatisticsWriter:
    """Gradient sums per class over the run: at evaluations, and between them if asked for."""

    def __init__(self, path: Path, *, done: int = 0) -> None:
        """Go on after optimizer step `done`; snapshots of later steps, if any, are dropped."""
        stored = read_own_json(path, held="the gradient sums of earlier steps").get("snapshots", [])
        self._path = path
        self._snapshots = [snapshot for snapshot in stored if snapshot["step"] <= done]

    def write(
        self, step: int, model: nn.Module, *, classifier_norms: Sequence[float] | None = None
    ) -> None:
        """Add the sums of every loss in `model` after optimizer step `step`, once per step.

        Beside them `classifier_norms` (C,), the lengths of the classes' weights, if there are such.
        """
        if self._snapshots and self._snapshots[-1]["step"] == step:
            return
        statistics = {
            name: {
                "positive": own.positive.tolist(),
                "negative": own.negative.tolist(),
                "ratio": [_finite(value) for value in own.ratio().tolist()],
            }
            for name, own in named_statistics(model).items()
        }
        snapshot: dict[str, object] = {"step": step, "statistics": statistics}
        if classifier_norms is not None:
            snapshot["classifier_norms"] = [_finite(norm) for norm in classifier_norms]
        self._snapshots.append(snapshot)
        write_atomically(self._path, json.dumps({"snapshots": self._snapshots}) + "\n")


def has_evaluation(path: Path, step: int) -> bool:
    """Whether the lines of JSON in `path` hold an evaluation after optimizer step `step`."""
    records = filter(None, read_records(path))
    return any(own["kind"] == "evaluation" and own["step"] == step for own in records)


def read_records(path: Path) -> Iterator[dict[str, Any] | None]:
    """Of whole lines of `path`, None for one that is damaged; none of a last one cut by a crash."""
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        known = (
            isinstance(record, dict) and isinstance(record.get("step"), int) and "kind" in record
        )
        yield record if known else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
