"""Weights of another run are taken over by name and shape; parts of a model stay as they are."""

import copy

import pytest
import torch
from helpers.tiny_two_stage import build
from safetensors.torch import save_file

from dense_lt.balance.statistics import tie_to_classes
from dense_lt.engine.start import freeze, init_from, matching
from dense_lt.utils.errors import ConfigError, DataError


@pytest.fixture
def other(tiny_detector):
    """The weights of another detector."""
    state = {name: t.clone() for name, t in tiny_detector().state_dict().items()}
    for name, tensor in state.items():
        if tensor.is_floating_point():
            state[name] = tensor + 1
    return state


def test_what_fits_is_loaded_and_the_account_says_what_does_not(tiny_detector, other, tmp_path):
    other["classifier.bias"] = torch.zeros(9)
    other["old.weight"] = torch.zeros(2)
    del other["norm.bias"]
    save_file(other, tmp_path / "weights.safetensors")
    detector = tiny_detector()
    before = copy.deepcopy(detector.state_dict())
    account = init_from(detector, tmp_path / "weights.safetensors")
    assert torch.equal(detector.stem.weight, other["stem.weight"])
    assert torch.equal(detector.classifier.bias, before["classifier.bias"])
    assert torch.equal(detector.norm.bias, before["norm.bias"])
    assert "of another shape: 1 (classifier.bias (9,) for (3,))" in account
    assert "not in the file: 1 (norm.bias)" in account
    assert "in the file only: 1 (old.weight)" in account


def test_gradient_statistics_are_left_alone(tiny_detector, other, tmp_path):
    save_file(other, tmp_path / "weights.safetensors")
    detector = tiny_detector()
    account = init_from(detector, tmp_path / "weights.safetensors")
    assert detector.statistics.positive.tolist() == [0, 0, 0]
    assert "in the file only" not in account


@pytest.mark.parametrize(
    ("names", "leave_out", "told"),
    [
        (("dog", "heron", "axolotl"), (), False),
        (("heron", "dog", "axolotl"), (), True),
        (("cat", "owl", "newt"), (), True),
        (("cat", "owl", "newt"), ("classifier.*",), False),
    ],
)
def test_classifiers_of_other_classes_are_told(
    tiny_detector, tmp_path, caplog, names, leave_out, told
):
    source, detector = tiny_detector(), tiny_detector()
    tie_to_classes(source, names)
    tie_to_classes(detector, ("dog", "heron", "axolotl"))
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    init_from(detector, tmp_path / "weights.safetensors", leave_out=leave_out)
    message = "another class now. model.init_except=[classifier.*] leaves it out"
    assert (message in caplog.text) == told


def test_patterns_leave_parameters_as_they_are_made(tiny_detector, other, tmp_path):
    save_file(other, tmp_path / "weights.safetensors")
    detector = tiny_detector()
    before = detector.classifier.weight.clone()
    account = init_from(detector, tmp_path / "weights.safetensors", leave_out=["classifier.*"])
    assert torch.equal(detector.classifier.weight, before)
    assert "left out by model.init_except: 2" in account


@pytest.mark.parametrize("wrapped", [None, "state_dict", "model"])
def test_files_of_torch_are_read_too(tiny_detector, other, tmp_path, wrapped):
    torch.save(other if wrapped is None else {wrapped: other}, tmp_path / "weights.pth")
    detector = tiny_detector()
    init_from(detector, tmp_path / "weights.pth")
    assert torch.equal(detector.stem.weight, other["stem.weight"])


def test_weights_that_fit_nowhere_are_refused(tiny_detector, tmp_path):
    save_file({"layer1.0.conv1.weight": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(DataError, match=r"none of its 1 tensors.*layer1\.0\.conv1\.weight"):
        init_from(tiny_detector(), tmp_path / "weights.safetensors")


def test_a_file_that_is_no_weights_is_named(tiny_detector, tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"weights\.pth: is no file of weights.*it is text"):
        init_from(tiny_detector(), tmp_path / "weights.pth")


def test_frozen_parameters_do_not_change_and_their_norms_stay_in_evaluation_mode():
    model = torch.nn.ModuleDict(
        {
            "body": torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)),
            "classifier": torch.nn.Sequential(torch.nn.Conv2d(4, 2, 1), torch.nn.BatchNorm2d(2)),
        }
    )
    assert freeze(model, ["body.*"]) == 12 + 4 + 4 + 4
    before = copy.deepcopy(model.state_dict())
    model.train()
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=1.0)
    model["classifier"](model["body"](torch.randn(2, 3, 5, 5))).square().sum().backward()
    optimizer.step()
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert changed >= {"classifier.0.weight", "classifier.1.running_mean"}
    assert not any(name.startswith("body") for name in changed)
    model.eval()
    model.train()
    assert model.training
    assert not model["body"][1].training
    twin = copy.deepcopy(model)
    twin.train()
    assert not twin["body"][1].training
    assert twin["body"].train.args[0] is twin["body"]


def test_the_patterns_of_the_documentation_find_classifiers_of_classes_alone():
    names = {name for name, _ in build().named_parameters()}
    assert "proposals.head.classifier.weight" in names
    found = matching(names, ["head*classifier*"], "model.frozen")
    assert found == {"head.classifier.weight", "head.classifier.bias"}
    cascade = {name for name, _ in build(cascade={}, mask={}).named_parameters()}
    found = matching(cascade, ["stages.*.head.classifier*"], "model.frozen")
    ends = ("weight", "bias")
    assert found == {f"stages.{s}.head.classifier.{end}" for s in range(3) for end in ends}


def test_exclamation_marks_take_names_out_again():
    names = {"a.weight", "a.bias", "b.weight"}
    assert matching(names, ["*", "!a.*"], "model.frozen") == {"b.weight"}


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["clasifier.*"], r"'clasifier\.\*' matches no name; there are 0\.bias"),
        (["*"], "leaves no parameter to train"),
        (["!0.*"], "matches no name; there are none"),
    ],
)
def test_patterns_that_cannot_be_meant_are_refused(patterns, message):
    with pytest.raises(ConfigError, match=message):
        freeze(torch.nn.Sequential(torch.nn.Linear(1, 1)), patterns)
