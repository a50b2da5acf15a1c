from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.fake_runs import write_run

from dense_lt.report.runs import Run, read_run


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """`make_run(name, **options of write_run)` writes a run's folder and reads it."""
    return lambda name, **options: read_run(write_run(tmp_path / "runs" / name, **options))
