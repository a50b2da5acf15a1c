"""`modulated_sigmoid_loss` on every CPU backend against dense targets and autograd."""

import math

import pytest
import torch
from helpers.dense_loss import Problem, Replayed, by_autograd, draw_problem
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from dense_lt.ops.matching import BACKGROUND, IGNORE
from dense_lt.ops.sigmoid_loss.arguments import Modulation, Rows
from dense_lt.ops.sigmoid_loss.chunked import ChunkedLoss
from dense_lt.ops.sigmoid_loss.function import modulated_sigmoid_loss

BACKENDS = ["reference", "chunked"]


def run(problem, *, with_quality=False, **options):
    """LossSums and gradient of a call on a problem."""
    leaf = problem.logits.detach().clone().requires_grad_()
    sums = modulated_sigmoid_loss(
        leaf,
        problem.labels,
        **problem.modulation._asdict(),
        quality=problem.quality if with_quality else None,
        **options,
    )
    sums.loss.backward()
    return sums, leaf.grad


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("with_quality", [False, True])
def test_equals_autograd_in_float64(backend, with_quality):
    problem = draw_problem(300, 11)
    expected = by_autograd(problem, with_quality=with_quality, scale=0.37)
    sums, gradient = run(problem, with_quality=with_quality, scale=0.37, backend=backend)
    torch.testing.assert_close(sums.loss, expected.loss, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, expected.gradient, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(sums.positive, expected.positive, rtol=1e-9, atol=0)
    torch.testing.assert_close(sums.negative, expected.negative, rtol=1e-9, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_quality", [False, True])
def test_lower_precision_is_close_to_float64_of_the_same_logits(backend, dtype, with_quality):
    problem = draw_problem(700, 33, dtype=dtype)
    exact = by_autograd(
        Problem(
            problem.logits.double(),
            problem.labels,
            problem.modulation.to(torch.float64),
            problem.quality.double(),
        ),
        with_quality=with_quality,
    )
    sums, gradient = run(problem, with_quality=with_quality, backend=backend)
    assert sums.loss.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(sums.loss.double(), exact.loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(sums.positive, exact.positive, rtol=1e-5, atol=0)
    torch.testing.assert_close(sums.negative, exact.negative, rtol=1e-5, atol=0)
    tolerance = 4e-3 if dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(gradient.double(), exact.gradient, rtol=tolerance, atol=1e-6)


def test_constant_gamma_is_torchvisions_focal_loss():
    problem = draw_problem(50, 9)
    shape = Modulation(*(torch.full((9,), v, dtype=torch.float64) for v in (2.0, 0.25, 0.75)))
    labels = problem.labels.where(problem.labels != IGNORE, BACKGROUND)
    hot = functional.one_hot(labels.clamp(min=0), 9) * (labels >= 0)[:, None]
    expected = sigmoid_focal_loss(
        problem.logits, hot.double(), alpha=0.25, gamma=2, reduction="sum"
    )
    sums, _ = run(problem._replace(labels=labels, modulation=shape))
    torch.testing.assert_close(sums.loss, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_levels_add_up(backend):
    problem = draw_problem(60, 5)
    cut = [10, 1, 49]
    whole, gradient = run(problem, backend=backend)
    leaves = [piece.clone().requires_grad_() for piece in problem.logits.split(cut)]
    parts = modulated_sigmoid_loss(
        leaves, problem.labels.split(cut), **problem.modulation._asdict(), backend=backend
    )
    parts.loss.backward()
    for ours, theirs in zip(parts, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.cat([leaf.grad for leaf in leaves]), gradient)


@pytest.mark.parametrize("backend", BACKENDS)
def test_groups_choose_the_negative_weight_of_a_row(backend):
    problem = draw_problem(30, 5)
    groups = torch.arange(30) % 3
    masks = torch.rand(3, 5, generator=torch.Generator().manual_seed(1)) > 0.5
    shape = problem.modulation._replace(
        negative_weight=problem.modulation.negative_weight * masks.double()
    )
    problem = problem._replace(modulation=shape)
    expected = by_autograd(problem, groups=groups)
    sums, gradient = run(problem, groups=groups, backend=backend)
    torch.testing.assert_close(sums.loss, expected.loss, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, expected.gradient, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(sums.negative, expected.negative, rtol=1e-9, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_weight_of_zero_gives_exactly_zero(backend):
    problem = draw_problem(20, 4, dtype=torch.float32)
    nothing = Modulation(problem.modulation.gamma, torch.zeros(4), torch.zeros(4))
    sums, gradient = run(problem._replace(modulation=nothing), backend=backend)
    assert sums.loss == 0
    assert (gradient == 0).all()
    assert (sums.negative == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [0.0, 17.0, 20.0, 90.0, 104.0, 1e4, 3e38])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 10.0])
def test_extreme_logits_stay_finite_and_exact(backend, value, gamma):
    logits = torch.tensor([[value, -value], [-value, value], [value, -value]])
    shape = Modulation(torch.full((2,), gamma), torch.full((2,), 0.25), torch.full((2,), 0.05))
    problem = Problem(logits, torch.tensor([0, 0, BACKGROUND]), shape, torch.ones(3))
    double = problem._replace(logits=logits.double(), modulation=shape.to(torch.float64))
    _, expected = run(double, backend="reference")
    sums, gradient = run(problem, backend=backend)
    assert sums.loss.isfinite()
    torch.testing.assert_close(gradient.double(), expected, rtol=2e-5, atol=1e-30)


@pytest.mark.parametrize("backend", BACKENDS)
def test_positives_without_focusing_give_no_nan(backend):
    problem = draw_problem(20, 4, dtype=torch.float32)
    flat = problem.modulation._replace(gamma=torch.zeros(4))
    sums, gradient = run(problem._replace(modulation=flat), backend=backend)
    assert sums.loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_good_positive_does_not_spoil_a_column_of_easy_negatives(backend):
    negatives = torch.full((10_001, 1), math.log(1e-4))
    negatives[5000] = math.log(0.99 / 0.01)
    labels = torch.full((10_001,), BACKGROUND)
    labels[5000] = 0
    shape = Modulation(torch.tensor([2.0]), torch.tensor([0.25]), torch.tensor([0.75]))
    sums, _ = run(Problem(negatives, labels, shape, torch.ones(10_001)), backend=backend)
    z = negatives[0].double()
    q, softplus = z.sigmoid(), functional.softplus(z)
    expected = 10_000 * 0.75 * q**2 * (2 * (1 - q) * softplus + q)
    torch.testing.assert_close(sums.negative, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("num_rows", "num_classes", "fill"),
    [
        (0, 5, None),
        (7, 1, None),
        (16, 5, BACKGROUND),
        (16, 5, IGNORE),
        (17, 3, 2),
        (33, 1203, None),
    ],
)
def test_empty_and_uniform_cases(backend, num_rows, num_classes, fill):
    problem = draw_problem(num_rows, num_classes)
    if fill is not None:
        problem = problem._replace(labels=torch.full((num_rows,), fill))
    expected = by_autograd(problem)
    sums, gradient = run(problem, backend=backend)
    torch.testing.assert_close(sums.loss, expected.loss, rtol=1e-10, atol=1e-15)
    torch.testing.assert_close(gradient, expected.gradient, rtol=1e-9, atol=1e-13)
    if fill == IGNORE:
        assert sums.loss == 0
        assert (sums.negative == 0).all()
        assert (gradient == 0).all()


@given(
    num_rows=st.integers(0, 40),
    num_classes=st.integers(1, 9),
    chunk_rows=st.integers(1, 50),
    seed=st.integers(0, 1000),
)
def test_chunks_of_any_size_equal_autograd(num_rows, num_classes, chunk_rows, seed):
    problem = draw_problem(num_rows, num_classes, seed=seed)
    expected = by_autograd(problem)
    loss = ChunkedLoss(
        problem.modulation, torch.ones((), dtype=torch.float64), chunk_rows=chunk_rows
    )
    gradient = torch.empty_like(problem.logits)
    loss.add(problem.logits, Rows(problem.labels), gradient)
    totals = loss.totals()
    torch.testing.assert_close(totals.loss, expected.loss, rtol=1e-10, atol=1e-15)
    torch.testing.assert_close(totals.negative, expected.negative, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(gradient, expected.gradient, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_of_any_size_give_the_same_gradient(dtype):
    problem = draw_problem(500, 33, dtype=dtype)
    results = []
    for chunk_rows in (1, 7, 256, 500):
        loss = ChunkedLoss(problem.modulation, torch.ones(()), chunk_rows=chunk_rows)
        gradient = torch.empty_like(problem.logits)
        loss.add(problem.logits, Rows(problem.labels), gradient)
        results.append((loss.totals(), gradient))
    (first, gradient), *others = results
    for totals, other in others:
        # one vector unit more or less at the end of a chunk may round once differently
        torch.testing.assert_close(
            other, gradient, rtol=1e-6 if dtype.itemsize == 4 else 8e-3, atol=0
        )
        for one, two in zip(totals, first, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-6, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gamma", [0.0, 2.0, 10.0])
def test_easy_negatives_keep_their_relative_precision(backend, gamma):
    logits = torch.linspace(-20, 8, 1000)[:, None]
    shape = Modulation(torch.tensor([gamma]), torch.ones(1), torch.ones(1))
    problem = Problem(logits, torch.full((1000,), BACKGROUND), shape, torch.ones(1000))
    double = problem._replace(logits=logits.double(), modulation=shape.to(torch.float64))
    _, exact = run(double, backend="reference")
    _, gradient = run(problem, backend=backend)
    normal = exact > 1e-34
    torch.testing.assert_close(gradient[normal].double(), exact[normal], rtol=2e-5, atol=0)


def test_one_thread_and_two_give_the_same():
    problem = draw_problem(600, 200)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            sums, gradient = run(problem, backend="chunked")
            results.append([*sums, gradient])
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("with_quality", [False, True])
def test_gradcheck(backend, with_quality):
    problem = draw_problem(12, 4)

    def loss_and_gradient(logits):
        changed = problem._replace(logits=logits)
        sums, gradient = run(changed, with_quality=with_quality, backend=backend)
        return sums.loss, gradient

    logits = problem.logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(Replayed.apply, (logits, loss_and_gradient))
