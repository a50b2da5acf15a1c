import pytest
from pydantic import ValidationError

from dense_lt.config.experiment import EvaluationConfig


def test_lifting_the_cap_of_images_is_for_protocols_that_cap_classes():
    assert EvaluationConfig(protocols=("lvis", "pool"), no_image_cap=True).no_image_cap
    with pytest.raises(ValidationError, match="`no_image_cap` is for `protocols` that cap classes"):
        EvaluationConfig(protocols=("lvis", "coco"), no_image_cap=True)
