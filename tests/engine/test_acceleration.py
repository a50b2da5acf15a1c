"""Faster is the same: compiled parts give the losses and gradients of plain ones."""

import copy

import pytest
import torch

from dense_lt.config.load import load_config
from dense_lt.engine import acceleration
from dense_lt.engine.acceleration import compile_parts, synchronise_batch_norm
from dense_lt.models.build import build_detector
from dense_lt.structures import ImageBatch
from dense_lt.utils.errors import ConfigError

CONFIG = """
name: x
model:
  kind: {kind}
  backbone: {{name: test_resnet}}
  pyramid: {{levels: [3, 4], backbone_levels: [3, 4], channels: 8}}
  {head}
schedule: {{kind: cosine}}
train: {{steps: 1}}
"""
HEADS = {
    "one_stage": "head: {channels: 8, num_convs: 1, norm_groups: 4}",
    "two_stage": "head: {channels: 8}",
}


def make(kind, tmp_path):
    path = tmp_path / f"{kind}.yaml"
    path.write_text(CONFIG.format(kind=kind, head=HEADS[kind]))
    torch.manual_seed(0)
    return build_detector(load_config(path).model, 3)


def gradients(detector):
    torch.manual_seed(1)
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    boxes = torch.tensor([[8.0, 8, 40, 40], [20, 10, 60, 50]])
    target = {"boxes": boxes, "labels": torch.tensor([0, 2])}
    losses = detector(ImageBatch(pixels, ((64, 64),) * 2), [target, target])
    torch.stack(list(losses.values())).sum().backward()
    return losses, {n: p.grad for n, p in detector.named_parameters() if p.grad is not None}


def assert_equal(found, wanted):
    """Losses and gradients, to rounding."""
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[1], wanted[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "parts"),
    [("one_stage", ["head", "pyramid"]), ("two_stage", ["proposals.head", "pyramid"])],
)
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_parts_give_the_same_losses_and_gradients(kind, parts, backend, tmp_path):
    plain = make(kind, tmp_path)
    compiled = copy.deepcopy(plain)
    assert compile_parts(compiled, backend=backend) == parts
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    assert_equal(gradients(compiled), gradients(plain))


def test_cuda_graphs_without_a_gpu_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"compile: reduce-overhead .* needs a GPU; set it to"):
        compile_parts(make("one_stage", tmp_path), cuda_graphs=True)


def test_cuda_graphs_are_asked_of_torch_compile_size_by_size(tmp_path, monkeypatch):
    """And what it is asked to do gives the same losses and gradients; the GPU is a pretence."""
    plain = make("one_stage", tmp_path)
    graphed, asked = copy.deepcopy(plain), []

    def compile_eagerly(part, **options):
        asked.append(options)
        part._compiled_call_impl = torch.compile(part._call_impl, backend="aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", compile_eagerly)
    monkeypatch.setattr(acceleration, "_is_on_gpu", lambda detector: True)
    assert compile_parts(graphed, cuda_graphs=True) == ["head", "pyramid"]
    wanted = {"backend": "inductor", "mode": "reduce-overhead", "dynamic": False}
    assert asked == [wanted, wanted]
    assert_equal(gradients(graphed), gradients(plain))


@pytest.mark.slow
def test_what_inductor_makes_of_reduce_overhead_on_a_cpu_is_the_same(tmp_path, monkeypatch):
    plain = make("one_stage", tmp_path)
    graphed = copy.deepcopy(plain)
    monkeypatch.setattr(acceleration, "_is_on_gpu", lambda detector: True)
    compile_parts(graphed, cuda_graphs=True)
    assert_equal(gradients(graphed), gradients(plain))


def test_one_process_needs_no_synchronisation():
    detector = torch.nn.BatchNorm2d(3)
    assert synchronise_batch_norm(detector, torch.device("cpu")) is detector


def test_synchronisation_without_gpus_is_refused(monkeypatch):
    monkeypatch.setattr(acceleration.distributed, "is_distributed", lambda: True)
    with pytest.raises(ConfigError, match=r"sync_batch_norm: true needs a GPU"):
        synchronise_batch_norm(torch.nn.BatchNorm2d(3), torch.device("cpu"))


def test_batch_norm_is_replaced_with_its_weights(monkeypatch):
    monkeypatch.setattr(acceleration.distributed, "is_distributed", lambda: True)
    detector = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3))
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    after = synchronise_batch_norm(detector, torch.device("cuda"))
    assert isinstance(after[1], torch.nn.SyncBatchNorm)
    for name, tensor in after.state_dict().items():
        assert torch.equal(tensor, before[name])
