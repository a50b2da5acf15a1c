"""What did this run on: which versions, which commit, which command? No torch import."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "dense_lt",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "albumentations",
    "opencv-python-headless",
    "pycocotools",
    "pydantic",
)


def versions() -> dict[str, str | None]:
    """Versions of Python and of every package that can move a number; null if not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def git_commit() -> str | None:
    """Commit of this source code, with `-dirty` when files differ from it; null outside git."""
    if not _git("ls-files", Path(__file__).name):  # installed below someone else's repository
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str | None:
    """What git answers in the folder of this file; None if it cannot."""
    folder = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def command() -> str:
    """The command line of this process, as it can be typed again."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
