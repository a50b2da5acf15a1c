"""What all tests share: one thread, no deadline for properties, reproducible examples."""

import logging
import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import pytest
from hypothesis import settings

settings.register_profile("tests", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """A command that a test runs sets up the logs of its process; the next test starts afresh."""
    yield
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in [own for own in root.handlers if own.get_name() == "dense_lt"]:
        root.removeHandler(handler)
        handler.close()
    logging.captureWarnings(capture=False)
