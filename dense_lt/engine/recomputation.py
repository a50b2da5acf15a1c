"""Memory for time: the backbone's activations are made again in the backward pass, not kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from dense_lt.utils.errors import ConfigError


def recompute_activations(detector: nn.Module) -> list[str]:
    """Let every block of the backbone keep nothing but its input.

    The second forward pass of a block has the random numbers of the first, and does not move the
    running averages of batch normalisation again. (timm's `set_grad_checkpointing` would move them
    twice, and keeps one whole stage after the other.)

    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".

    Args:
        detector: with the backbone as `pyramid.backbone`.

    Returns:
        The names of the blocks.

    Raises:
        ConfigError: the backbone has no blocks that could be told.
    """
    backbone = detector.get_submodule("pyramid.backbone")
    blocks = dict(_blocks(backbone))
    if not blocks:
        raise ConfigError(
            f"train.activation_checkpointing: true, but {getattr(backbone, 'name', 'the backbone')}"
            " has no numbered blocks (as `layer1.0` or `stages.0.blocks.0`) that could be run "
            "again; set it to false, and save memory with train.micro_batches"
        )
    for block in blocks.values():
        block.forward = partial(_run, block, block.forward)
    return list(blocks)


def _blocks(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The outermost elements of lists that consist of modules and are not lists themselves."""
    lists = (nn.Sequential, nn.ModuleList)
    for key, child in module.named_children():
        if type(module) in lists and type(child) not in lists and len(list(child.children())):
            yield name + key, child
        else:
            yield from _blocks(child, f"{name}{key}.")


def _run(block: nn.Module, forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return forward(*inputs, **options)
    contexts = partial(_contexts, block)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **options)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Around the first forward pass of a block, and around the second."""
    return nullcontext(), _averages_set_aside(block)


@contextmanager
def _averages_set_aside(block: nn.Module) -> Iterator[None]:
    """Inside, batch normalisation writes its running averages into copies."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        for name, buffer in buffers.items():
            setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
