import pytest
import torch
from torchvision.ops import nms

from dense_lt.config.region_losses import SigmoidLossConfig
from dense_lt.losses.regions.build import build_region_loss
from dense_lt.models.two_stage.box_head import RegionPredictions
from dense_lt.models.two_stage.region_inference import RegionInference, RegionLimits
from dense_lt.models.two_stage.regions import Regions
from dense_lt.ops.box_coding import DeltaBoxCoder
from dense_lt.ops.boxes import clip_boxes_to_image

CODER = DeltaBoxCoder((0.1, 0.1, 0.2, 0.2))
C = 5


@pytest.mark.parametrize("class_specific", [True, False])
def test_detections_are_those_of_a_loop_over_classes(class_specific):
    torch.manual_seed(0)
    counts = [30, 0, 17]
    corners = torch.rand(47, 2) * 40
    boxes = torch.cat([corners, corners + 4 + torch.rand(47, 2) * 30], dim=1)
    regions = Regions(boxes, torch.arange(3).repeat_interleave(torch.tensor(counts)))
    predictions = RegionPredictions(
        torch.randn(47, C), torch.randn(47, C if class_specific else 1, 4)
    )
    sizes = ((60, 60), (50, 50), (45, 64))
    limits = RegionLimits(score_threshold=0.4, nms_iou=0.4, max_detections=25)
    loss = build_region_loss(SigmoidLossConfig(kind="sigmoid"), C)
    inference = RegionInference(classification=loss, coder=CODER, limits=limits)
    found = inference(predictions, regions, sizes)
    scores = predictions.logits.sigmoid()
    for image, own in enumerate(found):
        parts = []
        for label in range(C):
            rows = ((regions.images == image) & (scores[:, label] > 0.4)).nonzero().squeeze(1)
            codes = predictions.codes[rows, label if class_specific else 0]
            decoded = clip_boxes_to_image(CODER.decode(codes, boxes[rows]), sizes[image])
            kept = nms(decoded, scores[rows, label], 0.4)
            parts += [(float(scores[rows[k], label]), label, decoded[k]) for k in kept]
        parts = sorted(parts, key=lambda part: -part[0])[:25]
        assert len(own.scores) == len(parts)
        for score, label, box, expected in zip(
            own.scores, own.labels, own.boxes, parts, strict=True
        ):
            assert float(score) == pytest.approx(expected[0])
            assert int(label) == expected[1]
            torch.testing.assert_close(box, expected[2])
