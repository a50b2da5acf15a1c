"""The fused head against the same convolution followed by the loss."""

import pytest
import torch
from helpers.dense_loss import draw_problem
from torch.nn import functional

from dense_lt.ops.sigmoid_loss.function import modulated_sigmoid_loss
from dense_lt.ops.sigmoid_loss.fused_head import fused_head_loss

SIZES = [(9, 7), (4, 3), (1, 2)]  # of three levels
IMAGES, CHANNELS, CLASSES = 3, 5, 6


class Head:
    """Leaves of a classifier on three levels, and what it learns."""

    def __init__(self, kernel=3, priors=2, dtype=torch.float64):
        generator = torch.Generator().manual_seed(3)

        def leaf(*shape, channels_last=False):
            values = torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
            if channels_last:
                values = values.contiguous(memory_format=torch.channels_last)
            return values.requires_grad_()

        self.features = [leaf(IMAGES, CHANNELS, *size, channels_last=True) for size in SIZES]
        self.weight = leaf(priors * CLASSES, CHANNELS, kernel, kernel)
        self.bias = leaf(priors * CLASSES)
        self.counts = [IMAGES * height * width * priors for height, width in SIZES]
        self.problem = draw_problem(sum(self.counts), CLASSES, dtype=dtype)

    def rows(self, column):
        return column.split(self.counts)

    def leaves(self):
        return [self.weight, self.bias, *self.features]

    def gradients(self, loss):
        return torch.autograd.grad(loss, self.leaves())

    def logits(self):
        padding = self.weight.shape[-1] // 2
        for level in self.features:
            z = functional.conv2d(level, self.weight, self.bias, padding=padding)
            yield z.permute(0, 2, 3, 1).reshape(-1, CLASSES)

    def plain(self, **options):
        labels = self.rows(self.problem.labels)
        shape = self.problem.modulation._asdict()
        return modulated_sigmoid_loss(list(self.logits()), labels, **{**shape, **options})

    def fused(self, **options):
        labels = self.rows(self.problem.labels)
        shape = self.problem.modulation._asdict()
        return fused_head_loss(
            self.features, self.weight, self.bias, labels, **{**shape, **options}
        )


def assert_equal_results(head, fused, plain, rtol=1e-9, atol=1e-12):
    for ours, theirs in zip(fused, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)
    for ours, theirs in zip(head.gradients(fused.loss), head.gradients(plain.loss), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("priors", [1, 2])
@pytest.mark.parametrize("piece", [1, 8, 20, 64, 1000])
def test_equals_convolution_and_loss(kernel, priors, piece):
    head = Head(kernel, priors)
    assert_equal_results(head, head.fused(scale=0.3, piece=piece), head.plain(scale=0.3))


@pytest.mark.parametrize("kernel", [1, 3])
def test_quality_targets_and_groups_follow_the_pieces(kernel):
    head = Head(kernel)
    shape = head.problem.modulation
    options = {
        "quality": head.rows(head.problem.quality),
        "groups": [torch.arange(count) * IMAGES // count for count in head.counts],
        "negative_weight": torch.stack([shape.negative_weight * i for i in range(IMAGES)]),
    }
    assert_equal_results(head, head.fused(**options, piece=11), head.plain(**options))


@pytest.mark.parametrize("kernel", [1, 3])
def test_bfloat16_features(kernel):
    head = Head(kernel, dtype=torch.bfloat16)
    exact = Head(kernel)
    with torch.no_grad():
        for leaf, own in zip(exact.leaves(), head.leaves(), strict=True):
            leaf.copy_(own)
    exact.problem = exact.problem._replace(
        labels=head.problem.labels, modulation=head.problem.modulation.to(torch.float64)
    )
    ours, theirs = head.fused(piece=16), exact.plain()
    torch.testing.assert_close(ours.loss.double(), theirs.loss, rtol=5e-3, atol=0)
    pairs = zip(head.gradients(ours.loss), exact.gradients(theirs.loss), strict=True)
    for one, other in pairs:
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(
            one.double(), other, rtol=0.05, atol=0.02 * float(other.abs().max())
        )


@pytest.mark.parametrize("kernel", [1, 3])
def test_autocast_runs_the_convolution_in_its_dtype_and_the_loss_in_float32(kernel):
    head = Head(kernel, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused, plain = head.fused(), head.plain()
    assert fused.loss.dtype == torch.float32
    torch.testing.assert_close(fused.loss, plain.loss, rtol=1e-3, atol=0)
    torch.testing.assert_close(fused.negative, plain.negative, rtol=1e-3, atol=0)
    for ours, theirs in zip(head.gradients(fused.loss), head.gradients(plain.loss), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.02 * float(theirs.abs().max()))


@pytest.mark.parametrize("kernel", [1, 3])
def test_frozen_parts_get_no_gradient(kernel):
    head = Head(kernel)
    expected = head.gradients(head.plain().loss)
    head.weight.requires_grad_(False)
    head.features[1].requires_grad_(False)
    head.fused().loss.backward()
    assert head.weight.grad is None
    assert head.features[1].grad is None
    torch.testing.assert_close(head.bias.grad, expected[1])
    torch.testing.assert_close(head.features[0].grad, expected[2])


def test_a_frozen_trunk_still_trains_the_classifier():
    head = Head()
    expected = head.gradients(head.plain().loss)
    for level in head.features:
        level.requires_grad_(False)
    head.fused().loss.backward()
    torch.testing.assert_close(head.weight.grad, expected[0])


def test_without_bias():
    head = Head()
    with torch.no_grad():
        head.bias.zero_()
    labels = head.rows(head.problem.labels)
    sums = fused_head_loss(
        head.features, head.weight, None, labels, **head.problem.modulation._asdict()
    )
    torch.testing.assert_close(sums.loss, head.plain().loss)
    sums.loss.backward()
    assert head.weight.grad is not None


def test_validation_makes_no_gradient():
    head = Head()
    with torch.no_grad():
        sums = head.fused()
    assert not sums.loss.requires_grad
    torch.testing.assert_close(sums.loss, head.plain().loss)


def test_features_in_channel_order_work_too():
    head = Head()
    expected = head.plain().loss
    head.features = [f.detach().contiguous().requires_grad_() for f in head.features]
    assert_equal_results(head, head.fused(), head.plain())
    torch.testing.assert_close(head.fused().loss, expected)


def test_a_factor_on_the_loss_reaches_every_gradient():
    head = Head()
    for ours, theirs in zip(
        head.gradients(3 * head.fused().loss), head.gradients(head.plain().loss), strict=True
    ):
        torch.testing.assert_close(ours, 3 * theirs)


def test_a_second_backward_pass_is_refused():
    loss = Head().fused().loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second backward"):
        loss.backward()


def test_shapes_that_do_not_fit_are_refused():
    head = Head()
    shape = head.problem.modulation._asdict()
    labels = head.rows(head.problem.labels)
    with pytest.raises(ValueError, match="k = 1 or 3"):
        fused_head_loss(head.features, head.weight[:-1], None, labels, **shape)
    with pytest.raises(ValueError, match="3 levels of features, 2 of labels"):
        fused_head_loss(head.features, head.weight, None, labels[:2], **shape)
    with pytest.raises(ValueError, match="`labels` has shape"):
        fused_head_loss(head.features[::-1], head.weight, None, labels, **shape)
    with pytest.raises(TypeError, match="bfloat16"):
        fused_head_loss([f.half() for f in head.features], head.weight, None, labels, **shape)
