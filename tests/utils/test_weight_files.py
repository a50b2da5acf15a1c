"""Files that are no weights are told apart, in one line, whatever their bytes are."""

import random
from argparse import Namespace
from pathlib import PurePosixPath

import pytest
import torch
from safetensors.torch import save_file

from dense_lt.utils.errors import DataError
from dense_lt.utils.weight_files import read_weights

STATE = {"a": torch.arange(3000.0), "b": torch.ones(2, 3)}


def legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


SAVE = {"w.safetensors": save_file, "w.pth": torch.save, "old.pth": legacy}


@pytest.mark.parametrize("name", SAVE)
def test_weights_are_read_as_they_were_saved(name, tmp_path):
    SAVE[name](STATE, tmp_path / name)
    stored = read_weights(tmp_path / name)
    assert {key: value.tolist() for key, value in stored.items()} == {
        key: value.tolist() for key, value in STATE.items()
    }


def test_the_settings_beside_weights_of_timm_are_no_hindrance(tmp_path):
    torch.save({"state_dict": STATE, "args": Namespace(lr=0.1)}, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").keys() == {"state_dict", "args"}


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
@pytest.mark.parametrize("name", SAVE)
def test_a_download_that_broke_off_is_told(name, share, tmp_path):
    path = tmp_path / name
    SAVE[name](STATE, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=rf"{name}: is no file of.*it ends early.*copy it again"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty; download"),
        (b"\n<!DOCTYPE html><p>Sign in", "it is a web page"),
        (b"<HTML>404", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "`git lfs pull`"),
        (b"hello", "it is text"),
        (b"\xff\xfe\x00nothing", "it is damaged, or no file of"),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_what_is_no_file_of_weights_is_named(name, content, told, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: .*{told}") as caught:
        read_weights(tmp_path / name)
    assert "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_bytes_give_a_traceback_or_a_warning(tmp_path, recwarn):
    draw = random.Random(0)
    for number in range(300):
        name = ("w.pth", "w.safetensors")[number % 2]
        (tmp_path / name).write_bytes(b"\x80\x02" * (number % 3) + draw.randbytes(40))
        with pytest.raises(DataError):
            read_weights(tmp_path / name)
    assert not recwarn.list


def test_a_file_of_torch_under_the_other_name_is_told(tmp_path):
    torch.save(STATE, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match=r"a file of torch; give it a name that ends with \.pth"):
        read_weights(tmp_path / "w.safetensors")


def test_what_could_run_code_is_named_with_the_way_to_weights(tmp_path):
    torch.save({"model": STATE, "path": PurePosixPath("x")}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"contain: pathlib\.PurePosixPath\. Where you trust it"):
        read_weights(tmp_path / "w.pth")


def test_other_things_and_missing_files_are_told(tmp_path):
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(DataError, match="holds a list, expected a state dict"):
        read_weights(tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"no\.pth: there is no such file"):
        read_weights(tmp_path / "no.pth")
