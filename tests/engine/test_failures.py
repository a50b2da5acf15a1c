"""What is said when a step cannot be made."""

import pytest
import torch

from dense_lt.engine.failures import TRAINING_MEND, memory_told, not_finite_error
from dense_lt.utils.errors import MachineError


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_a_lack_of_memory_is_one_line_with_the_mend(error):
    with pytest.raises(MachineError) as caught, memory_told("step 7", TRAINING_MEND):
        raise error
    message = str(caught.value)
    assert message.startswith("step 7: memory ran out (")
    assert str(error).splitlines()[0] in message
    assert "\n" not in message
    for mend in ("train.micro_batches", "train.precision=bf16", "images", "--resume"):
        assert mend in message


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shape"), memory_told("step 7", TRAINING_MEND):
        raise RuntimeError("shape mismatch")


@pytest.mark.parametrize(
    ("clip_norm", "advice"),
    [
        (None, "Lower optimizer.lr, set train.clip_norm (null does not clip), or lengthen"),
        (35.0, "Lower optimizer.lr or train.clip_norm (35), or lengthen schedule.warmup."),
    ],
)
def test_clipping_is_advised_as_it_can_be_done(make_batch, tiny_detector, clip_norm, advice):
    facts = {"loss": float("nan")}
    error = not_finite_error(
        make_batch(2, seed=0),
        facts,
        step=3,
        detector=tiny_detector(),
        folder=None,
        clip_norm=clip_norm,
    )
    assert advice in str(error)
