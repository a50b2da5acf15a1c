"""The Triton kernels against the reference: on a GPU, or on a CPU under Triton's interpreter.

The interpreter must be chosen before triton is imported, which an earlier test may have done.
`test_the_kernels_under_the_interpreter` therefore runs this file again in a process of its own.
"""

import os
import subprocess
import sys

import pytest
import torch
from helpers.dense_loss import Problem, draw_problem
from pydantic import TypeAdapter

from dense_lt.config.losses import ClassificationLossConfig
from dense_lt.losses.build import build_classification_loss
from dense_lt.ops.matching import BACKGROUND, IGNORE
from dense_lt.ops.sigmoid_loss.arguments import Modulation
from dense_lt.ops.sigmoid_loss.function import modulated_sigmoid_loss
from dense_lt.ops.sigmoid_loss.fused_head import fused_head_loss

pytest.importorskip("triton", reason="triton is not installed")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED or not torch.cuda.is_available() else "cuda"
kernels = pytest.mark.skipif(
    DEVICE == "cpu" and not INTERPRETED,
    reason="no GPU; test_the_kernels_under_the_interpreter runs it",
)


if INTERPRETED:
    # the interpreter of triton 3.6 takes int() of arrays of one entry, which numpy 2.4 refuses
    from triton.runtime import interpreter

    patch_tensor = interpreter._patch_lang_tensor

    def patch_tensor_and_index(tensor, scope):
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patch_tensor_and_index


@pytest.mark.skipif(INTERPRETED, reason="this is the run it starts")
def test_the_kernels_under_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def run(problem, backend, *, with_quality=False, device="cpu", **options):
    leaf = problem.logits.detach().to(device, copy=True).requires_grad_()
    shape = {name: values.to(device) for name, values in problem.modulation._asdict().items()}
    sums = modulated_sigmoid_loss(
        leaf * 1,
        problem.labels.to(device),
        **shape,
        quality=problem.quality.to(device) if with_quality else None,
        backend=backend,
        **options,
    )
    sums.loss.backward()
    return [part.cpu() for part in (*sums, leaf.grad)]


def assert_equals_reference(
    problem, *, with_quality=False, varifocal=False, groups=None, **options
):
    exact = Problem(
        problem.logits.double(),
        problem.labels,
        problem.modulation.to(torch.float64),
        problem.quality.double(),
    )
    there = None if groups is None else groups.to(DEVICE)
    shared = {"with_quality": with_quality, "varifocal": varifocal, "scale": 0.37}
    ours = run(problem, "triton", device=DEVICE, groups=there, **shared, **options)
    theirs = run(exact, "reference", groups=groups, **shared)
    names = ("loss", "positive", "negative", "gradient")
    for name, one, other in zip(names, ours, theirs, strict=True):
        assert one.isfinite().all(), name
        rtol, atol = 2e-5, 1e-10
        if name == "gradient":
            # under the interpreter numbers are cut to bfloat16, on the device they are rounded
            rtol = {torch.float32: 1e-4, torch.bfloat16: 8e-3 if INTERPRETED else 4e-3}[one.dtype]
            atol = 1e-7
        torch.testing.assert_close(one.double(), other, rtol=rtol, atol=atol, msg=name)


@kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("num_rows", "num_classes"), [(1, 1), (16, 5), (33, 7), (130, 129), (20, 1203)]
)
def test_equals_the_reference(dtype, num_rows, num_classes):
    assert_equals_reference(draw_problem(num_rows, num_classes, dtype=dtype))


@kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("varifocal", [False, True])
def test_quality_targets(dtype, varifocal):
    problem = draw_problem(50, 9, dtype=dtype)
    assert_equals_reference(problem, with_quality=True, varifocal=varifocal)


@kernels
@pytest.mark.parametrize("label", [BACKGROUND, IGNORE, 2])
def test_rows_that_are_all_alike(label):
    problem = draw_problem(35, 5, dtype=torch.float32)
    assert_equals_reference(problem._replace(labels=torch.full((35,), label)))


@kernels
def test_no_rows():
    assert_equals_reference(draw_problem(0, 5, dtype=torch.float32))


@kernels
def test_groups_choose_the_negative_weight_of_a_row():
    problem = draw_problem(53, 6, dtype=torch.float32)
    masks = torch.rand(3, 6, generator=torch.Generator().manual_seed(0)) > 0.4
    weight = problem.modulation.negative_weight * masks
    problem = problem._replace(modulation=problem.modulation._replace(negative_weight=weight))
    assert_equals_reference(problem, groups=torch.arange(53) % 3)


@kernels
def test_classes_without_negatives_have_no_push():
    """Weights of 0, as in federated annotation, for all classes of one group too."""
    problem = draw_problem(40, 9, dtype=torch.float32)
    weight = torch.rand(3, 9, generator=torch.Generator().manual_seed(1))
    weight = torch.where(weight > 0.5, weight, 0)
    weight[1] = 0
    shape = problem.modulation._replace(negative_weight=weight)
    groups = torch.arange(40) % 3
    assert_equals_reference(problem._replace(modulation=shape), groups=groups)


