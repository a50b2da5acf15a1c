"""Every head as a file: what onnxruntime and torch.export find is what PyTorch finds."""

import pytest
from helpers.export_models import HEADS, small_detector
from helpers.export_two_stage import KINDS, small_two_stage

from dense_lt.export.dense import DetectionOutput, RawOutput
from dense_lt.export.files import read, write
from dense_lt.export.parity import as_predicted, compare
from dense_lt.export.regions import RegionDetectionOutput, RegionOutput
from dense_lt.export.suppression import suppress, suppress_in_onnx
from dense_lt.export.tracing import trace

BOXES, SCORES = 1e-3, 1e-5
"""Tighter than what `dense-lt export` demands; these images are small."""


def module_of(detector, output, format):
    suppression = suppress_in_onnx if format == "onnx" else suppress
    if hasattr(detector, "proposals"):
        made = RegionOutput if output == "raw" else RegionDetectionOutput
        return made(detector, suppression).eval()
    if output == "raw":
        return RawOutput(detector).eval()
    return DetectionOutput(detector, suppression).eval()


def written(module, path, format, *, size, multiple_of):
    write(trace(module, size, multiple_of), path, format, names=module.names, metadata={})
    return read(path, format)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_gives_the_same_in_onnxruntime(head, tmp_path):
    """The head and all that follows; backbones and pyramids are in the slow test."""
    module = RawOutput(small_detector(head, plain_maps=True)).eval()
    program = written(module, tmp_path / "a.onnx", "onnx", size=(64, 96), multiple_of=None)
    difference = compare(program, module, [(64, 96)])
    assert difference.boxes < BOXES
    assert difference.scores < SCORES


@pytest.mark.parametrize("head", ["paa", "yolox_ip"])
def test_a_torch_file_takes_any_size(head, tmp_path):
    """YOLOX-IP takes at most as many candidates of a level as it has priors: 32, 60 of 60."""
    detector = small_detector(head, plain_maps=True)
    module = module_of(detector, "detections", "torch")
    program = written(module, tmp_path / "a.pt2", "torch", size=(64, 96), multiple_of=16)
    difference = compare(program, as_predicted(detector), [(64, 64), (80, 96)])
    assert difference.count > 100
    assert difference.odd == 0


def test_regions_give_the_same_in_onnxruntime(tmp_path):
    """Proposals, boxes of each class and masks; other kinds are in the slow test."""
    detector = small_two_stage("masks", plain_maps=True)
    module = module_of(detector, "detections", "onnx")
    program = written(module, tmp_path / "a.onnx", "onnx", size=(64, 96), multiple_of=None)
    difference = compare(program, as_predicted(detector), [(64, 96)])
    assert difference.boxes < BOXES
    assert difference.scores < SCORES
    assert difference.masks < SCORES
    assert difference.odd == 0
    assert difference.count > 100


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch"])
@pytest.mark.parametrize("output", ["raw", "detections"])
@pytest.mark.parametrize("head", HEADS)
def test_whole_detectors_of_open_size_give_the_same(head, output, format, tmp_path):
    detector = small_detector(head)
    module = module_of(detector, output, format)
    program = written(module, tmp_path / "a", format, size=(64, 96), multiple_of=32)
    reference = module if output == "raw" else as_predicted(detector)
    difference = compare(program, reference, [(64, 64), (64, 96)])
    assert difference.boxes < BOXES
    assert difference.scores < SCORES
    assert difference.odd == 0


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch"])
@pytest.mark.parametrize("output", ["raw", "detections"])
@pytest.mark.parametrize("kind", KINDS)
def test_whole_detectors_of_regions_of_open_size_give_the_same(kind, output, format, tmp_path):
    detector = small_two_stage(kind)
    module = module_of(detector, output, format)
    program = written(module, tmp_path / "a", format, size=(128, 192), multiple_of=64)
    reference = module if output == "raw" else as_predicted(detector)
    difference = compare(program, reference, [(128, 128), (192, 128)])
    assert difference.boxes < BOXES
    assert difference.scores < SCORES
    assert difference.masks < SCORES
    assert difference.odd == 0
    assert difference.count > 100
