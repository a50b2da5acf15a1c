"""From a module in Python to a program: torch.export, with sizes left open or not."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from dense_lt.structures import Size
from dense_lt.utils.errors import ConfigError

MOST_IMAGES = 4096
"""A program takes batches of 1 to so many images."""

LONGEST_SIDE = 16384
"""Pixels."""

TALKATIVE = ("onnx_ir", "torch.__trace")
"""Loggers of the exporters."""


def trace(
    module: nn.Module, size: Size, multiple_of: int | None, stride: int = 1
) -> ExportedProgram:
    """The program of `module`, which takes pixels (B, 3, H, W) and sizes (B, 2), for any B.

    Args:
        module: in evaluation mode, on the CPU.
        size: height and width of the images that it is traced with.
        multiple_of: sides that this number divides are accepted; None fixes them to `size`.
        stride: of the coarsest map; sides are longer, as a map of one cell would be a constant.

    Raises:
        ConfigError: torch.export cannot follow the module.
    """
    shapes = {"pixels": {0: Dim("images", min=1, max=MOST_IMAGES)}}
    if multiple_of is not None:
        limits = {"min": least_side(multiple_of, stride) // multiple_of}
        limits["max"] = LONGEST_SIDE // multiple_of
        height, width = (Dim(f"{name}_cells", **limits) for name in ("height", "width"))
        shapes["pixels"] |= {2: multiple_of * height, 3: multiple_of * width}
    shapes["sizes"] = {0: shapes["pixels"][0]}
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(
                module, trial_images(2, size), dynamic_shapes=shapes, strict=False
            )
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        mend = (
            "; its images may need a fixed size: give --size HEIGHT WIDTH"
            if multiple_of is not None
            else f" at {size[0]} x {size[1]} pixels; try another --size or backbone"
        )
        raise ConfigError(f"torch.export cannot follow this detector{mend} ({reason})") from error


def trial_images(count: int, size: Size) -> tuple[Tensor, Tensor]:
    """Pixels (B, 3, H, W) uint8 and sizes (B, 2): blocks of all sizes; later images are padded."""
    generator = torch.Generator().manual_seed(count)
    height, width = size
    pixels = torch.zeros(count, 3, height, width)
    for side in (64, 32, 16, 8, 4):
        cells = (-(-height // side), -(-width // side))
        blocks = torch.rand(count, 3, *cells, generator=generator)
        blocks = blocks.repeat_interleave(side, 2).repeat_interleave(side, 3)
        pixels += 51 * blocks[..., :height, :width]
    filled = [(height - i * height // 8, width - i * width // 5) for i in range(count)]
    for image, (rows, columns) in zip(pixels, filled, strict=True):
        image[:, rows:] = 0
        image[..., columns:] = 0
    return pixels.to(torch.uint8), torch.tensor(filled)


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporters say of their own insides."""
    levels = {name: logging.getLogger(name).level for name in TALKATIVE}
    try:
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def least_side(multiple_of: int, stride: int) -> int:
    """The first multiple with which the coarsest map, of `stride`, has two cells."""
    return (stride // multiple_of + 1) * multiple_of


def trial_sizes(multiple_of: int, stride: int = 1) -> Sequence[Size]:
    """Two sizes that `multiple_of` divides at least twice, and of two cells of `stride` or more."""
    sides = max(128, 2 * stride), max(192, 3 * stride)
    height, width = (max(2, -(-side // multiple_of)) for side in sides)
    sizes = ((height, width + 1), (height + 1, width))
    return [(rows * multiple_of, columns * multiple_of) for rows, columns in sizes]
