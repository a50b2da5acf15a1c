"""`SigmoidLoss.fused` trains to the same result as the classifier followed by the loss."""

import copy

import pytest
import torch
from helpers.dense_loss import draw_problem
from pydantic import TypeAdapter
from torch import nn

from dense_lt.balance.counts import ClassCounts
from dense_lt.config.losses import ClassificationLossConfig
from dense_lt.losses.build import build_classification_loss
from dense_lt.ops.matching import BACKGROUND

KINDS = [
    "focal",
    "equalized_focal",
    "equalized_quality_focal",
    "eql_v2",
    "varifocal",
    "eql_v1",
    "ecm",
]
SIZES = [(8, 6), (3, 3)]
IMAGES, PRIORS, CLASSES = 2, 2, 5
COUNTS = [IMAGES * height * width * PRIORS for height, width in SIZES]


class Head(nn.Module):
    def __init__(self, kind, kernel=3):
        super().__init__()
        torch.manual_seed(0)
        section = TypeAdapter(ClassificationLossConfig).validate_python({"kind": kind})
        counts = ClassCounts((1, 5, 50, 500, 5000), (1, 5, 50, 500, 5000))
        self.loss = build_classification_loss(section, CLASSES, counts)
        self.trunk = nn.Conv2d(3, 4, 3, padding=1)
        outputs = PRIORS * self.loss.num_logits
        self.classifier = nn.Conv2d(4, outputs, kernel, padding=kernel // 2)

    def forward(self, images, labels, quality, *, fused, **options):
        features = [self.trunk(level) for level in images]
        if fused:
            return self.loss.fused(
                features, [self.classifier], labels, torch.tensor(3.0), quality=quality, **options
            )
        logits = [
            self.classifier(level).permute(0, 2, 3, 1).reshape(-1, self.loss.num_logits)
            for level in features
        ]
        return self.loss(logits, labels, torch.tensor(3.0), quality=quality, **options)


def draw(step):
    generator = torch.Generator().manual_seed(step)
    images = [torch.randn(IMAGES, 3, *size, generator=generator) for size in SIZES]
    problem = draw_problem(sum(COUNTS), CLASSES, seed=step)
    return images, problem.labels.split(COUNTS), problem.quality.float().split(COUNTS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", [1, 3])
def test_three_optimizer_steps_are_the_same(kind, kernel):
    heads = {False: Head(kind, kernel)}
    heads[True] = copy.deepcopy(heads[False])
    for fused, head in heads.items():
        optimizer = torch.optim.SGD(head.parameters(), lr=0.01)
        for step in range(3):
            optimizer.zero_grad()
            head(*draw(step), fused=fused).backward()
            optimizer.step()
            head.loss.statistics.commit()
    plain, fused = heads[False].state_dict(), heads[True].state_dict()
    for name, value in plain.items():
        torch.testing.assert_close(fused[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_inside_torch_compile_it_runs_as_it_is():
    head, batch = Head("focal"), draw(0)
    expected = head(*batch, fused=True)
    torch.compiler.reset()
    compiled = torch.compile(head, backend="aot_eager")
    torch.testing.assert_close(compiled(*batch, fused=True), expected)


@pytest.mark.parametrize("kind", ["focal", "eql_v1", "eql_v2"])
def test_class_masks_hold_per_image(kind):
    head = Head(kind)
    mask = torch.rand(IMAGES, CLASSES, generator=torch.Generator().manual_seed(1)) > 0.5
    batch = draw(0)
    plain = head(*batch, fused=False, checked=mask)
    fused = head(*batch, fused=True, checked=mask)
    torch.testing.assert_close(fused, plain)
    assert not torch.allclose(plain, head(*batch, fused=True))


def test_classes_are_drawn_once_for_all_levels():
    """The federated loss draws among those outside the batch, here 2 of 5."""
    section = TypeAdapter(ClassificationLossConfig).validate_python(
        {"kind": "federated_loss", "num_classes": 3}
    )
    counts = ClassCounts((1, 5, 50, 500, 5000), (1, 5, 50, 500, 5000))
    loss = build_classification_loss(section, CLASSES, counts)
    classifiers = [nn.Conv2d(3, PRIORS * CLASSES, 1) for _ in SIZES]
    images, labels, _ = draw(0)
    labels = [torch.where(own >= 0, 2, own) for own in labels]
    logits = [
        classifier(level).permute(0, 2, 3, 1).reshape(-1, CLASSES)
        for classifier, level in zip(classifiers, images, strict=True)
    ]
    for seed in range(5):
        torch.manual_seed(seed)
        plain = loss(logits, labels, torch.tensor(1.0))
        torch.manual_seed(seed)
        fused = loss.fused(images, classifiers, labels, torch.tensor(1.0))
        torch.testing.assert_close(fused, plain)


def test_nothing_is_noted_in_validation():
    head = Head("equalized_focal")
    with torch.no_grad():
        head(*draw(0), fused=True)
    assert head.loss.statistics.pending().abs().sum() == 0


def test_images_without_objects_cost_and_train():
    head = Head("equalized_focal")
    images, labels, quality = draw(0)
    empty = [torch.full_like(own, BACKGROUND) for own in labels]
    head(images, empty, quality, fused=True).backward()
    assert head.loss.statistics.pending()[0].sum() == 0
    assert head.classifier.bias.grad.abs().min() > 0


@pytest.mark.parametrize(
    "classifier",
    [
        nn.Conv2d(4, 10, 5, padding=2),
        nn.Conv2d(4, 10, 3, padding=0),
        nn.Conv2d(4, 10, 3, padding=1, stride=2),
        nn.Conv2d(4, 10, 1, groups=2),
    ],
)
def test_other_convolutions_are_refused(classifier):
    head = Head("focal")
    images, labels, _ = draw(0)
    with pytest.raises(ValueError, match="fused_loss: false"):
        head.loss.fused(images, [classifier], labels, torch.tensor(1.0))
