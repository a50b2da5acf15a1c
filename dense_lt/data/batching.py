"""From samples to a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from dense_lt.data.outlines import Outlines
from dense_lt.data.transforms import Annotated, write_planes
from dense_lt.structures import Batch, ImageBatch, ImageInfo, Masks, Target


class Prepared(NamedTuple):
    """A sample but for its pixels' last step, which is done in their place in the batch."""

    sample: Annotated
    target: Target
    info: ImageInfo


def collate(samples: Sequence[Prepared], *, multiple_of: int) -> Batch:
    """Put images into the top left corners of one tensor, zeros around them.

    Args:
        samples: at least one.
        multiple_of: height and width of the batch are rounded up to a multiple of this.
    """
    sizes = tuple(one.sample.size for one in samples)
    height, width = (
        -(-max(size[axis] for size in sizes) // multiple_of) * multiple_of for axis in (0, 1)
    )
    pixels = _allocate((len(samples), 3, height, width))
    for place, (sample, _, _) in zip(pixels.numpy(), samples, strict=True):
        own_height, own_width = sample.size
        write_planes(sample, place[:, :own_height, :own_width])
        place[:, :own_height, own_width:] = 0
        place[:, own_height:] = 0
    return Batch(
        ImageBatch(pixels, sizes), [one.target for one in samples], [one.info for one in samples]
    )


def _allocate(shape: tuple[int, ...]) -> Tensor:
    """Bytes of any value; in a loader process memory that the training process sees, too.

    Otherwise sending the batch there would copy it once more.
    """
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    shared = torch.UntypedStorage._new_shared(math.prod(shape))  # as torch's own collation does
    return torch.empty(0, dtype=torch.uint8).set_(shared).view(shape)


def to_masks(outlines: Outlines) -> Masks:
    """Outlines as tensors, which share their memory."""
    arrays = (outlines.points, outlines.rings, outlines.objects)
    return Masks(*(torch.as_tensor(array) for array in arrays))


def to_outlines(masks: Masks) -> Outlines:
    """The inverse of `to_masks`; on the CPU."""
    return Outlines(masks.points.numpy(), masks.rings.numpy(), masks.objects.numpy())
