"""Any head with any loss and any assigner that a configuration allows, one training step of each.

The classification loss must be the formula of its paper, evaluated on what the detector gave it,
and so must the gradient of the classifier; images are annotated for some of the classes only.
Logits are float64, exponents and weights of the classes float32.
"""

from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml
from helpers.plain_losses import Rows, plain_loss
from pydantic import ValidationError

from dense_lt.balance.counts import ClassCounts
from dense_lt.balance.statistics import commit_all, named_statistics
from dense_lt.config.assigners import AssignerConfig
from dense_lt.config.losses import ClassificationLossConfig
from dense_lt.config.model import OneStageConfig
from dense_lt.models.build import build_detector
from dense_lt.structures import ImageBatch

CLASSES = 4
COUNTS = ClassCounts(images=(900, 40, 3, 1), instances=(1500, 41, 5, 1))
BASES = Path(__file__).parents[2] / "configs" / "_base"
TINY = {
    "backbone": {
        "name": "resnet18",
        "norm": "group",
        "options": {"channels": [8, 8, 8, 8], "layers": [1, 1, 1, 1]},
    },
    "pyramid": {"levels": [3, 4], "backbone_levels": [3, 4], "channels": 8},
    "head": {"channels": 8, "num_convs": 1, "norm_groups": 2, "prior_probability": 0.1},
}
SCALES = {"improved": [2, 3], "retinanet": [2, 3], "fcos": [1]}
"""Anchors in strides; the published ones, elsewhere [3], are larger than the images here."""


def kinds(union):
    return [section.model_fields["kind"].annotation.__args__[0] for section in members(union)]


def members(union):
    return get_args(get_args(union)[0])


PER_LEVEL = {"head": {"shared": False, "stem": True, "output_kernel": 1, "activation": "silu"}}
"""The decoupled head of YOLOX."""

FILES = sorted(path.stem.removeprefix("head_") for path in BASES.glob("head_*"))
HEADS = ["improved", "per_level", *FILES]
LOSSES = kinds(ClassificationLossConfig)
ASSIGNERS = kinds(AssignerConfig)


def settings_of(head, assigner, loss):
    if head in ("improved", "per_level"):
        settings = {} if head == "improved" else dict(PER_LEVEL)
    else:
        settings = yaml.safe_load((BASES / f"head_{head}.yaml").read_text())["model"]
    settings["priors"] = {**settings.get("priors", {}), "scales": SCALES.get(head, [3])}
    settings["head"] = {**settings.get("head", {}), **TINY["head"]}
    if settings.get("assigner", {}).get("kind") != assigner:
        settings["assigner"] = {"kind": assigner}
    settings["loss"] = {"kind": loss, "federated": True}
    return {**TINY, **settings}


def allowed():
    for head in HEADS:
        for assigner in ASSIGNERS:
            try:
                OneStageConfig.model_validate(settings_of(head, assigner, "focal"))
            except ValidationError:
                continue
            yield head, assigner


ALLOWED = list(allowed())


