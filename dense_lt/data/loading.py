"""Loader processes: batches in a fixed order, and what happens when an image is bad."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal, NamedTuple
from weakref import WeakSet

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from dense_lt.data.batching import Prepared, collate, to_masks, to_outlines
from dense_lt.data.dataset import DetectionDataset
from dense_lt.data.images import BadImageError
from dense_lt.data.outlines import Outlines
from dense_lt.data.sampling import Draw
from dense_lt.data.workers import WatchedLoader
from dense_lt.structures import Batch, Masks, Target
from dense_lt.utils.children import heed_only_parent
from dense_lt.utils.errors import ConfigError, DataError, MachineError

logger = logging.getLogger(__name__)

BadImages = Literal["error", "replace", "leave_out"]
"""What to do about an image that cannot be used: stop; take a random good one of the data set in
its place (training); go on without it (validation)."""

SUBSTITUTE = 4
"""Last part of a random key: which images take the place of a bad one."""


_TOLD: WeakSet[DetectionDataset] = WeakSet()
"""Data sets of which a doubt was logged: each epoch of validation has a loader of its own."""


class _Fetched(NamedTuple):
    """What comes out of a loader process."""

    batch: Batch | None  # None: every image of it was bad
    bad: tuple[str, ...]  # what was wrong with images that were skipped
    error: ConfigError | DataError | MachineError | None = None
    """Raised where the loop runs, without a traceback."""

    doubt: str | None = None
    """See `DetectionDataset.doubt`."""


class _Fetcher:
    """Makes whole batches in a loader process."""

    def __init__(
        self, dataset: DetectionDataset, bad_images: BadImages, seed: int, multiple_of: int
    ) -> None:
        self._dataset = dataset
        self._bad_images = bad_images
        self._seed = seed
        self._multiple_of = multiple_of

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitems__(self, draws: list[Draw]) -> _Fetched:
        samples: list[Prepared] = []
        bad: list[str] = []
        for draw in draws:
            try:
                sample = self._fetch(draw, bad)
            except (ConfigError, DataError, MachineError) as error:
                return _Fetched(None, tuple(bad), error.with_traceback(None))
            if sample is not None:
                samples.append(sample)
        if not samples:
            return _Fetched(None, tuple(bad))
        batch = collate(samples, multiple_of=self._multiple_of)
        batch = batch._replace(targets=_as_arrays(batch.targets))
        return _Fetched(batch, tuple(bad), doubt=self._dataset.doubt)

    def _fetch(self, draw: Draw, bad: list[str]) -> Prepared | None:
        for index in self._candidates(draw):
            try:
                return self._dataset.prepare(replace(draw, index=index))
            except BadImageError as error:
                if self._bad_images == "error":
                    hint = "data.on_bad_image=skip goes on without such images"
                    raise BadImageError(f"{error} ({hint})") from error
                bad.append(str(error))
        if self._bad_images == "replace":
            raise DataError(f"{self._dataset.table.source}: not one of its images can be used")
        return None

    def _candidates(self, draw: Draw) -> Iterator[int]:
        """The image of `draw`; to replace it all others, in an order of this position's own.

        The nearest good image would come in place of a whole block of bad ones.
        """
        yield draw.index
        if self._bad_images == "replace":
            random = np.random.default_rng((self._seed, draw.position, SUBSTITUTE))
            others = random.permutation(len(self._dataset))
            yield from others[others != draw.index].tolist()


class BatchLoader:
    """Yields the batches of `batches`, in order, made by `workers` processes.

    Args:
        dataset: where samples come from.
        batches: the draws of every batch.
        workers: processes; 0 works in this one.
        bad_images: what to do about images that cannot be used.
        seed: with a sample's position, decides which image takes a bad one's place.
        multiple_of: height and width of a batch are padded to a multiple of this.
        prefetch: batches that each process makes ahead.

    Attributes:
        skipped: what was wrong with each bad image that was met so far, once each.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        batches: Iterable[list[Draw]],
        *,
        workers: int,
        bad_images: BadImages,
        seed: int = 0,
        multiple_of: int,
        prefetch: int = 2,
    ) -> None:
        self.skipped: dict[str, None] = {}
        loader: DataLoader[Any] = DataLoader(
            _Fetcher(dataset, bad_images, seed, multiple_of),  # type: ignore[arg-type]
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=_identity,
            worker_init_fn=_start_worker,
            persistent_workers=workers > 0,
            prefetch_factor=prefetch if workers else None,
            pin_memory=torch.cuda.is_available(),
        )
        self._watched = WatchedLoader(loader)
        self._dataset = dataset
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        """Iterate once.

        Raises:
            ConfigError, DataError: a transform fails, or an image is bad and that is an error.
            MachineError: a loader process died, memory ran out, or the images are gone.
        """
        for fetched in self._watched:
            for message in fetched.bad:
                if message not in self.skipped:
                    self.skipped[message] = None
                    logger.warning("skipped (%d so far): %s", len(self.skipped), message)
            if fetched.doubt and self._dataset not in _TOLD:
                _TOLD.add(self._dataset)
                logger.warning("%s", fetched.doubt)
            if fetched.error is not None:
                raise fetched.error
            if fetched.batch is not None:
                yield fetched.batch._replace(targets=_as_tensors(fetched.batch.targets))

    def __len__(self) -> int:
        """Number of batches, where it is finite."""
        return len(self._batches)  # type: ignore[arg-type]


def _as_arrays(targets: list[Target]) -> list[Any]:
    """Tensors as arrays, which are sent by value.

    A tensor would be sent as an open file, and two for every image of every batch that waits are
    soon more than a process may have.
    """
    return [{name: _to_array(value) for name, value in target.items()} for target in targets]


def _as_tensors(targets: list[Any]) -> list[Any]:
    return [{name: _to_tensor(value) for name, value in target.items()} for target in targets]


def _to_array(value: Any) -> Any:
    return to_outlines(value) if isinstance(value, Masks) else value.numpy()


def _to_tensor(value: Any) -> Any:
    return to_masks(value) if isinstance(value, Outlines) else torch.as_tensor(value)


def _identity(fetched: Any) -> Any:
    return fetched


def _start_worker(_number: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)  # OpenCV's threads do not survive a fork
    heed_only_parent()  # Ctrl-C is the main process's to answer
