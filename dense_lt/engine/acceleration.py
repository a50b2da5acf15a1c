"""Ways to make the same step faster, or the same over several GPUs."""

from __future__ import annotations

import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch import nn

from dense_lt.utils import distributed
from dense_lt.utils.errors import ConfigError

COMPILED = ("pyramid", "head", "proposals.head")
"""Parts of a detector that are only tensors in, tensors out."""


def compile_parts(detector: nn.Module, *, backend: str = "inductor") -> list[str]:
    """Let torch.compile translate backbone, pyramid and dense heads when they first run.

    What picks and counts objects (assignment, sampling, suppression, the loss, which has kernels
    of its own) stays as it is: its shapes change with every image.

    Returns:
        The names of the parts.
    """
    parts = {name: part for name, part in detector.named_modules() if name in COMPILED}
    if "proposals" in dict(detector.named_children()):
        parts.pop("head", None)  # of regions: it pools a number of them that changes
    for part in parts.values():
        part.compile(backend=backend)
    return sorted(parts)


def synchronise_batch_norm(detector: nn.Module, device: torch.device) -> nn.Module:
    """`detector` whose batch normalisation sees the images of all processes.

    Raises:
        ConfigError: there are several processes, but not on GPUs, where alone torch can do this.
    """
    if not distributed.is_distributed():
        return detector
    if device.type != "cuda":
        raise ConfigError(
            "train.sync_batch_norm: true needs a GPU for each process; set it to false, or "
            "model.backbone.norm to group or frozen, which do not depend on the batch"
        )
    return convert_sync_batchnorm(detector)