def scene():
    """Two images, one without objects, each checked for some of the classes."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=generator)
    boxes = torch.tensor([[4.0, 6, 30, 28], [26, 30, 60, 62], [34, 4, 58, 26]])
    targets = [
        {"boxes": boxes, "labels": torch.tensor([2, 0, 3])},
        {"boxes": boxes[:0], "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    checked = [[True, False, True, True], [False, True, True, False]]
    for target, own in zip(targets, checked, strict=True):
        target["checked"] = torch.tensor(own)
    return ImageBatch(pixels, ((64, 64), (64, 50))), targets


class Recorded:
    """What a detector's classification loss was given last."""

    def __init__(self, detector):
        self.loss = detector.loss.classification
        self.loss.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, _, arguments, named):
        self.logits, self.labels, self.normalizer = arguments
        self.quality, self.checked = named["quality"], named["checked"]

    def expected(self, section):
        """The same loss by its formula; the federated loss has drawn all of so few classes."""
        labels, empty = torch.cat(self.labels), torch.zeros(sum(map(len, self.labels)))
        images = [
            torch.arange(2).repeat_interleave(len(own) // 2) for own in self.labels
        ]  # rows lie image after image
        rows = Rows(
            labels,
            empty if self.quality is None else torch.cat(self.quality),
            self.loss.statistics.ratio().double(),
            COUNTS,
            checked=self.checked[torch.cat(images)].double(),
            chosen=torch.ones(CLASSES),
        )
        return plain_loss(section, torch.cat(self.logits), rows) / self.normalizer


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("head", "assigner"), ALLOWED)
def test_a_training_step_minimises_the_formula_of_the_loss(head, assigner, loss):
    config = OneStageConfig.model_validate(settings_of(head, assigner, loss))
    torch.manual_seed(0)
    detector = build_detector(config, CLASSES, COUNTS).double()
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.01)
    recorded = Recorded(detector)
    weights = [classifier.weight for classifier in detector.head.classifiers]
    for _ in range(2):  # in the second the statistics shape the loss
        optimizer.zero_grad()
        losses = detector(*scene())
        assert all(cost.isfinite() for cost in losses.values())
        expected = recorded.expected(config.loss)
        torch.testing.assert_close(losses["classification"], expected, rtol=1e-6, atol=0)
        gradients = list(torch.autograd.grad(expected, weights, retain_graph=True))
        sum(losses.values()).backward()  # boxes do not reach the classifiers
        found = [weight.grad for weight in weights]
        torch.testing.assert_close(found, gradients, rtol=1e-4, atol=1e-7)
        optimizer.step()
        commit_all(detector)
    (statistics,) = named_statistics(detector).values()
    assert int(statistics.steps) == 2
    assert (statistics.positive[[0, 2, 3]] > 0).all()
    assert (statistics.negative > 0).all()


FUSED = [loss for loss in LOSSES if loss != "seesaw"]  # whose compensation must see the logits


@pytest.mark.parametrize("loss", FUSED)
@pytest.mark.parametrize("head", ["improved", "per_level"])
def test_federated_training_is_the_same_fused_and_in_micro_batches(head, loss):
    images, targets = scene()
    settings = settings_of(head, "atss", loss)
    results = {}
    for way in ("whole", "fused", "pieces"):
        torch.manual_seed(0)
        config = OneStageConfig.model_validate(
            {**settings, "head": {**settings["head"], "fused_loss": way == "fused"}}
        )
        detector = build_detector(config, CLASSES, COUNTS).double()
        assert detector.fused_loss == (way == "fused")
        positives = detector.count_positives(images, targets)
        cuts = [slice(0, 1), slice(1, 2)] if way == "pieces" else [slice(0, 2)]
        for cut in cuts:
            piece = ImageBatch(images.pixels[cut], images.sizes[cut])
            detector(piece, targets[cut], normalizer=positives)["classification"].backward()
        results[way] = [p.grad for p in detector.pyramid.parameters() if p.grad is not None]
        results[way] += list(detector.loss.classification.statistics.pending())
    for way in ("fused", "pieces"):
        torch.testing.assert_close(results[way], results["whole"], rtol=1e-5, atol=1e-8)


def test_what_nobody_checked_is_no_negative_in_a_detector():
    """Without `checked` every class is one: the pushes differ, the pulls do not."""
    images, targets = scene()
    sums = []
    for federated in (False, True):
        torch.manual_seed(0)
        settings = settings_of("improved", "atss", "focal")
        settings["loss"]["federated"] = federated
        detector = build_detector(OneStageConfig.model_validate(settings), CLASSES)
        detector(images, targets)
        sums.append(detector.loss.classification.statistics.pending())
    (plain, federated) = sums
    torch.testing.assert_close(federated[0], plain[0])
    assert (federated[1] < plain[1])[[0, 1, 3]].all()
    torch.testing.assert_close(federated[1][2], plain[1][2])  # checked in both images
