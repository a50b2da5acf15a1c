"""What is wrong with the rows of a CSV file: all are counted, some kept with their lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.csv_files import lines_of
from dense_lt.data.faults import Fault

KEPT = 20
"""Rows of one kind that are told with line and value; of more, only the number."""


@dataclass(frozen=True)
class Rule:
    """One way in which a row can be wrong; see `Fault` for the meaning of the fields."""

    field: str
    problem: str
    mend: str
    droppable: bool = False


@dataclass
class Findings:
    """Rows of one file that break rules."""

    path: Path
    _kept: dict[Rule, list[tuple[int, object]]] = field(default_factory=dict)
    _counts: dict[Rule, int] = field(default_factory=dict)

    def add(self, rule: Rule, rows: NDArray[np.int64], values: NDArray[np.generic]) -> None:
        """Note that `rows` (n,) of the file break a rule with `values` (n, ...)."""
        if not len(rows):
            return
        kept = self._kept.setdefault(rule, [])
        free = KEPT - len(kept)
        kept += zip(rows[:free].tolist(), values[:free].tolist(), strict=True)
        self._counts[rule] = self._counts.get(rule, 0) + len(rows)

    @property
    def total(self) -> int:
        """Broken rows, counted once for every rule."""
        return sum(self._counts.values())

    def faults(self) -> list[Fault]:
        """Kept rows in the order of the file, each with its line, then the number of the others."""
        kept = [(row, value, rule) for rule, own in self._kept.items() for row, value in own]
        kept.sort(key=lambda one: one[0])
        lines = lines_of(self.path, [row for row, *_ in kept]) if kept else []
        faults = [
            self._fault(f"line {line}", rule, value)
            for line, (_, value, rule) in zip(lines, kept, strict=True)
        ]
        more = {rule: count - len(self._kept[rule]) for rule, count in self._counts.items()}
        return faults + [
            self._fault(f"{count:,} further lines", rule, "like that")
            for rule, count in more.items()
            if count
        ]

    @staticmethod
    def _fault(where: str, rule: Rule, value: object) -> Fault:
        return Fault(where, rule.field, value, rule.problem, rule.mend, droppable=rule.droppable)
