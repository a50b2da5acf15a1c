"""Rules of the house that no linter checks."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "dense_lt").rglob("*.py"))
MOST_LINES = 300


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_packages_hold_a_docstring_and_nothing_else(path):
    if path.name == "__init__.py" and path.parent.name != "dense_lt":  # which holds `load_run`
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        assert len(lines) == 1
        assert lines[0].startswith('"""')


@pytest.mark.parametrize(
    "module",
    [
        "dense_lt.config.load",
        "dense_lt.data.categories",
        "dense_lt.data.lvis",
        "dense_lt.evaluation.results",
        "dense_lt.report.tables",
    ],
)
def test_scoring_and_settings_do_not_import_torch(module):
    code = f"import sys, {module}; assert 'torch' not in sys.modules, 'torch was imported'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_settings_stop_at_the_build_files():
    """Everything but `build.py`, the commands and the settings themselves takes plain arguments.

    The gallery reads the settings that a run has stored, to find its images.
    """
    allowed = {"build.py", "gallery.py"}
    offenders = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.name not in allowed
        and path.parts[-2] not in {"cli", "config"}
        and "from dense_lt.config" in path.read_text()
    ]
    assert offenders == []
