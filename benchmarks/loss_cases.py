"""What the loss benchmarks compare: inputs, the plain eager formula, and our own calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dense_lt.balance.modulation import EqualizedFocal
from dense_lt.ops.matching import BACKGROUND, IGNORE
from dense_lt.ops.sigmoid_loss.arguments import Modulation
from dense_lt.ops.sigmoid_loss.function import modulated_sigmoid_loss
from dense_lt.ops.sigmoid_loss.fused_head import fused_head_loss

Call = Callable[[], object]


@dataclass
class Case:
    """EFL on N rows of C classes: 1% positives, 2% ignored, logits around a score of 0.7%."""

    logits: Tensor  # (N, C), requires grad
    labels: Tensor  # (N,)
    modulation: Modulation
    normalizer: Tensor  # ()

    @classmethod
    def draw(cls, num_rows: int, num_classes: int, dtype: torch.dtype, device: str = "cpu") -> Case:
        """The same numbers for the same size, whatever the device."""
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(num_rows, num_classes, generator=generator).mul_(2).sub_(5)
        labels = torch.randint(0, num_classes, (num_rows,), generator=generator)
        fate = torch.rand(num_rows, generator=generator)
        labels[fate > 0.01] = BACKGROUND
        labels[fate > 0.98] = IGNORE
        ratio = torch.rand(num_classes, generator=generator).to(device)
        return cls(
            logits.to(device, dtype).requires_grad_(),
            labels.to(device),
            EqualizedFocal(alpha=0.25, gamma=2.0, scale=8.0)(ratio),
            (labels >= 0).sum().float().to(device),
        )


def eager_loss(case: Case) -> tuple[Tensor, list[Tensor]]:
    """EFL as its paper writes it, plain PyTorch: dense one-hot targets, sigmoid, power, logarithm.

    Ignored rows are selected away, bfloat16 logits are raised to float32 first, and a hook on the
    logits adds up the absolute gradient of positive and of negative entries, as the published
    systems do. Returns the loss () and a list that the backward pass fills with the sums (C,).
    """
    gamma, positive_weight, negative_weight = case.modulation
    logits = case.logits.float()
    kept = case.labels != IGNORE
    own, labels = logits[kept], case.labels[kept]
    num_classes = own.shape[1]
    hot = functional.one_hot(labels.where(labels >= 0, num_classes), num_classes + 1)
    target = hot[:, :num_classes].to(own.dtype)
    p = own.sigmoid()
    p_t = p * target + (1 - p) * (1 - target)
    weight = positive_weight * target + negative_weight * (1 - target)
    loss = (weight * (1 - p_t) ** gamma * -p_t.log()).sum() / case.normalizer
    sums: list[Tensor] = []

    def collect(gradient: Tensor) -> None:
        size = gradient.abs()
        sums.extend([(size * target).sum(0), (size * (1 - target)).sum(0)])

    own.register_hook(collect)
    return loss, sums


def eager_formula(case: Case) -> Call:
    """`eager_loss` and its backward pass."""

    def run() -> object:
        loss, sums = eager_loss(case)
        (gradient,) = torch.autograd.grad(loss, case.logits)
        return loss, gradient, sums

    return run


def ours(case: Case, backend: str = "auto") -> Call:
    """Loss, gradient and class sums by `modulated_sigmoid_loss`."""

    def run() -> object:
        sums = modulated_sigmoid_loss(
            case.logits,
            case.labels,
            **case.modulation._asdict(),
            scale=1 / case.normalizer,
            backend=backend,  # type: ignore[arg-type]
        )
        (gradient,) = torch.autograd.grad(sums.loss, case.logits)
        return sums, gradient

    return run


def ours_in_place(case: Case, backend: str = "auto") -> Call:
    """The same with the gradient in the logits' memory; the logits are gradients afterwards."""
    logits = case.logits.clone()  # stands for the output of a layer

    def run() -> object:
        sums = modulated_sigmoid_loss(
            logits,
            case.labels,
            **case.modulation._asdict(),
            scale=1 / case.normalizer,
            overwrite_logits=True,
            backend=backend,  # type: ignore[arg-type]
        )
        (gradient,) = torch.autograd.grad(sums.loss, logits)
        return sums, gradient

    return run


@dataclass
class HeadCase:
    """The last convolution of a classifier, 1x1 or 3x3, on N locations, and the loss."""

    case: Case
    features: Tensor  # (1, channels, H, W) channels-last, requires grad
    weight: Tensor  # (C, channels, k, k), requires grad
    bias: Tensor

    @classmethod
    def draw(
        cls, case: Case, *, channels: int = 256, kernel: int = 1, width: int = 128
    ) -> HeadCase:
        """A layer whose logits are about as wide as those of `case`, which gives the labels."""
        num_rows, num_classes = case.logits.shape
        device, dtype = case.logits.device, case.logits.dtype
        features = torch.randn(1, channels, num_rows // width, width, device=device).to(dtype)
        weight = torch.randn(num_classes, channels, kernel, kernel, device=device).mul_(0.1)
        weight = weight.div_(kernel).to(dtype).contiguous(memory_format=torch.channels_last)
        return cls(
            case,
            features.contiguous(memory_format=torch.channels_last).requires_grad_(),
            weight.requires_grad_(),
            torch.full((num_classes,), -5.0, device=device, dtype=dtype).requires_grad_(),
        )

    def leaves(self) -> tuple[Tensor, Tensor, Tensor]:
        """What gets a gradient."""
        return self.features, self.weight, self.bias


def products_alone(head: HeadCase) -> Call:
    """The matrix products of the layer: forward, and both of its backward pass.

    For a 1x1 kernel literally three products; the gradient of the logits is given.
    """
    slope = torch.rand_like(head.case.logits.detach())
    if head.weight.shape[-1] == 1:
        points = head.features.detach().permute(0, 2, 3, 1).flatten(0, 2)
        weight, bias = head.weight.detach().flatten(1), head.bias.detach()

        def run() -> object:
            logits = torch.addmm(bias, points, weight.t())
            return logits, slope @ weight, slope.t() @ points

        return run

    def run_convolution() -> object:
        logits = functional.conv2d(head.features, head.weight, head.bias, padding=1)
        outer = slope.view(*logits.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
        return torch.autograd.grad(logits, head.leaves(), outer)

    return run_convolution


def layer_and(head: HeadCase, loss: Callable[[Case], Call]) -> Call:
    """The layer with its logits, then a loss of them, and the backward pass of both."""
    padding = head.weight.shape[-1] // 2

    def run() -> object:
        logits = functional.conv2d(head.features, head.weight, head.bias, padding=padding)
        rows = logits.permute(0, 2, 3, 1).flatten(0, 2)
        own = Case(
            rows.detach().requires_grad_(),
            head.case.labels,
            head.case.modulation,
            head.case.normalizer,
        )
        gradient = loss(own)()[1]  # type: ignore[index]
        return torch.autograd.grad(rows, head.leaves(), gradient)

    return run


def ours_fused(head: HeadCase, piece: int | None = None) -> Call:
    """The layer and the loss by `fused_head_loss`."""

    def run() -> object:
        sums = fused_head_loss(
            head.features,
            head.weight,
            head.bias,
            head.case.labels,
            **head.case.modulation._asdict(),
            scale=1 / head.case.normalizer,
            piece=piece,
        )
        return torch.autograd.grad(sums.loss, head.leaves())

    return run
