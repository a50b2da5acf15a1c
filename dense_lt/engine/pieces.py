"""Into how many pieces is a batch cut, and how many does it take to fit into memory?"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence

import torch
from torch import nn

from dense_lt.balance.statistics import discard_all
from dense_lt.structures import Batch, ImageBatch, Losses
from dense_lt.utils import distributed
from dense_lt.utils.faults import is_out_of_memory
from dense_lt.utils.seeding import random_states, restore_random_states

_logger = logging.getLogger(__name__)

Attempt = Callable[[int], Losses]
"""Leaves the gradient of a batch, cut into so many pieces, in the parameters."""


def split_batch(batch: Batch, pieces: int) -> Sequence[Batch]:
    """Cut `batch` into `pieces` equal runs of images; the padding stays that of the whole."""
    if pieces == 1:
        return [batch]
    images, targets, infos = batch
    assert len(infos) % pieces == 0, f"{len(infos)} images cannot be cut into {pieces} pieces"
    size = len(infos) // pieces
    cuts = [slice(start, start + size) for start in range(0, len(infos), size)]
    return [
        Batch(ImageBatch(images.pixels[cut], images.sizes[cut]), targets[cut], infos[cut])
        for cut in cuts
    ]


def more_pieces(pieces: int, images: int) -> int | None:
    """The next number of equal pieces of `images`, at least twice `pieces`; None: there is none."""
    return next((n for n in range(2 * pieces, images + 1) if images % n == 0), None)


class MemoryFit:
    """As few pieces as fit into the memory of the GPU: 1, and more whenever a step does not fit.

    A step that runs out of memory is made again from the same state: gradients, buffers (gradient
    statistics and batch normalisation among them) and random numbers are as they were before it.
    So it gives what it would have given had the number been set from the start.

    Where several processes exchange numbers in the middle of a step, one of them cannot start over
    while the others wait for it. They rehearse instead, each by itself: the first step; the second,
    when the optimizer has made its state; and every batch that is larger than all before.

    Attributes:
        pieces: in use now; stored in checkpoints, so that a resumed run begins with it.
    """

    def __init__(self, detector: nn.Module, *, pieces: int = 1) -> None:
        """Watch over steps of `detector`, from `pieces` on."""
        self.pieces = pieces
        self._detector = detector
        self._rehearsals = 0
        self._largest = 0

    def __call__(self, images: int, attempt: Attempt) -> Losses:
        """What `attempt` gives with the number of pieces that fits.

        Args:
            images: of the batch; the most pieces there can be.
            attempt: is told the number, and called again with another one if memory runs out.

        Raises:
            RuntimeError: a single image does not fit, or anything else that `attempt` raises.
        """
        before = _State(self._detector)
        while True:
            try:
                return attempt(self.pieces)
            except (RuntimeError, MemoryError) as error:
                more = more_pieces(self.pieces, images) if is_out_of_memory(error) else None
                if more is None:
                    raise
            # Only here, where the error is gone, nothing holds the tensors of the attempt any more.
            before.restore()
            gc.collect()
            torch.cuda.empty_cache()  # what is free lies in blocks of the wrong sizes
            _logger.info(
                "out of memory with %d images in %d piece(s); going on with %d pieces",
                images,
                self.pieces,
                more,
            )
            self.pieces = more

    def rehearse(self, batch: Batch, attempt: Attempt) -> None:
        """Find the number that fits in all processes, if this batch might need another one.

        Every process must call it together.
        """
        pixels = batch.images.pixels
        size = torch.tensor(pixels.numel(), device=pixels.device)
        largest = int(distributed.max_over_processes(size))
        if self._rehearsals >= 2 and largest <= self._largest:
            return
        self._rehearsals += 1
        self._largest = max(largest, self._largest)
        before = _State(self._detector)
        with distributed.alone():
            self(len(batch.infos), attempt)
        before.restore()
        needed = torch.tensor(self.pieces, device=pixels.device)
        self.pieces = int(distributed.max_over_processes(needed))


class _State:
    """What a forward and backward pass changes; parameters have no gradient before a step."""

    def __init__(self, detector: nn.Module) -> None:
        self._detector = detector
        self._buffers = [buffer.clone() for buffer in detector.buffers()]
        self._random_states = random_states()

    @torch.no_grad()
    def restore(self) -> None:
        self._detector.zero_grad(set_to_none=True)
        discard_all(self._detector)  # and the count of that, a buffer, is put back with the others
        for buffer, stored in zip(self._detector.buffers(), self._buffers, strict=True):
            buffer.copy_(stored)
        restore_random_states(self._random_states)
