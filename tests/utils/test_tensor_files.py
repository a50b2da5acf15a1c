"""Files of tensors are files like any other."""

import os
import stat

import pytest
import torch
from safetensors.torch import load_file

from dense_lt.utils.tensor_files import save_tensors


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_file_of_tensors_obeys_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        save_tensors({"a": torch.ones(2)}, tmp_path / "a.safetensors", metadata={"format": "pt"})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == mode
    assert load_file(tmp_path / "a.safetensors")["a"].tolist() == [1, 1]
