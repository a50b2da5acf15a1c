"""Long-tailed object detection: dense detectors, equalization losses, shared statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dense_lt.inference.build import load_run as load_run


def __getattr__(name: str) -> object:
    """`dense_lt.load_run`, found late: scoring imports this package and must not import torch."""
    if name == "load_run":
        from dense_lt.inference.build import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
