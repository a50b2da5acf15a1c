"""How the faults of an annotation file are told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dense_lt.utils.errors import DataError

MAX_LISTED = 8
"""Faults that an error message spells out; `dense-lt data check` lists all."""

MAX_VALUE_LENGTH = 80


@dataclass(frozen=True, slots=True)
class Fault:
    """One place where a file breaks a rule.

    Attributes:
        where: such as "annotation 8812 of image 57".
        field: the key with the fault.
        value: what stands there.
        problem: what is wrong, or what is allowed.
        mend: what the user can do.
        fatal: the file cannot be used as it is; otherwise it can, but should be looked at.
        droppable: `data.drop_invalid_boxes` mends it.
        skippable: `data.on_bad_image=skip` leaves the image out whenever its masks are needed.
    """

    where: str
    field: str
    value: object
    problem: str
    mend: str
    fatal: bool = True
    droppable: bool = False
    skippable: bool = False

    @property
    def kind(self) -> tuple[str, str, str]:
        """Faults of one kind differ in places and numbers only: (entry, field, problem)."""
        return self.where.split()[0], self.field, re.sub(r"-?\d+(\.\d+)?", "#", self.problem)

    def __str__(self) -> str:
        value = repr(self.value)
        if len(value) > MAX_VALUE_LENGTH:
            value = value[:MAX_VALUE_LENGTH] + "..."
        return f"{self.where}: `{self.field}` is {value}: {self.problem}; {self.mend}"


def raise_faults(source: str, faults: Sequence[Fault]) -> None:
    """Raise one error for all `faults`, if there are any.

    Raises:
        DataError: lists one of every kind, then the first others, and says how many there are.
    """
    if not faults:
        return
    lines = [f"  {fault}" for fault in _most_telling(faults)[:MAX_LISTED]]
    if len(faults) > MAX_LISTED:
        lines.append(f"  ... and {len(faults) - MAX_LISTED} more; `dense-lt data check` lists all")
    if any(fault.droppable for fault in faults):
        lines.append(
            "Set data.drop_invalid_boxes=true to leave boxes without area or outside their image "
            "out, and to clip those that reach out of it."
        )
    if any(fault.skippable for fault in faults):
        lines.append(
            "Set data.on_bad_image=skip to leave out images whose masks cannot be decoded."
        )
    noun = "fault" if len(faults) == 1 else "faults"
    raise DataError(f"{source}: {len(faults)} {noun}:\n" + "\n".join(lines))


def tolerate(faults: Sequence[Fault], *, drop_invalid_boxes: bool, skip: bool) -> list[Fault]:
    """The same, but not fatal where `data.drop_invalid_boxes` or `on_bad_image=skip` mends them."""
    return [
        replace(fault, fatal=False)
        if (fault.droppable and drop_invalid_boxes) or (fault.skippable and skip)
        else fault
        for fault in faults
    ]


def summarize(faults: Sequence[Fault]) -> list[str]:
    """How many faults of each kind there are, the most frequent first."""
    counts = Counter(fault.kind for fault in faults)
    return [
        f"{count:,} x {entry} `{field}`: {problem}"
        for (entry, field, problem), count in counts.most_common()
    ]


def _most_telling(faults: Sequence[Fault]) -> list[Fault]:
    """The first of every kind, then the others: a thousand of one kind hide no other."""
    firsts: dict[tuple[str, str, str], Fault] = {}
    others = [fault for fault in faults if firsts.setdefault(fault.kind, fault) is not fault]
    return [*firsts.values(), *others]
