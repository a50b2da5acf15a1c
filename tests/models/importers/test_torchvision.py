"""The proof that the two-stage module is right: torchvision's weights give its detections."""

import re
import tempfile
from functools import lru_cache
from pathlib import Path

import pytest
import torch
import yaml
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from dense_lt.config.load import load_config
from dense_lt.models.build import build_detector
from dense_lt.models.importers.torchvision import (
    NORM_EPS,
    from_torchvision,
    load_torchvision,
    to_torchvision,
)
from dense_lt.structures import ImageBatch
from dense_lt.utils.errors import DataError

BASE = Path(__file__).parents[3] / "configs" / "_base"
CLASSES = 6


@lru_cache
def settings(backbone):
    """The model section of the base file, with another backbone and without its weights."""
    bases = ("drawn", "schedule_small", "torchvision_mask_rcnn_r50")
    content = {"name": "imported", "base": [str(BASE / f"{name}.yaml") for name in bases]}
    override = f"{{name: {backbone}, pretrained: false, frozen_stages: 0, norm: frozen}}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "imported.yaml"
        path.write_text(yaml.safe_dump(content))
        return load_config(
            path,
            [
                f"model.backbone={override}",
                "evaluation.max_detections=[300]",
                "model.inference.max_detections=300",
            ],
        ).model


def theirs(backbone, seed=0):
    """torchvision's model with random weights, not resizing, whose scores differ widely."""
    torch.manual_seed(seed)
    body = resnet_fpn_backbone(backbone_name=backbone, weights=None, trainable_layers=5)
    model = MaskRCNN(body, CLASSES + 1, min_size=1, max_size=10_000, box_detections_per_img=300)
    last = "bn3.weight" if backbone == "resnet50" else "bn2.weight"
    for name, buffer in model.named_buffers():  # such as training would leave them
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        if name.endswith(last):
            buffer.fill_(0.2)  # or features grow from block to block
    torch.nn.init.normal_(model.rpn.head.cls_logits.weight, std=0.1)
    torch.nn.init.normal_(model.rpn.head.bbox_pred.weight, std=0.01)
    torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.3)
    return model.eval()


def ours(backbone):
    torch.manual_seed(1)
    return build_detector(settings(backbone), CLASSES).eval()


def draw(sizes, canvas, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.zeros(len(sizes), 3, *canvas, dtype=torch.uint8)
    for image, (height, width) in zip(pixels, sizes, strict=True):
        coarse = torch.randint(0, 256, (1, 3, height // 8 + 1, width // 8 + 1), generator=generator)
        smooth = torch.nn.functional.interpolate(coarse.float(), (height, width), mode="bilinear")
        image[:, :height, :width] = smooth[0].to(torch.uint8)
    return ImageBatch(pixels, tuple(sizes))


@torch.no_grad()
def detect_with_torchvision(model, images):
    """Detections of its parts, without its resizing and before masks are pasted."""
    pixels = [
        image[:, :height, :width] / 255
        for image, (height, width) in zip(images.pixels, images.sizes, strict=True)
    ]
    pixels = model.transform.batch_images([model.transform.normalize(x) for x in pixels], 32)
    assert pixels.shape[-2:] == images.pixels.shape[-2:]
    features = model.backbone(pixels)
    listed = type("Images", (), {"tensors": pixels, "image_sizes": list(images.sizes)})()
    proposals, _ = model.rpn(listed, features)
    found, _ = model.roi_heads(features, proposals, list(images.sizes))
    return found


def assert_same_detections(backbone, sizes, canvas):
    model, detector = theirs(backbone), ours(backbone)
    load_torchvision(detector, model.state_dict())
    images = draw(sizes, canvas)
    expected = detect_with_torchvision(model, images)
    with torch.no_grad():
        found = detector(images)
    for own, wanted in zip(found, expected, strict=True):
        assert len(own.scores) == len(wanted["scores"]) > 20
        assert len(set(own.labels.tolist())) > 1
        assert torch.equal(own.labels, wanted["labels"] - 1)
        torch.testing.assert_close(own.scores, wanted["scores"], rtol=0, atol=1e-5)
        torch.testing.assert_close(own.boxes, wanted["boxes"], rtol=0, atol=1e-3)
        torch.testing.assert_close(own.masks, wanted["masks"][:, 0], rtol=0, atol=1e-5)


def test_random_weights_give_the_detections_of_torchvision():
    # 160 is no multiple of 64: the strides of the last level are not 64 there
    assert_same_detections("resnet18", [(150, 192), (100, 180)], (160, 192))


@pytest.mark.slow
def test_random_weights_give_the_detections_of_torchvision_at_full_size():
    assert_same_detections("resnet50", [(800, 1333)], (800, 1344))


def test_weights_come_back_as_they_were_but_for_what_background_does_not_have():
    state = theirs("resnet18").state_dict()
    back = to_torchvision(from_torchvision(state))
    assert back.keys() == state.keys()
    for name, tensor in back.items():
        expected = state[name].clone()
        if "bbox_pred" in name and "roi_heads" in name:
            expected[:4] = 0
        if "mask_fcn_logits" in name:
            expected[:1] = 0
        assert torch.equal(tensor, expected), name
    own = ours("resnet18").state_dict()
    there = from_torchvision(to_torchvision(own))
    assert there.keys() == {name for name in own if not name.startswith("loss.")}
    assert all(torch.equal(own[name], tensor) for name, tensor in there.items())


def test_earlier_files_have_other_names():
    state = theirs("resnet18").state_dict()
    earlier = {}
    for name, tensor in state.items():
        name = re.sub(r"(fpn\.\w+_blocks\.\d)\.0\.", r"\1.", name)
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        name = re.sub(
            r"mask_head\.(\d)\.0\.", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}.", name
        )
        earlier[name] = tensor
    assert earlier.keys() != state.keys()
    assert from_torchvision(earlier).keys() == from_torchvision(state).keys()


def test_the_epsilon_of_their_normalisation_goes_into_the_variance():
    state = {"backbone.body.bn1.running_var": torch.tensor([0.5])}
    (variance,) = from_torchvision(state, norm_eps=0.0).values()
    assert (variance + NORM_EPS).item() == pytest.approx(0.5, abs=1e-9)


def test_weights_of_another_model_are_refused():
    with pytest.raises(DataError, match=r"box_head\.5\.weight belongs to no part"):
        from_torchvision({"roi_heads.box_head.5.weight": torch.zeros(1)})
    detector = ours("resnet18")
    state = theirs("resnet18").state_dict()
    before = detector.head.classifier.weight.clone()
    state.pop("rpn.head.cls_logits.bias")
    state["roi_heads.box_predictor.cls_score.weight"] = torch.zeros(3, 1024)
    with pytest.raises(DataError, match=r"missing proposals\.head\.classifier\.bias"):
        load_torchvision(detector, state)
    assert torch.equal(detector.head.classifier.weight, before)
