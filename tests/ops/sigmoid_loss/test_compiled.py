"""The loss inside `torch.compile`, as one operator."""

import pytest
import torch
from helpers.dense_loss import draw_problem
from pydantic import TypeAdapter

from dense_lt.config.losses import ClassificationLossConfig
from dense_lt.losses.build import build_classification_loss
from dense_lt.ops.sigmoid_loss.compiled import sigmoid_loss
from dense_lt.ops.sigmoid_loss.function import modulated_sigmoid_loss


@pytest.fixture(autouse=True)
def _forget_compiled_code():
    torch.compiler.reset()


def gradients(function, *leaves):
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    sums = function(*leaves)
    return [*sums, *torch.autograd.grad(3 * sums[0], leaves)]


@pytest.mark.parametrize("with_quality", [False, True])
def test_compiled_equals_eager_without_a_break_in_the_graph(with_quality):
    problem = draw_problem(40, 6, dtype=torch.float32)
    cut = [30, 10]

    def loss(features, weight):
        logits = (features @ weight).split(cut)
        quality = problem.quality.split(cut) if with_quality else None
        shape = problem.modulation._asdict()
        return modulated_sigmoid_loss(
            logits, problem.labels.split(cut), **shape, scale=0.2, quality=quality
        )

    features, weight = torch.randn(40, 5), torch.randn(5, 6)
    expected = gradients(loss, features, weight)
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    for ours, theirs in zip(gradients(compiled, features, weight), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_overwriting_is_left_out():
    problem = draw_problem(20, 4, dtype=torch.float32)

    def loss(leaf):
        logits = leaf * 1
        shape = problem.modulation._asdict()
        sums = modulated_sigmoid_loss(logits, problem.labels, **shape, overwrite_logits=True)
        return sums.loss, logits

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    leaf = problem.logits.clone().requires_grad_()
    _, logits = compiled(leaf)
    assert torch.equal(logits, leaf)


def test_a_whole_loss_module_compiles_and_notes():
    section = TypeAdapter(ClassificationLossConfig).validate_python({"kind": "equalized_focal"})
    loss = build_classification_loss(section, 6)
    problem = draw_problem(40, 6, dtype=torch.float32)
    logits = problem.logits.clone().requires_grad_()
    expected = loss(logits, problem.labels, torch.tensor(2.0))
    noted = loss.statistics.pending()
    loss.statistics.discard()
    compiled = torch.compile(loss, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, problem.labels, torch.tensor(2.0)), expected)
    torch.testing.assert_close(loss.statistics.pending(), noted)


@pytest.mark.parametrize("wants_gradient", [False, True])
def test_the_operator_keeps_what_it_promises(wants_gradient):
    problem = draw_problem(12, 4, dtype=torch.float32)
    arguments = (
        problem.logits,
        problem.labels,
        None,
        None,
        *problem.modulation,
        torch.ones(()),
        "chunked",
        False,
        wants_gradient,
    )
    torch.library.opcheck(sigmoid_loss, arguments)
