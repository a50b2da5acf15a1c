"""What a run says of itself before it starts."""

import numpy as np
import pytest

from dense_lt.cli.describe import warn_if_idle
from dense_lt.config.sampling import RandomSamplerConfig, RepeatFactorSamplerConfig
from dense_lt.data.categories import CategoryTable

CLASSES = CategoryTable(("cat", "dog"), (1, 2), (0, 30), (0, 40), ("rare", "common"))


@pytest.mark.parametrize("kind", ["repeat_factor", "instance_aware_repeat_factor"])
def test_repeat_factors_that_repeat_nothing_are_told_with_the_rarest_class(kind, caplog):
    sampler = RepeatFactorSamplerConfig(kind=kind, threshold=1e-4, rounding="floor")
    warn_if_idle(sampler, np.ones(600), CLASSES)
    assert "no image is repeated by threshold 0.0001 and rounding floor" in caplog.text
    assert "the rarest class is in 30 of 600 images; raise data.sampler.threshold" in caplog.text


def test_one_repeated_image_or_another_sampler_is_nothing_to_tell(caplog):
    sampler = RepeatFactorSamplerConfig(kind="repeat_factor")
    warn_if_idle(sampler, np.array([1, 1.01]), CLASSES)
    warn_if_idle(RandomSamplerConfig(), np.ones(600), CLASSES)
    assert caplog.text == ""
