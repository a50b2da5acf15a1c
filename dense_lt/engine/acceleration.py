"""Ways to make the same step faster, or the same over several GPUs."""

from __future__ import annotations

import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch import nn

from dense_lt.utils import distributed
from dense_lt.utils.errors import ConfigError

COMPILED = ("pyramid", "head", "proposals.head")
"""Parts of a detector that are only tensors in, tensors out."""


def compile_parts(
    detector: nn.Module, *, backend: str = "inductor", cuda_graphs: bool = False
) -> list[str]:
    """Let torch.compile translate backbone, pyramid and dense heads when they first run.

    What picks and counts objects (assignment, sampling, suppression, the loss, which has kernels
    of its own) stays as it is: its shapes change with every image.

    Args:
        detector: on its device.
        backend: of torch.compile.
        cuda_graphs: record what is compiled as CUDA graphs, one for each size of images.

    Returns:
        The names of the parts.

    Raises:
        ConfigError: `cuda_graphs` without a GPU.
    """
    if cuda_graphs and not _is_on_gpu(detector):
        raise ConfigError(
            "train.compile: reduce-overhead records CUDA graphs and needs a GPU; set it to true, "
            "which compiles for a CPU too, or to false"
        )
    # A graph has fixed addresses, so it wants fixed sizes: each is compiled by itself.
    options = {"mode": "reduce-overhead", "dynamic": False} if cuda_graphs else {}
    parts = {name: part for name, part in detector.named_modules() if name in COMPILED}
    if "proposals" in dict(detector.named_children()):
        parts.pop("head", None)  # of regions: it pools a number of them that changes
    for part in parts.values():
        part.compile(backend=backend, **options)
    return sorted(parts)


def _is_on_gpu(detector: nn.Module) -> bool:
    return next(detector.parameters()).device.type == "cuda"


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
