"""Checkpoints are whole or not there, and hold everything."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from dense_lt.engine.checkpoint import (
    copy_checkpoint,
    has_checkpoint,
    latest_checkpoint,
    load_checkpoint,
    restore_model,
)
from dense_lt.engine.checkpoint_writer import CheckpointWriter
from dense_lt.engine.run_folder import RunFolder
from dense_lt.utils.errors import DataError


@pytest.fixture
def write(tiny_detector, categories, tmp_path):
    """Writes checkpoints of one detector below tmp_path, as a run does."""
    detector = tiny_detector()
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.1, momentum=0.9)
    writer = CheckpointWriter(
        RunFolder(tmp_path).checkpoints,
        detector,
        optimizer,
        batch_size=4,
        keep=2,
        categories=categories,
        config={"name": "x", "train": {"steps": 9}, "milestones": [1, 2]},
    )

    def write(step):
        writer(step)
        writer.wait()

    write.detector = detector
    yield write
    writer.close()


def _files(tmp_path):
    return sorted(path.name for path in (tmp_path / "checkpoints").iterdir())


def test_a_checkpoint_comes_back_whole_without_running_code(write, categories, tmp_path):
    write.detector.statistics.positive += 3
    write(7)
    checkpoint = load_checkpoint(latest_checkpoint(tmp_path))
    assert (checkpoint.step, checkpoint.samples_seen) == (7, 28)
    assert checkpoint.categories == categories.to_json()
    assert checkpoint.config == {"name": "x", "train": {"steps": 9}, "milestones": [1, 2]}
    assert checkpoint.versions["torch"]
    assert len(checkpoint.random_states) == 1
    assert checkpoint.optimizer["param_groups"][0]["momentum"] == 0.9
    for name, tensor in write.detector.state_dict().items():
        assert torch.equal(checkpoint.model[name], tensor), name
    assert checkpoint.model["statistics.positive"].tolist() == [3, 3, 3]


def test_only_the_newest_checkpoints_stay_and_latest_names_the_last(write, tmp_path):
    for step in (5, 10, 15):
        write(step)
    pairs = [f"step_000000{n}.{end}" for n in (10, 15) for end in ("pt", "safetensors")]
    assert _files(tmp_path) == ["latest", *pairs]
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step_00000015.safetensors\n"
    assert latest_checkpoint(tmp_path).name == "step_00000015.safetensors"


def test_writing_an_earlier_step_again_keeps_it(write, tmp_path):
    """A run resumed from before a damaged file must not delete what it has just written."""
    for step in (10, 15, 5):
        write(step)
    assert "step_00000005.pt" in _files(tmp_path)
    assert latest_checkpoint(tmp_path).name == "step_00000005.safetensors"


@pytest.mark.parametrize("part", [".safetensors", ".pt"])
@pytest.mark.parametrize("damage", [0.001, 0.3, 0.5, 0.999, "flipped", "empty", "missing"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(write, tmp_path, caplog, damage, part):
    write(5)
    write(10)
    path = latest_checkpoint(tmp_path).with_suffix(part)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":  # one bit in the middle: of a weight, of a momentum
        at = len(content) // 2
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    else:
        kept = 0 if damage == "empty" else int(len(content) * damage)  # torn
        path.write_bytes(content[:kept])
    assert latest_checkpoint(tmp_path).name == "step_00000005.safetensors"
    assert "step_00000010.safetensors: missing or damaged" in caplog.text


def test_weights_of_another_save_are_not_taken_for_those_of_the_checkpoint(write, tmp_path):
    """As a crash leaves them that comes between the two files of one step written again."""
    write(5)
    path = latest_checkpoint(tmp_path)
    weights = load_file(path)
    save_file({name: tensor + 1 for name, tensor in weights.items()}, path)
    with pytest.raises(DataError, match=r"its bytes are not those that step_00000005\.pt was"):
        load_checkpoint(path)


def test_weights_can_be_read_by_any_tool(write, tmp_path):
    write(5)
    stored = load_file(latest_checkpoint(tmp_path))
    assert stored.keys() == write.detector.state_dict().keys()


def test_a_copy_outlives_its_checkpoint(write, tmp_path):
    write(5)
    best = copy_checkpoint(latest_checkpoint(tmp_path), "best")
    write(10)
    write(15)
    assert "step_00000005.pt" not in _files(tmp_path)
    assert load_checkpoint(best).step == 5
    assert latest_checkpoint(tmp_path).stem == "step_00000015"


def test_a_folder_without_checkpoints_has_none(write, tmp_path):
    assert not has_checkpoint(tmp_path)
    write(5)
    assert has_checkpoint(tmp_path)


@pytest.mark.parametrize("part", [".safetensors", ".pt"])
def test_half_of_the_first_checkpoint_is_none(write, tmp_path, part):
    """As a crash leaves it: the run starts at its beginning."""
    write(5)
    latest_checkpoint(tmp_path).with_suffix(part).unlink()
    assert not has_checkpoint(tmp_path)


def test_what_a_crash_has_left_half_written_is_cleared_away(write, tmp_path):
    write(5)
    (tmp_path / "checkpoints" / "step_00000009.safetensors.tmp").write_bytes(b"half")
    write(10)
    assert not [name for name in _files(tmp_path) if name.endswith(".tmp")]


def test_without_any_checkpoint_the_message_names_the_folder(tmp_path):
    with pytest.raises(DataError, match=r"checkpoints: no checkpoint that can be read; expected"):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_an_unreadable_file_names_itself(tmp_path, content):
    (tmp_path / "step_1.pt").write_bytes(content)
    with pytest.raises(DataError, match=r"step_1\.pt: cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / "step_1.pt")


def test_a_missing_file_names_itself(tmp_path):
    with pytest.raises(DataError, match=r"step_1\.pt: cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / "step_1.pt")


@pytest.mark.parametrize(("kept", "lost"), [("safetensors", "pt"), ("pt", "safetensors")])
def test_half_of_a_pair_says_that_the_other_is_missing(write, tmp_path, kept, lost):
    write(5)
    path = latest_checkpoint(tmp_path).with_suffix(f".{kept}")
    path.with_suffix(f".{lost}").unlink()
    message = rf"5\.{kept}: .* a pair of files, and step_00000005\.{lost} is missing beside"
    with pytest.raises(DataError, match=message):
        load_checkpoint(path)


def test_a_file_that_is_no_checkpoint_is_named_as_it_was_given(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0")
    with pytest.raises(DataError, match=r"config\.yaml: this is no checkpoint of dense_lt; give"):
        load_checkpoint(tmp_path / "config.yaml")


class _Malicious:
    def __reduce__(self):
        return (print, ("code from a checkpoint ran",))


@pytest.mark.parametrize("content", [{"weights": torch.ones(2)}, [1, 2], {"model": _Malicious()}])
def test_other_files_of_torch_are_refused_and_not_run(tmp_path, content, capsys):
    torch.save(content, tmp_path / "step_1.pt")
    with pytest.raises(DataError, match="cannot be read as a checkpoint of dense_lt"):
        load_checkpoint(tmp_path / "step_1.pt")
    assert "ran" not in capsys.readouterr().out


def test_restoring_gives_the_same_weights_and_statistics(write, tiny_detector, tmp_path):
    write.detector.statistics.negative += 2
    with torch.no_grad():
        write.detector.stem.weight.mul_(3)
    write(1)
    fresh = tiny_detector()
    restore_model(fresh, load_checkpoint(latest_checkpoint(tmp_path)))
    for name, tensor in write.detector.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor), name


def test_a_checkpoint_that_does_not_fit_names_the_tensors_and_loads_nothing(
    write, tiny_detector, tmp_path
):
    write(1)
    checkpoint = load_checkpoint(latest_checkpoint(tmp_path))
    model = dict(checkpoint.model)
    model["extra.weight"] = model.pop("norm.bias")
    model["classifier.bias"] = torch.zeros(9)
    fresh = tiny_detector()
    before = fresh.stem.weight.clone()
    with pytest.raises(DataError) as caught:
        restore_model(fresh, replace(checkpoint, model=model))
    message = str(caught.value)
    assert "classifier.bias has shape (9,), the model (3,)" in message
    assert "missing norm.bias; unknown extra.weight" in message
    assert "Build the model from the config of that run" in message
    assert torch.equal(fresh.stem.weight, before)


def test_another_format_says_which_version_wrote_it(write, tmp_path):
    write(1)
    path = latest_checkpoint(tmp_path).with_suffix(".pt")
    content = torch.load(path, weights_only=True)
    torch.save({**content, "format": 99}, path)
    with pytest.raises(DataError, match=r"format 99, this version reads 2; train again.*not known"):
        load_checkpoint(path)
    (tmp_path / "environment.json").write_text('{"git_commit": "abc123"}', encoding="utf-8")
    with pytest.raises(DataError, match=r"use the code that wrote it .*commit abc123"):
        load_checkpoint(path)
