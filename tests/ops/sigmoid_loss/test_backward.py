"""What may be done with the result, and what must be refused."""

import pytest
import torch
from helpers.dense_loss import by_autograd, draw_problem

from dense_lt.ops.sigmoid_loss.function import modulated_sigmoid_loss


def call(logits, problem, **options):
    return modulated_sigmoid_loss(logits, problem.labels, **problem.modulation._asdict(), **options)


@pytest.fixture
def problem():
    return draw_problem(30, 6)


@pytest.fixture
def leaf(problem):
    return problem.logits.clone().requires_grad_()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_factor_on_the_loss_reaches_the_gradient(problem, leaf, overwrite):
    (3 * call(leaf * 1, problem, overwrite_logits=overwrite).loss).backward()
    torch.testing.assert_close(leaf.grad, 3 * by_autograd(problem).gradient)


def test_a_second_backward_pass_is_refused(problem, leaf):
    loss = call(leaf * 1, problem).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second backward"):
        loss.backward()


def test_a_second_derivative_is_refused(problem, leaf):
    loss = call(leaf * 1, problem).loss
    with pytest.raises(RuntimeError, match="create_graph"):
        torch.autograd.grad(loss, leaf, create_graph=True)


def test_overwriting_puts_the_gradient_into_the_logits(problem, leaf):
    logits = leaf * 1
    version = logits._version
    sums = call(logits, problem, overwrite_logits=True)
    expected = by_autograd(problem)
    torch.testing.assert_close(logits.detach(), expected.gradient)
    assert logits._version > version
    sums.loss.backward()
    torch.testing.assert_close(leaf.grad, expected.gradient)
    torch.testing.assert_close(sums.negative, expected.negative)


def test_a_reader_before_overwriting_fails_in_backward(problem, leaf):
    logits = leaf * 1
    other = logits.square().sum()
    loss = call(logits, problem, overwrite_logits=True).loss
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (loss + other).backward()


@pytest.mark.parametrize("reader", ["rows", "layer output"])
def test_a_reader_after_overwriting_fails_in_backward(problem, leaf, reader):
    output = (leaf * 1).reshape(5, 2, 3, 6).permute(0, 3, 1, 2)
    logits = output.permute(0, 2, 3, 1).reshape(-1, 6)
    loss = call(logits, problem, overwrite_logits=True).loss
    other = {"rows": logits, "layer output": output}[reader].exp().sum()
    with pytest.raises(RuntimeError, match="overwrite_logits=False"):
        (loss + other).backward()


def test_overwriting_rows_that_are_a_view_of_a_layers_output():
    layer = torch.nn.Conv2d(3, 8, 1).to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    problem = draw_problem(2 * 4 * 5 * 2, 4, dtype=torch.float32)

    def gradients(**options):
        output = layer(images)
        rows = output.permute(0, 2, 3, 1).reshape(-1, 4)
        assert rows.data_ptr() == output.data_ptr()
        return torch.autograd.grad(call(rows, problem, **options).loss, layer.weight)

    torch.testing.assert_close(gradients(overwrite_logits=True), gradients())


def test_a_second_loss_on_overwritten_logits_fails_in_backward(problem, leaf):
    logits = leaf * 1
    first = call(logits, problem, overwrite_logits=True).loss
    second = call(logits, problem, overwrite_logits=True).loss
    with pytest.raises(RuntimeError, match="overwrite_logits=False"):
        (first + second).backward()


def test_leaves_are_not_overwritten(problem, leaf):
    with pytest.raises(ValueError, match="leaf"):
        call(leaf, problem, overwrite_logits=True)


def test_logits_are_left_alone_by_default_and_without_gradient(problem, leaf):
    logits = leaf * 1
    call(logits, problem)
    with torch.no_grad():
        call(logits, problem, overwrite_logits=True)
    torch.testing.assert_close(logits, problem.logits, rtol=0, atol=0)


def test_no_gradient_is_made_when_none_is_wanted(problem, leaf):
    with torch.no_grad():
        sums = call(leaf, problem)
    assert not sums.loss.requires_grad
    torch.testing.assert_close(sums.loss, by_autograd(problem).loss)


def test_class_sums_carry_no_gradient(problem, leaf):
    sums = call(leaf, problem)
    assert sums.loss.requires_grad
    assert not sums.positive.requires_grad
    assert not sums.negative.requires_grad


def test_float16_is_refused(problem):
    with pytest.raises(TypeError, match="bfloat16"):
        call(problem.logits.half(), problem)


def test_integers_are_refused(problem):
    with pytest.raises(TypeError, match="float32"):
        call(problem.logits.long(), problem)


def test_shapes_that_do_not_fit_are_refused(problem):
    shape = problem.modulation._asdict()
    with pytest.raises(ValueError, match=r"\(N, 6\)"):
        modulated_sigmoid_loss(problem.logits[:, :5], problem.labels, **shape)
    with pytest.raises(ValueError, match="`labels` has shape"):
        modulated_sigmoid_loss(problem.logits, problem.labels[:-1], **shape)
    with pytest.raises(ValueError, match="go together"):
        modulated_sigmoid_loss(
            problem.logits, problem.labels, **shape, groups=torch.zeros(30, dtype=torch.int64)
        )


def test_labels_out_of_range_are_caught(problem):
    with pytest.raises(AssertionError, match=r"classes \[0, 6\)"):
        call(problem.logits, problem._replace(labels=torch.full((30,), 6)))


def test_autocast_does_not_lower_the_maths(problem):
    single = draw_problem(300, 6, dtype=torch.float32)
    leaf = single.logits.clone().requires_grad_()
    plain = call(single.logits, single)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sums = call(leaf, single)
        sums.loss.backward()
    assert sums.loss.dtype == torch.float32
    torch.testing.assert_close(sums.loss, plain.loss, rtol=0, atol=0)
    torch.testing.assert_close(sums.negative, plain.negative, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_runs_are_equal_bit_for_bit(dtype):
    single = draw_problem(700, 33, dtype=dtype)
    results = []
    for _ in range(2):
        leaf = single.logits.clone().requires_grad_()
        sums = call(leaf, single)
        sums.loss.backward()
        results.append((*sums, leaf.grad))
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)
