"""A step that went wrong, once more under observation: where is the first bad number made?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dense_lt.engine.pieces import split_batch
from dense_lt.models.detector import Detector
from dense_lt.structures import Batch

SHOWN = 5


class Magnitude(NamedTuple):
    """Largest absolute number of a tensor, or of the tensors that a module returns."""

    name: str
    value: float  # nan or inf where one of the numbers is

    def __str__(self) -> str:
        return f"{self.name} {self.value:.3g}"


@dataclasses.dataclass
class Replay:
    """What was seen; every list in the order in which it was computed."""

    losses: dict[str, float] = dataclasses.field(default_factory=dict)
    outputs: list[Magnitude] = dataclasses.field(default_factory=list)  # of modules
    gradients: list[Magnitude] = dataclasses.field(default_factory=list)  # of parameters
    weights: list[Magnitude] = dataclasses.field(default_factory=list)

    @property
    def is_finite(self) -> bool:
        """Whether losses and gradients are: then the step could be made."""
        values = [*self.losses.values(), *(own.value for own in self.gradients)]
        return all(map(math.isfinite, values))

    def lines(self) -> list[str]:
        """For the console: where it begins, then what is largest."""
        losses = ", ".join(f"{name} {value:.6g}" for name, value in self.losses.items())
        return [
            f"weights: {_first_bad(self.weights, 'is')}",
            f"forward: {_first_bad(self.outputs, 'returns')}",
            f"losses: {losses}",
            f"backward: {_first_bad(self.gradients, 'gets')}",
            f"largest weights: {_largest(self.weights)}",
            f"largest outputs: {_largest(self.outputs)}",
            f"largest gradients: {_largest(self.gradients)}",
        ]


def replay(
    detector: Detector, batch: Batch, *, precision: str = "fp32", micro_batches: int = 1
) -> Replay:
    """Forward and backward of `batch`, watched; nothing is changed but the gradients.

    Args:
        detector: on the device of `batch`, with the weights before the step.
        batch: of the failed step.
        precision: of training.
        micro_batches: of training; the batch is cut alike.
    """
    found = Replay(weights=[_magnitude(name, p) for name, p in detector.named_parameters()])
    device = batch.images.pixels.device
    detector.train()
    with ExitStack() as hooks:
        for name, module in detector.named_modules():
            if name:
                hooks.callback(module.register_forward_hook(_watch(name, found)).remove)
        for name, parameter in detector.named_parameters():
            if parameter.requires_grad:
                handle = parameter.register_hook(_watch_gradient(name, found))
                hooks.callback(handle.remove)
        for piece in split_batch(batch, micro_batches):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                losses = detector(piece.images, piece.targets)
            torch.stack(list(losses.values())).sum().backward()
            for name, loss in losses.items():
                found.losses[name] = found.losses.get(name, 0.0) + loss.item() / micro_batches
    return found


def _watch(name: str, found: Replay) -> Callable[[nn.Module, object, object], None]:
    def hook(module: nn.Module, inputs: object, output: object) -> None:
        tensors = [own for own in _tensors(output) if own.is_floating_point() and own.numel()]
        if tensors:
            largest = torch.stack([own.detach().abs().max().double() for own in tensors]).max()
            label = f"{name} ({type(module).__name__})"
            found.outputs.append(Magnitude(label, largest.item()))

    return hook


def _watch_gradient(name: str, found: Replay) -> Callable[[Tensor], None]:
    def hook(gradient: Tensor) -> None:
        found.gradients.append(_magnitude(name, gradient))

    return hook


def _magnitude(name: str, tensor: Tensor) -> Magnitude:
    return Magnitude(name, tensor.detach().abs().max().item() if tensor.numel() else 0.0)


def _tensors(value: object) -> Iterator[Tensor]:
    """All tensors in nested sequences, mappings and data classes."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for own in value.values():
            yield from _tensors(own)
    elif isinstance(value, list | tuple):
        for own in value:
            yield from _tensors(own)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name))


def _first_bad(magnitudes: list[Magnitude], verb: str) -> str:
    bad = [own for own in magnitudes if not math.isfinite(own.value)]
    if not bad:
        return f"all {len(magnitudes)} finite"
    return f"{bad[0].name} {verb} {bad[0].value}, the first of {len(bad)} in {len(magnitudes)}"


def _largest(magnitudes: list[Magnitude]) -> str:
    finite = [own for own in magnitudes if math.isfinite(own.value)]
    ordered = sorted(finite, key=lambda own: own.value, reverse=True)
    return ", ".join(map(str, ordered[:SHOWN])) or "none is finite"
