"""The device of a process."""

import pytest
import torch

from dense_lt.utils.devices import choose_device
from dense_lt.utils.errors import ConfigError


def test_cpu_is_cpu():
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_auto_is_cpu_and_cuda_says_what_to_do():
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"no GPU; allowed here: auto, cpu\. Set device=cpu"):
        choose_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", str(torch.cuda.device_count()))
    with pytest.raises(ConfigError, match="no GPU of its own"):
        choose_device("cuda")
