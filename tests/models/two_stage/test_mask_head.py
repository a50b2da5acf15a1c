import pytest
import torch
from helpers.tiny_two_stage import build, squares
from torch.nn import functional

from dense_lt.models.two_stage.mask_head import MaskBranch, MaskHead
from dense_lt.models.two_stage.regions import RegionPooling, Regions, SampledRegions
from dense_lt.structures import Masks
from dense_lt.utils.errors import DataError


def make(num_masks=3, **settings):
    torch.manual_seed(0)
    head = MaskHead(
        pooling=RegionPooling((4,), size=3),
        in_channels=4,
        channels=5,
        num_convs=2,
        num_masks=num_masks,
        **settings,
    )
    torch.nn.init.normal_(head.predictor.weight)
    torch.nn.init.normal_(head.predictor.bias)
    return head


def outlines(boxes):
    """One square ring for each box."""
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].reshape(-1, 2)
    count = len(boxes)
    return Masks(corners, torch.arange(count + 1) * 4, torch.arange(count + 1))


LEVELS = [torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))]
REGIONS = Regions(
    torch.tensor([[0.0, 0, 20, 20], [5, 5, 30, 30], [4, 0, 8, 30]]), torch.zeros(3).long()
)


@pytest.mark.parametrize("temperature", [None, 20.0])
def test_the_mask_of_a_class_is_that_of_a_convolution_to_all_classes(temperature):
    head = make(temperature=temperature)
    labels = torch.tensor([2, 0, 2])
    features = head.pooling(LEVELS, REGIONS)
    for layer in head.convolutions:
        features = functional.relu(layer(features))
    features = functional.relu(head.upsampling(features))
    weight = head.predictor.weight
    if temperature:
        features = 20 * functional.normalize(features, dim=1)
        weight = functional.normalize(weight, dim=1)
    everything = functional.conv2d(features, weight, head.predictor.bias)  # (N, C, 6, 6)
    expected = everything[torch.arange(3), labels]
    torch.testing.assert_close(head(LEVELS, REGIONS, labels), expected, rtol=1e-4, atol=1e-5)


def test_one_mask_for_all_classes():
    head = make(num_masks=1)
    first, second = (
        head(LEVELS, REGIONS, torch.tensor([0, 1, 2])),
        head(LEVELS, REGIONS, torch.zeros(3).long()),
    )
    assert torch.equal(first, second)


def test_the_loss_is_a_mean_over_the_cells_of_positive_regions():
    branch = MaskBranch(make(), weight=2.0)
    target = {"boxes": torch.tensor([[0.0, 0, 10, 20]]), "labels": torch.tensor([1])}
    target["masks"] = outlines(target["boxes"])
    sampled = SampledRegions(
        REGIONS,
        torch.tensor([1, -1, 1]),
        REGIONS.boxes,
        torch.tensor([0, -1, 0]),
        torch.zeros(3).bool(),
    )
    wanted = torch.zeros(2, 6, 6)
    wanted[0, :, :3] = 1  # the object is the left half of the first region
    wanted[1, :4] = 1  # and two thirds of the third
    rows = torch.tensor([0, 2])
    logits = branch.head(
        LEVELS, Regions(REGIONS.boxes[rows], REGIONS.images[rows]), torch.tensor([1, 1])
    )
    expected = 2 * functional.binary_cross_entropy_with_logits(logits, wanted)
    found = branch(LEVELS, sampled, [target])["mask"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    shared = branch(LEVELS, sampled, [target], share=0.25)["mask"]
    assert shared.item() == pytest.approx(expected.item() / 4, rel=1e-5)


def test_objects_without_an_outline_teach_no_mask():
    branch = MaskBranch(make())
    boxes = torch.tensor([[0.0, 0, 10, 20], [5, 5, 30, 30]])
    none_at_first = Masks(outlines(boxes).points[4:], torch.tensor([0, 4]), torch.tensor([0, 0, 1]))
    target = {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": none_at_first}
    labels, objects = torch.tensor([1, 2, -1]), torch.tensor([0, 1, -1])
    sampled = SampledRegions(REGIONS, labels, REGIONS.boxes, objects, torch.zeros(3).bool())
    logits = branch.head(
        LEVELS, Regions(REGIONS.boxes[1:2], REGIONS.images[1:2]), torch.tensor([2])
    )
    expected = functional.binary_cross_entropy_with_logits(logits, torch.ones(1, 6, 6))
    assert branch(LEVELS, sampled, [target])["mask"].item() == pytest.approx(expected.item())


def test_a_detector_with_masks_trains_them_and_predicts_them_in_cells():
    detector = build(mask={"channels": 8, "num_convs": 1}, inference={"score_threshold": 0.0})
    images, targets = squares()
    with pytest.raises(DataError, match="no segmentations"):
        detector(images, targets)
    for target in targets:
        target["masks"] = outlines(target["boxes"])
    losses = detector(images, targets)
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in detector.parameters())
    with torch.no_grad():
        found = detector.eval()(images)
    for own in found:
        assert own.masks.shape == (len(own.scores), 8, 8)
        assert own.masks.dtype == torch.float32
        assert ((own.masks >= 0) & (own.masks <= 1)).all()


def test_images_without_objects_have_no_mask_loss_but_its_gradient():
    detector = build(mask={"channels": 8, "num_convs": 1})
    images, _ = squares()
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}
    nothing["masks"] = outlines(nothing["boxes"])
    losses = detector(images, [nothing, nothing])
    torch.stack(list(losses.values())).sum().backward()
    assert losses["mask"].item() == 0
    assert all(p.grad is not None for p in detector.mask.parameters())
