"""The sigmoid family as the papers write it: one-hot targets and autograd."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dense_lt.ops.matching import BACKGROUND, IGNORE
from dense_lt.ops.sigmoid_loss.arguments import Modulation


class Problem(NamedTuple):
    """One call of the loss."""

    logits: Tensor  # (N, C)
    labels: Tensor  # (N,)
    modulation: Modulation
    quality: Tensor  # (N,)


class Expected(NamedTuple):
    """What it must give."""

    loss: Tensor  # ()
    gradient: Tensor  # (N, C)
    positive: Tensor  # (C,)
    negative: Tensor  # (C,)


def draw_problem(
    num_rows: int = 40,
    num_classes: int = 7,
    *,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    spread: float = 2.0,
) -> Problem:
    """Rows of which a third has a class, and a tenth is ignored."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    logits = torch.randn(num_rows, num_classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, num_classes, (num_rows,), generator=generator)
    fate = uniform(num_rows)
    labels = torch.where(fate > 0.35, BACKGROUND, labels)
    labels = torch.where(fate > 0.9, IGNORE, labels)
    modulation = Modulation(
        2 + 6 * uniform(num_classes), 0.25 + uniform(num_classes), 0.75 + uniform(num_classes)
    )
    maths = torch.float64 if dtype == torch.float64 else torch.float32
    return Problem(
        (logits * spread - 2).to(dtype),
        labels,
        modulation.to(maths),
        uniform(num_rows).to(maths),
    )


def by_autograd(
    problem: Problem,
    *,
    with_quality: bool = False,
    scale: float = 1.0,
    groups: Tensor | None = None,
) -> Expected:
    """Loss with dense targets, its gradient by autograd, the sums from that gradient."""
    gamma, positive_weight, negative_weight = problem.modulation
    if groups is not None:
        negative_weight = negative_weight[groups]
    logits = problem.logits.detach().clone().requires_grad_()
    foreground, valid = problem.labels >= 0, problem.labels != IGNORE
    hot = torch.zeros_like(logits)
    hot[foreground, problem.labels[foreground]] = 1
    target = hot * problem.quality[:, None] if with_quality else hot
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    modulating = (logits.sigmoid() - target).abs() ** gamma
    weight = torch.where(hot > 0, positive_weight, negative_weight) * valid[:, None]
    loss = (weight * modulating * entropy).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    positive, negative = (gradient.abs() * hot).sum(0), (gradient.abs() * (1 - hot)).sum(0)
    return Expected(loss.detach() * scale, gradient * scale, positive, negative)


LossAndGradient = Callable[[Tensor], tuple[Tensor, Tensor]]


class Replayed(torch.autograd.Function):
    """The loss with a backward that may run often, which gradcheck needs."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, loss_and_gradient: LossAndGradient) -> Tensor:
        with torch.enable_grad():
            loss, gradient = loss_and_gradient(logits)
        ctx.save_for_backward(gradient)
        return loss.detach()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0] * grad_output, None