@kernels
def test_the_gradient_may_take_the_logits_memory():
    assert_equals_reference(draw_problem(35, 7, dtype=torch.float32), overwrite_logits=True)


@kernels
@pytest.mark.parametrize("gamma", [0.0, 0.5, 10.0])
def test_extreme_logits_stay_finite(gamma):
    values = [0.0, 17.0, 20.0, 90.0, 104.0, 1e4, 1e36]
    logits = torch.tensor([values, [-v for v in values], values])
    shape = Modulation(*(torch.full((7,), v) for v in (gamma, 0.25, 0.05)))
    labels = torch.tensor([3, 4, BACKGROUND])
    assert_equals_reference(Problem(logits, labels, shape, torch.ones(3)))


@kernels
def test_logits_are_put_back():
    problem = draw_problem(35, 7, dtype=torch.float32)
    logits = problem.logits.to(DEVICE).requires_grad_()
    before = logits.detach().clone()
    shape = {name: values.to(DEVICE) for name, values in problem.modulation._asdict().items()}
    for wanted in (True, False):
        with torch.set_grad_enabled(wanted):
            modulated_sigmoid_loss(logits, problem.labels.to(DEVICE), **shape, backend="triton")
        assert torch.equal(logits, before)


@kernels
def test_without_gradient_the_sums_are_the_same():
    problem = draw_problem(35, 7, dtype=torch.float32)
    shape = {name: values.to(DEVICE) for name, values in problem.modulation._asdict().items()}
    sums = modulated_sigmoid_loss(
        problem.logits.to(DEVICE), problem.labels.to(DEVICE), **shape, backend="triton"
    )
    expected = run(problem, "triton", device=DEVICE)
    for ours, theirs in zip(sums, expected, strict=False):
        assert torch.equal(ours.cpu(), theirs)


@kernels
def test_a_logit_that_is_not_a_number_reaches_loss_and_sums():
    problem = draw_problem(35, 7, dtype=torch.float32)
    row = int((problem.labels >= 0).nonzero()[0])
    problem.logits[row] = torch.nan
    loss, positive, negative, _ = run(problem, "triton", device=DEVICE)
    assert loss.isnan()
    assert positive.isnan().any()
    assert negative.isnan().any()


@kernels
def test_two_runs_are_equal_bit_for_bit():
    problem = draw_problem(200, 33, dtype=torch.bfloat16)
    first, second = (run(problem, "triton", device=DEVICE) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


@kernels
def test_a_factor_on_the_loss_multiplies_the_gradient():
    from dense_lt.ops.sigmoid_loss.triton_backend import multiply_in_place

    for factor in (1.0, 3.0):
        values = torch.randn(5000, device=DEVICE)
        expected = values * factor
        multiply_in_place(values, torch.tensor(factor, device=DEVICE))
        assert torch.equal(values, expected)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="no GPU")
@pytest.mark.parametrize("kind", ["equalized_focal", "eql_v2"])
def test_a_step_never_waits_for_the_device(kind):
    section = TypeAdapter(ClassificationLossConfig).validate_python({"kind": kind})
    loss = build_classification_loss(section, 7).to(DEVICE)
    problem = draw_problem(100, loss.num_logits, dtype=torch.float32)
    logits = problem.logits.to(DEVICE).requires_grad_()
    labels = problem.labels.where(problem.labels < 7, BACKGROUND).to(DEVICE)
    normalizer = torch.ones((), device=DEVICE)

    def step():
        loss(logits, labels, normalizer).backward()
        loss.statistics.commit()

    step()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@kernels
@pytest.mark.parametrize("kernel", [1, 3])
def test_the_fused_head(kernel):
    generator = torch.Generator().manual_seed(0)
    features = [
        torch.randn(2, 4, *size, generator=generator, dtype=torch.float32).to(DEVICE)
        for size in [(5, 3), (2, 2)]
    ]
    weight = torch.randn(2 * 7, 4, kernel, kernel, generator=generator).to(DEVICE)
    counts = [60, 16]
    problem = draw_problem(sum(counts), 7, dtype=torch.float32)
    labels = problem.labels.to(DEVICE).split(counts)
    shape = {name: values.to(DEVICE) for name, values in problem.modulation._asdict().items()}
    results = []
    for backend in ("triton", "chunked"):
        leaves = [leaf.clone().requires_grad_() for leaf in (weight, *features)]
        sums = fused_head_loss(
            leaves[1:], leaves[0], None, labels, **shape, scale=0.1, piece=5, backend=backend
        )
        results.append([*sums, *torch.autograd.grad(sums.loss, leaves)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(INTERPRETED, reason="under the interpreter it may")
def test_it_does_not_take_logits_on_a_cpu():
    problem = draw_problem(4, 3, dtype=torch.float32)
    with pytest.raises(ValueError, match="needs logits on CUDA"):
        run(problem, "triton")
